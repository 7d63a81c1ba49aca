"""Which Gaussians are taken to float. Right values are geometry: true views of a ball, a square displaced."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dataengine.geometry.gaussians import Gaussians
from dataengine.training.reconstruct.carving import OFFSETS, Carved
from dataengine.training.reconstruct.floaters import without_floaters
from dataengine.training.reconstruct.network import Reconstruction
from dataengine.training.reconstruct.squares import Squares

from .scenes import ball_views

SIDE = 32
MIDDLE = SIDE // 2 * SIDE + SIDE // 2  # the square at the middle of a picture


def reconstruction(squares: Squares, distance: Tensor, opacity: Tensor, uncertain: Tensor) -> Reconstruction:
    """(1, 4, R, 1) each; where something is uncertain, two distances 0.13 apart are equally probable."""
    logits = torch.full((*distance.shape[:3], len(OFFSETS)), -30.0)
    logits[..., OFFSETS.index(0.0)] = 0.0
    logits[..., OFFSETS.index(0.13)] = torch.where(uncertain[..., 0], 0.0, -30.0)
    blank = torch.zeros(1, distance.numel(), 3)
    gaussians = Gaussians(blank, blank, torch.zeros(1, distance.numel(), 4), opacity.flatten(1), blank)
    carved = Carved(distance, logits, torch.zeros(*distance.shape[:3], 11))
    empty = squares.picture(distance)
    return Reconstruction(gaussians, empty, empty, carved, distance, squares)


def ball() -> tuple[Squares, Tensor]:
    """Squares, and (1, 4, R, 1) how far along its ray each sees the ball, 0 = none."""
    truth = ball_views(views=4, side=SIDE)
    squares = Squares.of(truth.K, truth.c2w, (SIDE, SIDE), 1, 0.52)
    return squares, truth.depth.flatten(3).transpose(2, 3) / squares.along


def test_what_lies_on_the_surface_stays_and_what_hangs_beside_it_goes() -> None:
    squares, distance = ball()
    seen = distance > 0
    opacity = F.max_pool2d(squares.picture(seen.float())[0], 3, 1, 1)  # squares that it touches
    opacity = opacity.flatten(2).transpose(1, 2)[None]
    distance = torch.where(seen, distance, squares.nearest)
    none = torch.zeros_like(seen)
    kept = without_floaters(reconstruction(squares, distance, opacity, none)).opacities
    assert int(seen.sum()) > 800
    assert bool((kept.view(seen.shape)[seen] > 0).all())
    distance[0, 0, MIDDLE] -= 0.25  # before the ball: views from the side see the background through it
    without = without_floaters(reconstruction(squares, distance, opacity, none)).opacities.view(4, -1)
    assert without[0, MIDDLE] == 0
    assert torch.equal(
        without[:, torch.arange(SIDE**2) != MIDDLE], kept.view(4, -1)[:, torch.arange(SIDE**2) != MIDDLE]
    )


def test_a_view_is_heeded_where_it_is_more_certain() -> None:
    """All squares show something, far behind the middle; what is displaced hides it from the views at the sides."""
    squares, distance = ball()
    distance = torch.where(distance > 0, distance, squares.nearest + 0.4)
    opacity = torch.ones_like(distance)
    distance[0, 0, MIDDLE] -= 0.25
    own = torch.zeros_like(distance, dtype=torch.bool)
    own[0, 0, MIDDLE] = True
    assert without_floaters(reconstruction(squares, distance, opacity, own)).opacities.view(4, -1)[0, MIDDLE] == 0
    kept = without_floaters(reconstruction(squares, distance, opacity, ~own)).opacities.view(4, -1)
    assert kept[0, MIDDLE] == 1


def test_the_spread_is_the_standard_deviation() -> None:
    squares, distance = ball()
    uncertain = torch.zeros_like(distance, dtype=torch.bool)
    uncertain[0, 0, 0] = True
    carved = reconstruction(squares, distance, torch.ones_like(distance), uncertain).carved
    assert carved is not None
    torch.testing.assert_close(carved.spread()[0, 0, :2, 0], torch.tensor([0.065, 0.0]), atol=1e-6, rtol=0)
