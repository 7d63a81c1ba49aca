"""The warp, on scenes whose right answer is computed apart."""

import pytest
import torch

from dataengine.errors import UsageError
from dataengine.training.camera_columns import ORTHOGRAPHIC, c2w_of, turned
from dataengine.training.tasks.warp import fill_holes, lift_view, patches_covered, project_view, warp

from .synthetic import orbit_cameras

WHITE = torch.ones(3)


def ball(cameras: torch.Tensor, size: int, radius: float = 0.4) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (colour = place in the world) and planar depth of a ball at the origin, by ray tracing."""
    images, depths = [], []
    for camera in cameras:
        c2w = c2w_of(camera)
        axis = (torch.arange(size) + 0.5 - size / 2) / size
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        rays = torch.stack([x, y, torch.ones_like(x)], -1) @ c2w[:3, :3].T
        origin = c2w[:3, 3]
        a, b, c = (rays**2).sum(-1), rays @ origin, origin @ origin - radius**2
        root = b**2 - a * c
        t = torch.where(root > 0, (-b - root.clamp(min=0).sqrt()) / a, torch.zeros_like(a))
        images.append(torch.where(t[..., None] > 0, origin + rays * t[..., None] + 0.5, torch.ones(3)).permute(2, 0, 1))
        depths.append(t)
    return torch.stack(images), torch.stack(depths)


def test_a_warped_ball_shows_the_colours_of_the_places_that_both_views_see() -> None:
    cameras = torch.from_numpy(orbit_cameras(12, 64))
    images, depth = ball(cameras, 64)
    found = warp(images[0], depth[0], cameras[0], cameras[1:4], WHITE)
    shares = []
    for v in range(3):
        error = (found.images[v] - images[1 + v]).abs().amax(0)
        surface = found.surface[v] & (depth[1 + v] > 0)
        assert error[surface].median() < 0.02
        assert (depth[1 + v][found.surface[v]] > 0).float().mean() > 0.9  # but for the rim
        assert (depth[1 + v][found.background[v]] == 0).all()  # what is called empty is
        assert found.background[v].float().mean() > 0.3
        shares.append(float(surface.sum() / (depth[1 + v] > 0).sum()))
    assert shares[0] > 0.8 > shares[1] > 0.5 > shares[2] > 0.25


def test_the_nearer_surface_wins() -> None:
    camera = torch.from_numpy(orbit_cameras(1, 32))[0]
    image, depth = torch.zeros(3, 32, 32), torch.full((32, 32), 2.0)
    image[0], image[2, 8:24, 8:24] = 1, 1  # a red wall and, before it, a magenta square
    depth[8:24, 8:24] = 1.2
    found = warp(image, depth, camera, turned(camera, torch.tensor([0.0, 12.0])), WHITE)
    assert torch.equal(found.images[0], image)
    assert found.surface[0].all()
    square = (found.images[1, 2] > 0.5) & found.surface[1]
    assert 0.7 * 256 < int(square.sum()) < 1.3 * 256
    for row, own in zip(square, found.surface[1], strict=True):  # no wall shines through
        at = row.nonzero()[:, 0]
        assert len(at) == 0 or row[at[0] : at[-1] + 1][own[at[0] : at[-1] + 1]].all()


def test_points_come_back_to_their_pixels_in_both_projections_at_any_resolution() -> None:
    camera = torch.from_numpy(orbit_cameras(5, 32))[3]
    depth = torch.rand(16, 24) + 1
    for orthographic in (0.0, 1.0):
        camera[ORTHOGRAPHIC] = orthographic
        points, pixels = lift_view(depth, camera)
        uv, z = project_view(points, camera, 16, 24)
        assert torch.allclose(uv, torch.stack([pixels % 24 + 0.5, pixels // 24 + 0.5], 1), atol=2e-4)
        assert torch.allclose(z, depth.flatten(), atol=1e-5)


def test_patches_count_when_they_are_known_nearly_wholly() -> None:
    known = torch.ones(1, 8, 12, dtype=torch.bool)
    known[0, 0, 0], known[0, :4, 4:6] = False, False
    assert patches_covered(known, (2, 3)).tolist() == [[False, False, True, True, True, True]]
    assert patches_covered(known, (2, 3), least=0.9).tolist() == [[True, False, True, True, True, True]]


def test_holes_are_filled_from_around() -> None:
    image = torch.zeros(3, 16, 16)
    image[:, :, 8:] = 1
    known = torch.rand(16, 16, generator=torch.Generator().manual_seed(0)) < 0.5
    known[:, 7:9] = False
    filled = fill_holes(image, known)
    assert torch.equal(filled[:, known], image[:, known])
    assert (filled[:, :, :5].max(), filled[:, :, 11:].min()) == (0, 1)
    assert fill_holes(image, torch.zeros(16, 16, dtype=torch.bool)).isfinite().all()


def test_what_cannot_be_warped_is_said() -> None:
    cameras = torch.from_numpy(orbit_cameras(4, 32))
    with pytest.raises(UsageError, match="depth of 16×16 pixels, the image has 32×32"):
        warp(torch.zeros(3, 32, 32), torch.ones(16, 16), cameras[0], cameras[1:], WHITE)
    with pytest.raises(UsageError, match="lands in view 1 of 3: the warp covers nothing"):
        warp(torch.zeros(3, 32, 32), torch.zeros(32, 32), cameras[0], cameras[1:], WHITE)
