"""Depth that is wrong as estimates are: noise of several scales at once (arXiv 2408.14016, section 3.3)."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

Noise = Literal["structured", "independent", "none"]
NOISES: tuple[Noise, ...] = get_args(Noise)
SIZES = (3, 64, 128)
SCALES = (1.0, 1 / 3, 1 / 9)  # of the amplitude; the paper names four for three maps, see docs/decoder.md


def structured_noise(
    depth: Tensor, amplitude: float, generator: torch.Generator | None = None, sizes: Sequence[int] = SIZES
) -> Tensor:
    """Depth plus uniform noise drawn on grids of several sizes and scaled up bilinearly.

    Z_i ~ U(-s_i, s_i) on an i × i grid for i in `sizes`, s = amplitude · (1, 1/3, 1/9); D' = D + Σ upsample(Z_i).

    Args:
        depth: (…, H, W), 0 = none, which stays.
        amplitude: of the coarsest map, in the depth's units.
        generator: on the depth's device.

    Returns:
        (…, H, W), positive wherever there was depth.
    """
    noisy = depth.reshape(-1, 1, *depth.shape[-2:])
    for size, scale in zip(sizes, SCALES, strict=True):
        drawn = torch.rand((len(noisy), 1, size, size), generator=generator, device=depth.device, dtype=depth.dtype)
        noise = F.interpolate(drawn * 2 - 1, depth.shape[-2:], mode="bilinear", align_corners=False)
        noisy = noisy + amplitude * scale * noise
    return _keep(depth, noisy.view_as(depth))


def independent_noise(depth: Tensor, amplitude: float, generator: torch.Generator | None = None) -> Tensor:
    """The same with one map of one value per pixel, U(-amplitude, amplitude): what the paper compares with."""
    drawn = torch.rand(depth.shape, generator=generator, device=depth.device, dtype=depth.dtype)
    return _keep(depth, depth + amplitude * (drawn * 2 - 1))


def add_noise(kind: Noise, depth: Tensor, amplitude: float, generator: torch.Generator | None = None) -> Tensor:
    """Depth with noise of a kind."""
    if kind == "none":
        return depth
    noise = structured_noise if kind == "structured" else independent_noise
    return noise(depth, amplitude, generator)


def wrong_silhouette(depth: Tensor, grown: Tensor, shrunk: Tensor) -> Tensor:
    """Depth of objects that are some pixels too large or too small, as those of a visual hull or a reconstruction are.

    A decoder that is always told the true silhouette learns to draw its edge from it, and draws a wrong one where the
    depth is an estimate.

    Args:
        depth: (B, V, 1, H, W), 0 = none.
        grown: (B, V) pixels by which each view's object grows; new pixels get the mean depth of their neighbours.
        shrunk: (B, V) pixels by which it shrinks, first.
    """
    flat, grown, shrunk = depth.flatten(0, 1), grown.flatten(), shrunk.flatten()
    for step in range(int(shrunk.max())):
        inner = -F.max_pool2d(-flat, 3, 1, 1)  # the least of the neighbours: 0 beside the background
        flat = torch.where((inner == 0) & (shrunk > step)[:, None, None, None], 0.0, flat)
    for step in range(int(grown.max())):
        there = (flat > 0).to(flat.dtype)
        share, summed = F.avg_pool2d(there, 3, 1, 1), F.avg_pool2d(flat, 3, 1, 1)
        near = torch.where(share > 0, summed / share.clamp(min=1e-6), 0.0)
        flat = torch.where((flat == 0) & (grown > step)[:, None, None, None], near, flat)
    return flat.view_as(depth)


def _keep(depth: Tensor, noisy: Tensor) -> Tensor:
    return torch.where(depth > 0, noisy.clamp(min=1e-3), 0.0)
