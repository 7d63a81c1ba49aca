"""How good views are, beyond the tokenizer's PSNR and SSIM. Images are RGB in [0, 1].

LPIPS (Zhang et al. 2018, on VGG-16) is there where the optional package and the backbone's weights are on this machine:
nothing is imported and nothing is downloaded unless both are, `pip install dataengine[lpips]`.
"""

import contextlib
import importlib.util
import io
import math
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from dataengine.geometry.tensors import lift, project, scale_intrinsics
from dataengine.tokenize.metrics import MAX_PSNR
from dataengine.training.camera_columns import ORTHOGRAPHIC, WIDTH, c2w_of, k_of

BACKBONE = "vgg16-397923af.pth"

Distance = Callable[[Tensor, Tensor], Tensor]
"""(B, 3, H, W) RGB in [0, 1], twice → (B,), lower is better."""


def reprojection_psnr(images: Tensor, depth: Tensor, cameras: Tensor) -> Tensor:
    """Whether views show one object: dB between each view and its neighbours carried over with true depth.

    High for any views that agree with each other and with the true geometry, whatever their colours.

    Args:
        images, depth, cameras: as for `warping_error`.

    Returns:
        () dB over all pixels that two neighbouring views share; NaN if they share none.
    """
    return (-20 * warping_error(images, depth, cameras, 1).log10()).clamp(max=MAX_PSNR)


def warping_error(images: Tensor, depth: Tensor, cameras: Tensor, distance: int) -> Tensor:
    """Flow-warping error (Lai et al. 2018, "Learning Blind Video Temporal Consistency", as VideoMV reports it):

        E_f = sqrt( Σ_i Σ_p M_i(p) |I_i(p) - I_{i+f}(p + F_i(p))|² / (3 Σ_i Σ_p M_i(p)) )

    The flow F_i, which they estimate with RAFT, is exact here: the depth of view i (our renderer's, planar z) lifts its
    pixels into the world, and the camera of view i + f says where they land. M_i(p) is 1 where view i has depth and
    nothing stands before the point in view i + f, by the depth of that view. Views are a ring: the last is followed by
    the first, as in an orbit, which a clip of VideoMV is not.

    Args:
        images: (V, 3, H, W) of one object.
        depth: (V, h, w) world units, 0 = none; of any resolution, to which the images are scaled.
        cameras: (V, 30), see camera_columns.py; K of any resolution that they name.
        distance: f, frames from one view to the other.

    Returns:
        () root of the mean squared error over the pixels that such views share; NaN if they share none.
    """
    views, (height, width) = len(images), depth.shape[-2:]
    squares, count = torch.zeros(()), 0
    factor = (width / cameras[:, WIDTH])[:, None]
    K, c2w = scale_intrinsics(k_of(cameras), factor, factor), c2w_of(cameras)
    parallel = [bool(flag) for flag in cameras[:, ORTHOGRAPHIC]]
    scaled = F.interpolate(images, (height, width), mode="bilinear", align_corners=False)
    for i in range(views):
        j = (i + distance) % views
        points, pixels = lift(depth[i], K[i], c2w[i], orthographic=parallel[i])
        uv, z = project(points, K[j], c2w[j], orthographic=parallel[j])
        inside = (uv[:, 0] > 0) & (uv[:, 0] < width) & (uv[:, 1] > 0) & (uv[:, 1] < height) & (z > 0)
        column, row = (uv[inside] - 1e-4).long().unbind(1)
        there = depth[j, row, column]
        footprint = 0.02 if parallel[j] else 2 * z[inside] / K[j, 0, 0]
        seen = (there > 0) & ((there - z[inside]).abs() < footprint)
        place = torch.stack([uv[inside][:, 0] / width, uv[inside][:, 1] / height], 1)[seen] * 2 - 1
        other = F.grid_sample(scaled[j : j + 1], place[None, None], align_corners=False)[0, :, 0]
        mine = scaled[i].flatten(1)[:, pixels][:, inside][:, seen]
        squares += (mine - other).square().sum()
        count += other.numel()
    return (squares / count).sqrt() if count else torch.tensor(math.nan)


@cache
def find_lpips() -> Distance | str:
    """The distance, or in one line what is missing for it."""
    if importlib.util.find_spec("lpips") is None:
        return "LPIPS is left out: `pip install dataengine[lpips]` brings it"
    if not _backbone().exists():
        return (
            f"LPIPS is left out: its backbone is not at {_backbone()}; "
            "`python -c 'import lpips; lpips.LPIPS(net=\"vgg\")'` downloads it"
        )
    try:
        import lpips
    except (ImportError, OSError, RuntimeError) as e:  # such as a torchvision that was built for another torch
        return f"LPIPS is left out: it cannot be imported here: {str(e).splitlines()[0]}"
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():  # it prints and warns as it loads
        warnings.simplefilter("ignore")
        network = lpips.LPIPS(net="vgg", verbose=False).eval()

    @torch.no_grad()
    def distance(a: Tensor, b: Tensor) -> Tensor:
        out: Tensor = network(a * 2 - 1, b * 2 - 1).flatten()
        return out

    return distance


def _backbone() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / BACKBONE
