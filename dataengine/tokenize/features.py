"""Distance of images by random convolutional features: sees edges, texture and layout, and needs no download."""

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

MEASURE = 20140906
"""Key of the filters that distances are measured with. A training that minimises such a distance takes others."""


@torch.no_grad()
def feature_distance(a: Tensor, b: Tensor) -> Tensor:
    """(B,) distance of random convolutional features, ≥ 0, 0 for equal images. Images are RGB in [0, 1].

    LPIPS's formula (Zhang et al. 2018: unit-length features, squared difference, mean over places and layers) on a
    VGG-shaped network with fixed random orthogonal filters: untrained networks already see edges, texture and layout
    at several scales (the same paper's table of untrained backbones). Compare it with itself only.
    """
    return distance(features(a), features(b))


def distance(a: list[Tensor], b: list[Tensor]) -> Tensor:
    """(B,) squared difference of the features of two batches of images."""
    return torch.stack([(u - v).square().sum((1, 2, 3)) for u, v in zip(a, b, strict=True)]).sum(0)


def features(images: Tensor, key: int = MEASURE) -> list[Tensor]:
    """(B, C, h, w) of each layer, scaled so that the squared differences of all layers add up to the distance.

    Args:
        key: which filters.
    """
    x, layers = images * 2 - 1, []
    for i, weight in enumerate(_filters(key, images.device)):
        x = F.relu(F.conv2d(F.pad(F.avg_pool2d(x, 2) if i else x, (1, 1, 1, 1), "replicate"), weight))
        length = (x.float().square().sum(1, keepdim=True) + 1e-12).sqrt() + 1e-6
        layers.append(x / (length * (x.shape[-2] * x.shape[-1]) ** 0.5))
        if min(x.shape[-2:]) < 4:
            break
    return [layer / len(layers) ** 0.5 for layer in layers]


@cache
def _filters(key: int, device: torch.device) -> tuple[Tensor, ...]:
    """3×3 filters with orthogonal rows, the same on every machine and for every version of torch."""
    random = np.random.Generator(np.random.Philox(key=key))
    channels, out = 3, []
    for width in (24, 64, 96, 128, 128):
        q, _ = np.linalg.qr(random.standard_normal((9 * channels, width)))
        out.append(torch.from_numpy(q.T.reshape(width, channels, 3, 3).astype(np.float32)).to(device))
        channels = width
    return tuple(out)
