"""Gaussians are drawn as 3D Gaussian splatting says: against closed forms, a plain loop, and finite differences."""

import math

import pytest
import torch
from torch import Tensor

from dataengine.geometry.gaussians import Gaussians, rotation_matrices
from dataengine.geometry.rasterise import BLUR, LEAST, MOST, rasterise

K = torch.tensor([[[40.0, 0.0, 16.5], [0.0, 40.0, 16.5], [0.0, 0.0, 1.0]]])
EYE = torch.eye(4)[None]
SIZE = (33, 33)


def gaussians(centres: list[list[float]], scale: float = 0.05, opacity: float = 0.5, colour: float = 0.0) -> Gaussians:
    n = len(centres)
    quaternions = torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(n, 1)
    return Gaussians(
        torch.tensor(centres),
        torch.full((n, 3), scale),
        quaternions,
        torch.full((n,), opacity),
        torch.full((n, 3), colour),
    )


def pixel_centres() -> tuple[Tensor, Tensor]:
    along = torch.arange(33) + 0.5
    y, x = torch.meshgrid(along, along, indexing="ij")
    return x, y


def test_one_gaussian_is_a_gaussian() -> None:
    """On the axis the affine approximation is exact: a variance of (f s / z)² + 0.3 square pixels."""
    drawn = rasterise(gaussians([[0.0, 0.0, 2.0]]), K, EYE, SIZE)
    variance = (40 * 0.05 / 2) ** 2 + BLUR
    x, y = pixel_centres()
    alpha = 0.5 * torch.exp(-((x - 16.5) ** 2 + (y - 16.5) ** 2) / (2 * variance))
    alpha = torch.where(alpha < LEAST, 0.0, alpha)
    torch.testing.assert_close(drawn.alpha[0, 0], alpha, atol=1e-5, rtol=0)
    torch.testing.assert_close(drawn.colour[0, 1], 1 - alpha, atol=1e-5, rtol=0)  # black over white
    assert torch.all((drawn.depth[0, 0] - 2.0).abs()[alpha > 0] < 1e-5) and not drawn.depth[0, 0][alpha == 0].any()


def test_what_is_in_front_hides_what_is_behind() -> None:
    """At the pixel on the axis: a, then b through 1 - a, then the background through both."""
    both = gaussians([[0.0, 0.0, 3.0], [0.0, 0.0, 2.0]])
    both = both._replace(colours=torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]), opacities=torch.tensor([0.6, 0.25]))
    drawn = rasterise(both, K, EYE, SIZE, background=torch.tensor([0.0, 0.0, 1.0]))
    red, green = 0.25, 0.75 * 0.6
    torch.testing.assert_close(drawn.colour[0, :, 16, 16], torch.tensor([red, green, 1 - red - green]))
    assert drawn.depth[0, 0, 16, 16].item() == pytest.approx((2 * red + 3 * green) / (red + green))


def test_opacity_is_held_below_one() -> None:
    drawn = rasterise(gaussians([[0.0, 0.0, 2.0]], opacity=1.0), K, EYE, SIZE)
    assert drawn.alpha.max().item() == pytest.approx(MOST)


@pytest.mark.parametrize("centre", [[0.0, 0.0, -2.0], [0.0, 0.0, 0.001], [50.0, 0.0, 2.0], [0.0, -50.0, 2.0]])
def test_what_is_behind_or_beside_the_camera_is_not_drawn(centre: list[float]) -> None:
    drawn = rasterise(gaussians([centre]), K, EYE, SIZE, background=0.25)
    assert torch.all(drawn.colour == 0.25) and not drawn.alpha.any()


def test_nothing_at_all() -> None:
    drawn = rasterise(gaussians([[0.0, 0.0, 2.0]], opacity=0.0), K, EYE, SIZE)
    assert torch.all(drawn.colour == 1) and not drawn.alpha.any()


def test_a_turned_ellipsoid() -> None:
    """Twice as wide as high, turned by 30° about the axis of view: its image's covariance is turned with it."""
    half = math.radians(30) / 2
    one = gaussians([[0.0, 0.0, 2.0]])
    one = one._replace(
        scales=torch.tensor([[0.10, 0.05, 0.02]]),
        rotations=torch.tensor([[math.cos(half), 0.0, 0.0, math.sin(half)]]),
    )
    alpha = rasterise(one, K, EYE, SIZE).alpha[0, 0].double()
    c, s = math.cos(2 * half), math.sin(2 * half)
    turn = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    covariance = turn @ torch.diag(torch.tensor([4.0, 1.0], dtype=torch.float64)) @ turn.T + BLUR * torch.eye(2)
    x, y = pixel_centres()
    away = torch.stack([x - 16.5, y - 16.5], -1).double()
    expected = 0.5 * torch.exp(-0.5 * ((away @ torch.linalg.inv(covariance)) * away).sum(-1))
    expected = torch.where(expected < LEAST, 0.0, expected)
    torch.testing.assert_close(alpha, expected, atol=1e-5, rtol=0)


def test_orthographic_cameras_do_not_shrink_what_is_far() -> None:
    scale = torch.tensor([[[20.0, 0.0, 16.5], [0.0, 20.0, 16.5], [0.0, 0.0, 1.0]]])
    near, far = (
        rasterise(gaussians([[0.1, 0.2, z]]), scale, EYE, SIZE, orthographic=True).alpha[0, 0] for z in (1.0, 3.0)
    )
    assert torch.equal(near, far)
    variance = (20 * 0.05) ** 2 + BLUR
    x, y = pixel_centres()
    alpha = 0.5 * torch.exp(-((x - 18.5) ** 2 + (y - 20.5) ** 2) / (2 * variance))
    torch.testing.assert_close(near, torch.where(alpha < LEAST, 0.0, alpha), atol=1e-5, rtol=0)


