"""What the network's answer means in the world, whatever it has learned."""

import math

import pytest
import torch

from dataengine.errors import UsageError
from dataengine.geometry.gaussians import rotation_matrices
from dataengine.geometry.tensors import project
from dataengine.training.reconstruct.hull import entries
from dataengine.training.reconstruct.network import (
    Reconstructor,
    ReconstructorConfig,
    compose,
    pixel_rays,
    quaternions,
)
from dataengine.training.reconstruct.squares import Squares
from dataengine.training.reconstruct.view_choice import check_cameras, draw_four, four_around

from .scenes import about_z, ball_views

TINY = ReconstructorConfig(widths=(8, 16, 24), blocks=1, carving=())


def untrained(config: ReconstructorConfig = TINY) -> Reconstructor:
    torch.manual_seed(0)
    model = Reconstructor(config).eval()
    torch.nn.init.normal_(model.leave.weight, std=0.5)  # so that no two pixels get the same answer
    return model


def test_gaussians_lie_on_their_pixels_rays_inside_the_sphere() -> None:
    truth = ball_views(views=4)
    with torch.no_grad():
        made = untrained()(truth.colour, truth.K, truth.c2w)
    gaussians = made.gaussians
    assert gaussians.centres.shape == (1, 4 * 16 * 16, 3)
    centres = gaussians.centres.view(4, 256, 3)
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    middles = torch.stack([x, y], -1).flatten(0, 1) * 2 + 1  # of squares of 2 × 2 pixels
    for v in range(4):
        pixels, z = project(centres[v], truth.K[0, v], truth.c2w[0, v])
        assert torch.allclose(pixels, middles, atol=1e-3)
        assert (z > 0.9).all()  # 1.5 away from a sphere of 0.52
    inside = gaussians.centres.norm(dim=-1) <= TINY.radius + 1e-5
    assert inside.float().mean() > 0.3
    assert (gaussians.opacities[~inside] == 0).all()
    assert (gaussians.opacities[inside] > 0).float().mean() > 0.95
    assert (gaussians.scales > 0).all()
    assert ((gaussians.colours >= 0) & (gaussians.colours <= 1)).all()
    assert torch.allclose(gaussians.rotations.norm(dim=-1), torch.ones(1, 1024), atol=1e-5)


def test_rays_enter_the_hull_where_four_silhouettes_say() -> None:
    truth = ball_views(views=4, side=64)
    squares = Squares.of(truth.K, truth.c2w, (64, 64), 1, 0.52)
    planar = squares.picture(entries(truth.alpha, squares) * squares.along)
    depth = truth.depth
    step = 1.04 / 64
    inner = depth > 0
    assert torch.isfinite(planar[inner]).float().mean() > 0.97  # but for the rim
    before = (depth - planar)[inner & torch.isfinite(planar)]
    assert before.min() > -2 * step  # the hull holds the ball, up to a sample and a pixel at the rim
    assert before.max() < 0.25  # what four views cannot carve from a ball of radius 0.4 is small
    assert 0 <= before.median() < 0.06
    empty = torch.nn.functional.max_pool2d(inner[0].float(), 5, 1, 2) == 0  # not even beside the ball
    assert not torch.isfinite(planar[0][empty]).any()


def test_gaussians_stay_within_the_slack_of_the_hull() -> None:
    truth = ball_views(views=4)
    model = untrained()
    torch.nn.init.zeros_(model.leave.weight)
    torch.nn.init.constant_(model.leave.bias, 6.0)  # all of the sphere is solid, and the network says: at its far side
    with torch.no_grad():
        made = model(truth.colour, truth.K, truth.c2w)
    origins, directions = pixel_rays(truth.K, truth.c2w, (16, 16), 2)
    nearest = -(origins * directions).sum(-1)
    half = (TINY.radius**2 - (origins + nearest[..., None] * directions).square().sum(-1)).clamp(min=0).sqrt()
    along = ((made.gaussians.centres.view(1, 4, 256, 3) - origins) * directions).sum(-1)
    hits = half > 0.3
    into = (along - nearest + half)[hits]  # from where the ray enters the sphere, all of which is solid
    assert into.min() > -1e-4
    assert into.max() < 1.04 / 64 + TINY.slack + 1e-4


