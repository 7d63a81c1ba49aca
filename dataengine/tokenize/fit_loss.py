"""What the fit of a tokenizer minimises, beside the terms of the quantizer."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dataengine.tokenize.features import MEASURE, distance, features
from dataengine.tokenize.metrics import ssim_map

FILTERS = 16  # sets of random filters, one a step, so that no single set is fooled


def squared_error(decoded: Tensor, x: Tensor, alpha: Tensor, background: float) -> Tensor:
    """(B,) mean squared error of images in [-1, 1], a pixel without the object weighing `background`."""
    weight = torch.where(alpha > 0, 1.0, background)
    return ((decoded - x).square().mean(1, keepdim=True) * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))


def structure(decoded: Tensor, x: Tensor, alpha: Tensor) -> Tensor:
    """(B,) 1 - SSIM over the places whose window touches the object, ≥ 0; 0 where there is no object."""
    quality = ssim_map((decoded + 1) / 2, (x + 1) / 2).mean(1, keepdim=True)
    window = alpha.shape[-1] - quality.shape[-1] + 1
    touched = (F.max_pool2d(alpha, window, stride=1) > 0).float()
    return ((1 - quality) * touched).sum((1, 2, 3)) / touched.sum((1, 2, 3)).clamp(min=1)


def feature(decoded: Tensor, x: Tensor, step: int) -> Tensor:
    """(B,) distance of random features, of other filters each step and never of those that the result is judged by."""
    key = MEASURE + 1 + step % FILTERS
    with torch.no_grad():
        wanted = features((x + 1) / 2, key)
    return distance(features((decoded + 1) / 2, key), wanted)
