"""What carving sees and says. Right values are geometry and arithmetic."""

import pytest
import torch
import torch.nn.functional as F

from dataengine.training.reconstruct.carving import NEAR, OFFSETS, Carved, Carver, sweep
from dataengine.training.reconstruct.loss import LossWeights, carving_loss
from dataengine.training.reconstruct.network import Reconstructor, ReconstructorConfig
from dataengine.training.reconstruct.squares import Squares

from .scenes import ball_views

RADIUS = 0.52


def ball_squares(side: int = 32) -> tuple[Squares, torch.Tensor]:
    """Four views of a ball, each pixel a square, and (1, 4, R, 1) how far along the ray its surface is, 0 = none."""
    truth = ball_views(views=4, side=side)
    squares = Squares.of(truth.K, truth.c2w, (side, side), 1, RADIUS)
    return squares, truth.depth.flatten(3).transpose(2, 3) / squares.along


def test_places_on_rays_are_looked_up_where_they_are_seen() -> None:
    """The ball's colour says where in the world it is, so what is looked up at its surface is its place."""
    truth = ball_views(views=4, side=64)
    squares = Squares.of(truth.K, truth.c2w, (64, 64), 1, RADIUS)
    distance = (truth.depth.flatten(3).transpose(2, 3) / squares.along)[0]
    seen = squares.look(0, 1, torch.cat([truth.colour[0, 1], truth.depth[0, 1]]), [0], distance[:1], "bilinear")
    depth = seen.values[3, 0, :, 0]
    both = (distance[0, :, 0] > 0) & ((depth - seen.z[0, :, 0]).abs() < 0.005)  # the second view sees that place
    assert int(both.sum()) > 200  # of 988 pixels of the ball
    own = truth.colour[0, 0].flatten(1)
    assert (seen.values[:3, 0, both, 0] - own[:, both]).abs().mean() < 0.02
    hidden = (distance[0, :, 0] > 0) & (depth > 0) & ~both
    assert (depth - seen.z[0, :, 0])[hidden].median() < -0.02  # the ball's own front is before them


def test_what_is_swept_tells_the_surface() -> None:
    """With the true surface as the anchor, distance 0 lies on the next view's surface, further ones behind it."""
    squares, distance = ball_squares(64)
    solid = (distance > 0).float()
    colour = torch.zeros(1, 4, 3, 64, 64)
    colour[:, 1] = 0.75
    surface = torch.where(distance > 0, distance, squares.nearest)
    swept = sweep(colour, surface, surface, solid, squares)
    before, there, unlike = swept[0, 0].view(9, len(OFFSETS), -1)[:3]  # of view 0, in the next view
    zero = OFFSETS.index(0.0)
    shared = (distance[0, 0, :, 0] > 0) & (there[zero] > 0) & (before[zero].abs() * NEAR < 0.02)
    assert int(shared.sum()) > 300
    further = OFFSETS.index(0.09)
    assert before[further][shared].median() < -0.2
    assert torch.allclose(unlike[zero][there[zero] > 0], torch.tensor(0.75))
    assert not before[:, there.amax(0) == 0].any()


def test_the_distance_is_the_mean() -> None:
    anchor = torch.full((1, 1, 1, 1), 2.0)
    logits = torch.full((1, 1, 1, len(OFFSETS)), -30.0)
    logits[..., OFFSETS.index(0.02)], logits[..., OFFSETS.index(0.28)] = 0.0, 0.5
    said = Carved(anchor, logits, torch.zeros(1, 1, 1, 11))
    e = torch.tensor(0.5).exp()
    assert float(said.distance()) == pytest.approx(2 + (0.02 + 0.28 * float(e)) / (1 + float(e)), abs=1e-5)


def test_the_entropy_is_that_of_the_two_neighbours() -> None:
    logits = torch.randn((1, 1, 3, len(OFFSETS)), generator=torch.Generator().manual_seed(0))
    said = Carved(torch.zeros(1, 1, 3, 1), logits, torch.zeros(1, 1, 3, 11))
    log = logits.log_softmax(-1)[0, 0]
    i = OFFSETS.index(0.09)
    found = said.entropy(torch.tensor([0.09, 0.10, 5.0])[None, None, :, None])[0, 0, :, 0]
    assert float(found[0]) == pytest.approx(-float(log[0, i]), abs=1e-4)
    assert float(found[1]) == pytest.approx(-0.75 * float(log[1, i]) - 0.25 * float(log[1, i + 1]), abs=1e-4)
    assert float(found[2]) == pytest.approx(-float(log[2, -1]), abs=1e-3)  # behind the last one


def test_carving_finds_a_hollow_that_silhouettes_cannot_show() -> None:
    """A surface 0.13 behind the hull where the picture is dark, on it where it is light: learned in a few steps."""
    torch.manual_seed(0)
    side = 16
    truth = ball_views(views=4, side=side)
    squares = Squares.of(truth.K, truth.c2w, (side, side), 1, RADIUS)
    carver = Carver(4, (16, 24)).train()
    optimizer = torch.optim.Adam(carver.parameters(), 1e-2)
    hull = squares.nearest - 0.3
    chance = torch.Generator().manual_seed(0)
    apart = []
    for _ in range(100):
        dark = (torch.rand((4, 1, 4, 4), generator=chance) < 0.5).float()
        dark = F.interpolate(dark, (side, side), mode="nearest")[None]
        colour = (1 - dark).expand(-1, -1, 3, -1, -1)
        features = torch.zeros(1, 4, 4, side, side)
        said = carver(features, colour, hull, hull, torch.ones_like(hull), squares)
        wanted = 0.13 * dark.flatten(3).transpose(2, 3)
        loss = said.entropy(wanted).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        apart.append(float((said.distance() - hull - wanted).detach().abs().mean()))
    assert sum(apart[:5]) / 5 > 0.03
    assert sum(apart[-5:]) / 5 < 0.01


def test_what_is_carved_is_learned_from_the_true_depth() -> None:
    truth = ball_views(views=4)
    torch.manual_seed(0)
    model = Reconstructor(ReconstructorConfig(widths=(8, 16, 24), blocks=1, carving=(8, 16)))
    made = model(truth.colour, truth.K, truth.c2w)
    assert made.carved is not None
    carving_loss(made, truth, RADIUS, LossWeights()).backward()  # type: ignore[no-untyped-call]
    assert model.carver is not None and model.carver.leave.weight.grad is not None
    assert model.carver.leave.weight.grad.any()
    assert model.enter.weight.grad is not None and model.enter.weight.grad.any()  # its features learn by it
    assert model.leave.weight.grad is None or not model.leave.weight.grad.any()  # its answer does not
    none = ReconstructorConfig(widths=(8, 16, 24), blocks=1, carving=())
    assert carving_loss(Reconstructor(none)(truth.colour, truth.K, truth.c2w), truth, RADIUS, LossWeights()) == 0
