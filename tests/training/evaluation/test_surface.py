"""Surfaces of spheres, whose distance and common volume are known; views that warp onto each other; fits to views."""

import math

import pytest
import torch
from torch import Tensor

from dataengine.geometry.tensors import lift
from dataengine.training.camera_columns import camera_rows
from dataengine.training.evaluation.gaussian_fit import held_out
from dataengine.training.evaluation.metrics import warping_error
from dataengine.training.evaluation.surface import chamfer, fuse_surface, shape_of_views, volume_iou

SIDE, DISTANCE, FOCAL = 64, 2.0, 90.0


def ring(count: int, elevations: tuple[float, ...] = (35, -35)) -> tuple[Tensor, Tensor]:
    """K and c2w of cameras round the z axis, at these elevations in turn."""
    poses = []
    for i in range(count):
        azimuth, elevation = math.tau * i / count, math.radians(elevations[i % len(elevations)])
        away = torch.tensor(
            [
                math.cos(azimuth) * math.cos(elevation),
                math.sin(azimuth) * math.cos(elevation),
                math.sin(elevation),
            ]
        )
        right = torch.tensor([-math.sin(azimuth), math.cos(azimuth), 0.0])
        pose = torch.eye(4)
        pose[:3, :3] = torch.stack([right, torch.linalg.cross(-away, right), -away], 1)
        pose[:3, 3] = DISTANCE * away
        poses.append(pose)
    K = torch.tensor([[FOCAL, 0, SIDE / 2], [0, FOCAL, SIDE / 2], [0, 0, 1.0]])
    return K.repeat(count, 1, 1), torch.stack(poses)


def sphere_depth(radius: float, views: int) -> Tensor:
    """(V, H, W) planar depth of a sphere at the origin, from the ray's equation."""
    y, x = torch.meshgrid(torch.arange(SIDE) + 0.5, torch.arange(SIDE) + 0.5, indexing="ij")
    rays = torch.stack([(x - SIDE / 2) / FOCAL, (y - SIDE / 2) / FOCAL, torch.ones_like(x)], -1)
    a, b = (rays * rays).sum(-1), -2 * DISTANCE * rays[..., 2]
    under = b * b - 4 * a * (DISTANCE**2 - radius**2)
    depth = torch.where(under > 0, (-b - under.clamp(min=0).sqrt()) / (2 * a), 0.0)
    return depth.expand(views, -1, -1)


def stripes(depth: Tensor, K: Tensor, c2w: Tensor) -> Tensor:
    """(V, 3, H, W): colours that are functions of the place in the world, over white."""
    images = torch.ones(len(depth), 3, SIDE * SIDE)
    for image, own, k, pose in zip(images, depth, K, c2w, strict=True):
        points, pixels = lift(own, k, pose)
        image[:, pixels] = (0.5 + 0.4 * torch.sin(6 * points)).T
    return images.view(-1, 3, SIDE, SIDE)


def test_spheres_are_as_far_apart_as_their_radii() -> None:
    K, c2w = ring(12)
    small, large = (fuse_surface(sphere_depth(r, 12), K, c2w) for r in (0.3, 0.4))
    radii = small.points.norm(dim=1)
    assert abs(float(radii.mean()) - 0.3) < 0.006 and float(radii.std()) < 0.012
    assert chamfer(small, large) == pytest.approx(0.1, abs=0.008)
    assert chamfer(small, small) < 0.005
    assert volume_iou(small, large) == pytest.approx((0.3 / 0.4) ** 3, abs=0.03)
    assert volume_iou(large, large) == 1.0


def test_nothing_has_no_surface() -> None:
    K, c2w = ring(4)
    nothing = fuse_surface(torch.zeros(4, SIDE, SIDE), K, c2w)
    something = fuse_surface(sphere_depth(0.3, 4), K, c2w)
    assert len(nothing.points) == 0 and math.isnan(chamfer(nothing, something))
    assert volume_iou(nothing, something) == 0.0 and math.isnan(volume_iou(nothing, nothing))


def test_views_of_one_surface_warp_onto_each_other_and_others_do_not() -> None:
    K, c2w = ring(12)
    depth = sphere_depth(0.4, 12)
    images = stripes(depth, K, c2w)
    near, far = torch.full((12,), 1.0), torch.full((12,), 3.0)
    cameras = camera_rows(K, c2w, near, far, (SIDE, SIDE))
    assert float(warping_error(images, depth, cameras, 1)) < 0.08  # pixels of 0.02 units, compared with the nearest
    shown = (depth > 0)[:, None]
    level = torch.linspace(0, 1, 12).view(-1, 1, 1, 1)  # each view another grey: neighbours differ by 1/11, once by 1
    greys = torch.where(shown, level, 1.0).expand(-1, 3, -1, -1)
    expected = math.sqrt((11 * (1 / 11) ** 2 + 1) / 12)  # the pixels that two neighbours share are as many in each pair
    assert float(warping_error(greys, depth, cameras, 1)) == pytest.approx(expected, rel=0.02)


def test_views_that_agree_are_fitted_and_have_their_surface() -> None:
    K, c2w = ring(24, (20.0,))
    depth = sphere_depth(0.4, 24)
    images = stripes(depth, K, c2w)
    agreeing = held_out(images, K, c2w, steps=30)
    apart = held_out(images.roll(6, 0)[torch.arange(23, -1, -1)], K, c2w, steps=30)
    assert agreeing.psnr > 18
    assert agreeing.psnr > apart.psnr + 3, "views of other cameras do not agree"
    cameras = camera_rows(K, c2w, torch.full((24,), 1.0), torch.full((24,), 3.0), (SIDE, SIDE))[::4]
    distance, shared = shape_of_views(images[::4], depth[::4], cameras, steps=60)
    assert distance < 0.05 and shared > 0.6
