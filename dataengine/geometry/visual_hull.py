"""What silhouettes leave of an object: a grid of voxels, and the depth that cameras see of it."""

import torch
from torch import Tensor

from dataengine.geometry.tensors import pixel_rays, project

HALF = 0.52  # of the cube that is carved, world units: objects are normalised to the unit cube
STEPS = 192  # along a ray, through the cube's sphere


def visual_hull(masks: Tensor, K: Tensor, c2w: Tensor, orthographic: Tensor, side: int = 64) -> Tensor:
    """Carves a cube around the world's origin by silhouettes (Laurentini 1994).

    Args:
        masks: (V, H, W) bool: where a view shows the object. What is outside a picture is not carved by it.
        K, c2w: (V, 3, 3) for H × W pixels and (V, 4, 4).
        orthographic: (V,) bool.
        side: voxels of a side.

    Returns:
        (side, side, side) bool by x, y, z: voxels whose centres all views show.
    """
    height, width = masks.shape[1:]
    axis = ((torch.arange(side, device=K.device) + 0.5) / side * 2 - 1) * HALF
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).view(-1, 3)
    kept = torch.ones(len(points), dtype=torch.bool, device=K.device)
    for mask, k, pose, parallel in zip(masks, K, c2w, orthographic.tolist(), strict=True):
        pixels, z = project(points, k, pose, orthographic=parallel)
        column, row = pixels.floor().long().unbind(1)
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (z > 0)
        kept &= ~inside | mask[row.clamp(0, height - 1), column.clamp(0, width - 1)]
    return kept.view(side, side, side)


def hull_depth(occupied: Tensor, K: Tensor, c2w: Tensor, orthographic: Tensor, size: tuple[int, int]) -> Tensor:
    """(V, H, W) planar depth of the voxels that each pixel sees first, world units; 0 where it sees none."""
    origins, directions = pixel_rays(K, c2w, size, orthographic=orthographic)
    middle = -(origins * directions).sum(-1)  # where a ray is nearest to the origin
    radius = HALF * 3**0.5
    side = len(occupied)
    depth = torch.zeros_like(middle)
    found = torch.zeros_like(middle, dtype=torch.bool)
    axis, camera = c2w[:, None, :3, 2], c2w[:, None, :3, 3]
    for offset in torch.linspace(-radius, radius, STEPS).tolist():
        points = origins + (middle + offset)[..., None] * directions
        voxel = ((points / HALF + 1) / 2 * side).floor().long()
        inside = ((voxel >= 0) & (voxel < side)).all(-1)
        i, j, k = voxel.clamp(0, side - 1).unbind(-1)
        hit = inside & occupied[i, j, k] & ~found
        depth = torch.where(hit, ((points - camera) * axis).sum(-1), depth)
        found |= hit
    return depth.view(len(K), *size)
