"""How close decoded views are to the originals. Images are (B, 3, H, W) in [0, 1]."""

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_PSNR = 100.0
"""What equal images get, in dB, so that averages stay finite."""


def psnr(a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
    """(B,) peak signal-to-noise ratio in dB, over the pixels where the mask (B, 1, H, W) is true; NaN where none is."""
    error = (a - b).square()
    weight = torch.ones_like(a[:, :1]) if mask is None else mask.to(a.dtype)
    mse = (error * weight).sum((1, 2, 3)) / (a.shape[1] * weight.sum((1, 2, 3)))
    return (-10 * mse.log10()).clamp(max=MAX_PSNR)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """(B,) structural similarity (Wang et al. 2004), averaged over channels and pixels; see `ssim_map`."""
    return ssim_map(a, b).mean((1, 2, 3))


def ssim_map(a: Tensor, b: Tensor) -> Tensor:
    """(B, 3, h, w) structural similarity around each pixel that has a whole window: 11×11, Gaussian, σ 1.5.

    Images smaller than the window use one as large as they are.
    """
    size = min(11, a.shape[-2], a.shape[-1])
    x = torch.arange(size, dtype=a.dtype, device=a.device) - (size - 1) / 2
    g = torch.exp(-(x**2) / (2 * 1.5**2))
    g = g / g.sum()

    def blur(image: Tensor) -> Tensor:
        channels = image.shape[1]
        image = F.conv2d(image, g.expand(channels, 1, 1, size), groups=channels)
        return F.conv2d(image, g[:, None].expand(channels, 1, size, 1), groups=channels)

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    quality = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return quality / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
