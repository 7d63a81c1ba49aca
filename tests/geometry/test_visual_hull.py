"""Silhouettes of a sphere, whose hull and depth are known."""

import torch
from torch import Tensor

from dataengine.geometry.visual_hull import HALF, hull_depth, visual_hull

SIDE, RADIUS, DISTANCE, FOCAL = 48, 0.3, 3.0, 120.0


def cameras(orthographic: bool) -> tuple[Tensor, Tensor]:
    """Looking at the origin along ±x, ±y and ±z."""
    poses = []
    for axis in range(3):
        for sign in (1.0, -1.0):
            forward = torch.zeros(3)
            forward[axis] = -sign
            right = torch.zeros(3)
            right[(axis + 1) % 3] = 1.0
            pose = torch.eye(4)
            pose[:3, :3] = torch.stack([right, torch.linalg.cross(forward, right), forward], 1)
            pose[:3, 3] = -DISTANCE * forward
            poses.append(pose)
    focal = FOCAL / DISTANCE if orthographic else FOCAL
    K = torch.tensor([[focal, 0, SIDE / 2], [0, focal, SIDE / 2], [0, 0, 1.0]])
    return K.repeat(6, 1, 1), torch.stack(poses)


def silhouettes(orthographic: bool) -> Tensor:
    """A sphere's outline: of radius f r / d without perspective, f r / √(d² - r²) with it."""
    y, x = torch.meshgrid(torch.arange(SIDE) + 0.5 - SIDE / 2, torch.arange(SIDE) + 0.5 - SIDE / 2, indexing="ij")
    across = FOCAL * RADIUS / (DISTANCE if orthographic else (DISTANCE**2 - RADIUS**2) ** 0.5)
    return (torch.hypot(x, y) < across).expand(6, -1, -1)


def test_the_hull_holds_the_sphere_and_little_more() -> None:
    for parallel in (False, True):
        flags = torch.full((6,), parallel)
        K, c2w = cameras(parallel)
        hull = visual_hull(silhouettes(parallel), K, c2w, flags)
        axis = ((torch.arange(64) + 0.5) / 64 * 2 - 1) * HALF
        distance = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).norm(dim=-1)
        pixel = DISTANCE / FOCAL
        assert hull[distance < RADIUS - pixel].all()
        # Three perpendicular cylinders meet in a solid that reaches out to √(3/2) of their radius.
        assert not hull[distance > 1.5**0.5 * RADIUS + 2 * pixel].any()
        depth = hull_depth(hull, K, c2w, flags, (SIDE, SIDE))
        assert (depth[:, SIDE // 2, SIDE // 2] - (DISTANCE - RADIUS)).abs().max() < 0.03
        assert not depth[:, 0, 0].any()


def test_nothing_is_left_of_empty_silhouettes() -> None:
    K, c2w = cameras(False)
    flags = torch.zeros(6, dtype=torch.bool)
    hull = visual_hull(torch.zeros(6, SIDE, SIDE, dtype=torch.bool), K, c2w, flags)
    assert not hull_depth(hull, K, c2w, flags, (SIDE, SIDE)).any()
