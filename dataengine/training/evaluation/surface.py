"""Surfaces fused from depth maps, and how far one is from another: Chamfer distance and volume IoU.

These are the two figures of SyncDreamer's protocol (Liu et al. 2023, arXiv 2309.03453), which VideoMV and others
report, of meshes in a cube of side 1. Marching cubes (Lorensen and Cline 1987) are scikit-image's.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from dataengine.geometry.depth_carving import OUTSIDE, carve_by_depth
from dataengine.geometry.gaussians import Gaussians
from dataengine.geometry.rasterise import rasterise
from dataengine.geometry.tensors import scale_intrinsics
from dataengine.geometry.visual_hull import HALF
from dataengine.training.camera_columns import WIDTH, c2w_of, k_of
from dataengine.training.evaluation.gaussian_fit import SIDE as SIDE_OF_FIT
from dataengine.training.evaluation.gaussian_fit import STEPS, fit_gaussians

OPAQUE = 0.5  # of a rendering's alpha, above which its depth is a surface's
AT_ONCE = 8  # views that are drawn together
SIDE = 96  # voxels: 0.011 world units each
DENSE, SPARSE = 100_000, 2_000  # points of a surface that are looked among, and that look for their nearest


class Surface(NamedTuple):
    """A closed surface.

    Attributes:
        points: (N, 3) float32, world units, evenly spread over it in random order; N = 0: there is none.
        solid: (side, side, side) bool by x, y, z: voxels whose centres it encloses.
    """

    points: Tensor
    solid: Tensor


def fuse_surface(
    depth: Tensor, K: Tensor, c2w: Tensor, orthographic: Tensor | None = None, *, side: int = SIDE, seed: int = 0
) -> Surface:
    """The surface round all that no view sees to be empty; see `carve_by_depth`.

    Args:
        depth: (V, H, W) planar, world units, 0 = none.
        K, c2w: (V, 3, 3) for H × W pixels and (V, 4, 4).
        orthographic: (V,) bool; None: no view is.
        seed: of the points.

    Raises:
        ModuleNotFoundError: without scikit-image, which `dataengine[train]` brings.
    """
    from skimage import measure

    parallel = torch.zeros(len(depth), dtype=torch.bool) if orthographic is None else orthographic
    field = carve_by_depth(depth, K, c2w, parallel, side).cpu()
    solid = field < 0
    if not bool(solid.any()):
        return Surface(torch.zeros(0, 3), solid)
    closed = np.pad(field.numpy(), 1, constant_values=OUTSIDE)  # what touches the cube's sides ends there
    marching_cubes: Any = measure.marching_cubes
    corners, faces, _, _ = marching_cubes(closed, 0.0)
    places = ((corners - 0.5) / side * 2 - 1) * HALF  # the padded grid's first centre is half a voxel outside
    return Surface(torch.from_numpy(_spread(places[faces], seed).astype(np.float32)), solid)


@torch.no_grad()
def gaussians_surface(gaussians: Gaussians, K: Tensor, c2w: Tensor, size: tuple[int, int]) -> Surface:
    """The surface fused from the depth of Gaussians (N, …), drawn at (V, …) cameras with K for `size` (H, W) pixels."""
    depths = []
    for i in range(0, len(K), AT_ONCE):
        drawn = rasterise(gaussians, K[i : i + AT_ONCE], c2w[i : i + AT_ONCE], size)
        depths.append(torch.where(drawn.alpha > OPAQUE, drawn.depth, 0.0)[:, 0])
    return fuse_surface(torch.cat(depths).cpu(), K.cpu(), c2w.cpu())


def shape_of_views(images: Tensor, depth: Tensor, cameras: Tensor, *, steps: int = STEPS) -> tuple[float, float]:
    """Chamfer distance (world units) and volume IoU of the surface that an object's views show to the true one.

    The views' is that of Gaussians fitted to all of them (gaussian_fit.py), its depth drawn at their cameras and fused;
    the true one is fused from their true depth, so both know what these views can show.

    Args:
        images: (V, 3, H, W) over white.
        depth: (V, h, w) world units, 0 = none.
        cameras: (V, 30), see camera_columns.py; perspective.
        steps: of the fit.
    """
    width = depth.shape[-1]
    side = min(SIDE_OF_FIT, images.shape[-1])
    factor = (side / cameras[:, WIDTH])[:, None]
    K, c2w = scale_intrinsics(k_of(cameras), factor, factor), c2w_of(cameras)
    made = fit_gaussians(F.interpolate(images, (side, side), mode="area"), K, c2w, steps=steps)
    factor = (width / cameras[:, WIDTH])[:, None]
    true = fuse_surface(depth, scale_intrinsics(k_of(cameras), factor, factor), c2w)
    shown = gaussians_surface(made, K, c2w, (side, side))
    return chamfer(shown, true), volume_iou(shown, true)


def _spread(triangles: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float64]:
    """(DENSE, 3) points, uniform over the area of triangles (T, 3, 3)."""
    random = np.random.default_rng(seed)
    a, b, c = triangles.astype(np.float64).swapaxes(0, 1)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    which = random.choice(len(area), DENSE, p=area / area.sum())
    u, v = random.random((2, DENSE, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    return np.asarray(a[which] + u * (b - a)[which] + v * (c - a)[which])


def chamfer(a: Surface, b: Surface) -> float:
    """World units: the mean of both directions' mean distance from a surface's points to the other's nearest.

    NaN where there is a surface on one side only. Equal surfaces of area 1, drawn apart, have 0.0016: their points'
    distance.
    """
    from scipy.spatial import cKDTree

    if not len(a.points) or not len(b.points):
        return math.nan
    there = [
        float(cKDTree(other.points.numpy()).query(own.points[:SPARSE].numpy())[0].mean())
        for own, other in ((a, b), (b, a))
    ]
    return sum(there) / 2


def volume_iou(a: Surface, b: Surface) -> float:
    """Voxels inside both over those inside either, of grids of one size; NaN where both are empty."""
    either = int((a.solid | b.solid).sum())
    return int((a.solid & b.solid).sum()) / either if either else math.nan
