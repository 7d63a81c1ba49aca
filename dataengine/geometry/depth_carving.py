"""What depth maps leave of an object: everything that no view sees to be empty, on a grid of voxels.

The volumetric fusion of Curless and Levoy 1996 for depth that is sure of itself: a voxel's signed distance is not the
mean over the views but the greatest, so that one view that sees through a voxel empties it, and what no view sees is
solid. The result encloses a volume, whatever is hidden.
"""

import torch
from torch import Tensor

from dataengine.geometry.tensors import project
from dataengine.geometry.visual_hull import HALF

INSIDE, OUTSIDE = -3.0, 0.5
"""Voxels at which the distance is cut off. Where a view shows no object, depth does not say how near the surface is:
it is taken to be OUTSIDE away, which is the mean for voxels next to the surface."""


def carve_by_depth(depth: Tensor, K: Tensor, c2w: Tensor, orthographic: Tensor, side: int = 96) -> Tensor:
    """The signed distance, along the views' axes, to the surface that depth maps show.

    Args:
        depth: (V, H, W) planar, world units, 0 = none. What is outside a picture is not carved by it.
        K, c2w: (V, 3, 3) for H × W pixels and (V, 4, 4).
        orthographic: (V,) bool.
        side: voxels of a side of the cube of half width `visual_hull.HALF` around the world's origin.

    Returns:
        (side, side, side) by x, y, z, in voxels at their centres: below 0 inside.
    """
    height, width = depth.shape[1:]
    axis = ((torch.arange(side, device=K.device) + 0.5) / side * 2 - 1) * HALF
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).view(-1, 3)
    voxel = 2 * HALF / side
    field = torch.full((len(points),), INSIDE, device=K.device)
    left = torch.arange(len(points), device=K.device)  # voxels that no view has emptied yet
    for own, k, pose, parallel in zip(depth, K, c2w, orthographic.tolist(), strict=True):
        pixels, z = project(points[left], k, pose, orthographic=parallel)
        column, row = pixels.floor().long().unbind(1)
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (z > 0)
        there = own[row.clamp(0, height - 1), column.clamp(0, width - 1)]
        distance = torch.where(there > 0, (there - z) / voxel, OUTSIDE).clamp(max=OUTSIDE)
        field[left] = torch.where(inside, torch.maximum(field[left], distance), field[left])
        left = left[field[left] < OUTSIDE]
    return field.view(side, side, side)