def test_with_carving_gaussians_stay_on_their_rays() -> None:
    truth = ball_views(views=4)
    model = untrained(ReconstructorConfig(widths=(8, 16, 24), blocks=1, carving=(8, 16)))
    with torch.no_grad():
        made = model(truth.colour, truth.K, truth.c2w)
    assert made.carved is not None
    squares = Squares.of(truth.K, truth.c2w, (16, 16), 2, 0.52)
    apart = made.gaussians.centres.view(1, 4, 256, 3) - squares.origins
    assert torch.allclose(apart, made.carved.distance() * squares.directions, atol=1e-5)


def test_a_turned_world_gives_turned_gaussians() -> None:
    truth, turn = ball_views(views=4), about_z(37)
    model = untrained()
    with torch.no_grad():
        a = model(truth.colour, truth.K, truth.c2w).gaussians
        b = model(truth.colour, truth.K, turn @ truth.c2w).gaussians
    assert torch.allclose(a.centres @ turn[:3, :3].T, b.centres, atol=1e-4)
    assert torch.allclose(turn[:3, :3] @ a.covariances() @ turn[:3, :3].T, b.covariances(), atol=1e-5)


def test_what_ships_would_weigh_less_than_ten_megabytes() -> None:
    assert 2 * sum(p.numel() for p in Reconstructor().parameters()) < 10e6


def test_quaternions_are_those_of_the_rotations() -> None:
    random = torch.Generator().manual_seed(0)
    matrices = torch.linalg.qr(torch.randn(50, 3, 3, generator=random)).Q
    matrices = matrices * torch.linalg.det(matrices)[:, None, None].sign()
    half_turns = torch.stack([torch.diag(torch.tensor(d)) for d in ([1.0, -1, -1], [-1.0, 1, -1], [-1.0, -1, 1])])
    matrices = torch.cat([matrices, half_turns, torch.eye(3)[None]])
    found = quaternions(matrices)
    assert torch.allclose(rotation_matrices(found), matrices, atol=1e-5)
    assert torch.allclose(rotation_matrices(compose(found[:-1], found[1:])), matrices[:-1] @ matrices[1:], atol=1e-5)


def test_four_views_are_those_a_quarter_apart() -> None:
    c2w = ball_views(views=24, side=8).c2w[0]
    assert four_around(c2w) == [0, 6, 12, 18]
    assert four_around(c2w, first=5) == [5, 11, 17, 23]
    assert sorted(four_around(ball_views(views=4, side=8).c2w[0], 2)) == [0, 1, 2, 3]
    drawn = draw_four(c2w.expand(32, -1, -1, -1), torch.Generator().manual_seed(0), any_share=0.5)
    steps = (drawn.sort(1).values.diff(dim=1) == 6).all(1)
    assert 0 < int(steps.sum()) < 32
    assert all(len(set(row)) == 4 for row in drawn.tolist())
    with pytest.raises(UsageError, match="needs 4 views, there are 3"):
        four_around(c2w[:3])


def test_cameras_that_cannot_be_taken_are_named() -> None:
    c2w = ball_views(views=4, side=8).c2w[0]
    check_cameras(c2w, torch.zeros(4, dtype=torch.bool))
    with pytest.raises(UsageError, match="view 2 is orthographic"):
        check_cameras(c2w, torch.tensor([False, False, True, False]))
    away = c2w.clone()
    away[1, :3, :3] = away[1, :3, :3] @ torch.diag(torch.tensor([-1.0, 1, -1]))
    with pytest.raises(UsageError, match="view 1's camera does not look at the object but away"):
        check_cameras(away)
    aside = c2w.clone()
    aside[3, :3, :3] = about_z(10)[:3, :3] @ aside[3, :3, :3]
    passed = 1.5 * math.cos(math.pi / 6) * math.sin(math.radians(10))  # 1.5 away, 30° up; turned, not moved
    with pytest.raises(UsageError, match=f"view 3's camera .* passes the origin at {passed:.2f}"):
        check_cameras(aside)
    with pytest.raises(UsageError, match="not finite"):
        check_cameras(c2w * torch.nan)