def scene(count: int, dtype: torch.dtype = torch.float32) -> Gaussians:
    chance = torch.Generator().manual_seed(count)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=chance, dtype=torch.float64).to(dtype)

    rotations = torch.nn.functional.normalize(uniform(count, 4) - 0.5, dim=-1)
    centres = (uniform(count, 3) - 0.5) + torch.tensor([0.0, 0.0, 2.0], dtype=dtype)
    return Gaussians(centres, 0.02 + 0.1 * uniform(count, 3), rotations, uniform(count), uniform(count, 3))


def one_by_one(g: Gaussians, K: Tensor, c2w: Tensor, size: tuple[int, int]) -> Tensor:
    """The definition, in a loop over Gaussians: (3, H, W) over white."""
    w2c = torch.linalg.inv(c2w)
    turned = rotation_matrices(g.rotations)
    picture, light = torch.zeros((*size, 3)), torch.ones(size)
    y, x = torch.meshgrid(torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5, indexing="ij")
    local = g.centres @ w2c[:3, :3].T + w2c[:3, 3]
    for i in local[:, 2].argsort().tolist():
        px, py, pz = local[i].tolist()
        jacobian = torch.tensor([[K[0, 0] / pz, 0, -K[0, 0] * px / pz**2], [0, K[1, 1] / pz, -K[1, 1] * py / pz**2]])
        spread = turned[i] @ torch.diag(g.scales[i] ** 2) @ turned[i].T
        flat = jacobian @ w2c[:3, :3] @ spread @ w2c[:3, :3].T @ jacobian.T + BLUR * torch.eye(2)
        away = torch.stack([x - K[0, 0] * px / pz - K[0, 2], y - K[1, 1] * py / pz - K[1, 2]], -1)
        alpha = g.opacities[i] * torch.exp(-0.5 * (away @ torch.linalg.inv(flat) * away).sum(-1))
        alpha = torch.where(alpha < LEAST, 0.0, alpha.clamp(max=MOST))
        picture = picture + (light * alpha)[..., None] * g.colours[i]
        light = light * (1 - alpha)
    return (picture + light[..., None]).permute(2, 0, 1)


@pytest.mark.parametrize("size", [(40, 40), (29, 50)])
def test_many_gaussians_are_those_of_a_plain_loop(size: tuple[int, int]) -> None:
    turn = torch.eye(4)
    turn[:3, :3] = rotation_matrices(torch.nn.functional.normalize(torch.tensor([1.0, 0.1, -0.2, 0.3]), dim=0))
    turn[:3, 3] = torch.tensor([0.2, -0.3, -0.4])
    cameras = torch.stack([torch.eye(4), turn])
    wide = torch.tensor([[20.0, 0.0, size[1] / 2], [0.0, 20.0, size[0] / 2], [0.0, 0.0, 1.0]])
    drawn = rasterise(scene(150), wide.expand(2, -1, -1), cameras, size)
    for view, camera in zip(drawn.colour, cameras, strict=True):
        torch.testing.assert_close(view, one_by_one(scene(150), wide, camera, size), atol=2e-5, rtol=0)


def test_order_and_company_do_not_matter() -> None:
    """The order of the list, other scenes and other views change nothing."""
    cameras = EYE.repeat(2, 1, 1)
    cameras[1, 0, 3] = 0.3
    first, second = scene(70), scene(71)
    mixed = torch.randperm(70, generator=torch.Generator().manual_seed(0))
    alone = rasterise(first, K.expand(2, -1, -1), cameras, SIZE)
    shuffled = rasterise(Gaussians(*(f[mixed] for f in first)), K.expand(2, -1, -1), cameras.flip(0), SIZE)
    torch.testing.assert_close(alone.colour, shuffled.colour.flip(0), atol=1e-5, rtol=0)
    both = Gaussians(*(torch.stack([a, b[:70]]) for a, b in zip(first, second, strict=True)))
    together = rasterise(both, K.expand(2, 2, -1, -1), cameras.expand(2, -1, -1, -1), SIZE)
    torch.testing.assert_close(together.colour[0], alone.colour, atol=1e-6, rtol=0)


def test_gradients_are_those_of_finite_differences() -> None:
    g = scene(6, torch.float64)._replace(scales=torch.full((6, 3), 0.1, dtype=torch.float64))
    g = g._replace(opacities=0.2 + 0.6 * g.opacities)
    fields = [field.clone().requires_grad_() for field in g]

    near = torch.tensor([[[12.0, 0.0, 4.5], [0.0, 12.0, 4.5], [0.0, 0.0, 1.0]]], dtype=torch.float64)

    def drawn(*fields: Tensor) -> Tensor:
        made = rasterise(Gaussians(*fields), near, EYE.double(), (9, 9))
        ramp = torch.linspace(0, 1, 9, dtype=torch.float64)
        return torch.stack([made.colour.mean(), (made.alpha * ramp).mean(), made.depth.mean()])

    assert torch.autograd.gradcheck(drawn, fields, eps=1e-6, atol=1e-4)
