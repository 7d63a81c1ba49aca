"""What is carried from a given picture to the pixels of other views: from where, when not, and that it is learned."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dataengine.tokenize.depth_guided import DepthGuidedDecoder, Guidance
from dataengine.tokenize.epipolar import Scene
from dataengine.tokenize.given_pixels import CARRIED, GivenPixels
from tests.tokenize.test_epipolar import scene, tiny


def opened(points: int = 9) -> GivenPixels:
    """One that adds all that is lost in the given view, wherever it finds the place."""
    torch.manual_seed(0)
    module = GivenPixels(points).eval()
    torch.nn.init.constant_(module.trust[-1].bias[:1], 1.0)  # type: ignore[index, arg-type]
    torch.nn.init.zeros_(module.compare[-1].weight)  # type: ignore[arg-type]
    torch.nn.init.constant_(module.compare[-1].bias, 20.0)  # type: ignore[arg-type]
    module.disagreement.data.fill_(1000.0)  # the point at the depth itself, or none
    return module


def with_picture(views: Scene, picture: Tensor) -> Scene:
    given = torch.zeros_like(views.given)
    given[:, 0] = picture
    return replace(views, given=given)


@pytest.mark.parametrize("orthographic", [False, True])
def test_what_decoding_lost_is_added_where_the_surface_is(orthographic: bool) -> None:
    """Of a plane 2 away, the camera 0.25 further to the right shows everything 2 pixels further to the left (f = 16),
    with parallel rays (16 pixels a unit) 4."""
    shift = 4 if orthographic else 2
    picture = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    told = with_picture(scene(2, 16, orthographic=orthographic), picture)
    alone = torch.zeros(1, 2, 3, 16, 16)
    alone[0, 0] = 0.25
    added = opened()(alone, alone, told).added
    assert torch.allclose(added[0, 1, :, :, : 16 - shift], picture[:, :, shift:] - 0.25, atol=1e-4)
    assert not added[0, 0].any() and not added[0, 1, :, :, 16 - shift :].any()


def test_nothing_is_added_without_depth_without_a_given_view_or_behind_another_surface() -> None:
    module, alone = opened(), torch.zeros(1, 2, 3, 16, 16)
    views = with_picture(scene(2, 16), torch.ones(3, 16, 16))
    views.depth[0, 1, 0, :4] = 0
    views.depth[0, 0, 0, 8:] = 1.0  # the given view shows something else there, before it
    added, seen = module(alone, alone, views)
    assert (added[0, 1, :, 4:7, :13] > 0.99).all()
    assert not added[0, 1, :, :4].any() and added[0, 1, :, 9:].abs().max() < 1e-3
    assert seen.shape == (1, 2, CARRIED, 16, 16) and not seen[0, 1, :, :4].any()
    assert torch.allclose(seen[0, 1, :7, 4:7, :13], torch.tensor(1.0))  # lost, given less decoded, weight
    unknown = replace(views, known=torch.zeros_like(views.known))
    assert not any(part.any() for part in module(alone, alone, unknown))


def test_several_given_views_are_looked_into() -> None:
    """The middle view's left edge is in the left one only, its right edge in the right one only."""
    views = scene(3, 16)
    known = torch.tensor([[True, False, True]])
    given = torch.zeros_like(views.given)
    given[0, 0], given[0, 2] = 0.5, -0.5
    told = replace(views, given=given, known=known)
    alone = torch.zeros(1, 3, 3, 16, 16)
    added = opened()(alone, alone, told).added
    assert torch.allclose(added[0, 1, :, :, 0], torch.tensor(0.5), atol=1e-4)
    assert torch.allclose(added[0, 1, :, :, 15], torch.tensor(-0.5), atol=1e-4)


def test_an_untrained_one_is_the_plain_decoder_and_keeps_it() -> None:
    tokenizer = tiny("small")
    for guidance in (Guidance.without_attention(4), Guidance.for_levels(4, carried=9)):
        decoder = DepthGuidedDecoder(tokenizer, guidance).eval()
        z = tokenizer.quantize.features(torch.randint(64, (3, 2, 2), generator=torch.Generator().manual_seed(0)))[None]
        views = with_picture(scene(3, 16), torch.rand(3, 16, 16))
        assert torch.equal(decoder(z, views)[0], tokenizer.decoder(z[0]))


def test_it_learns_where_to_look_when_depth_is_wrong() -> None:
    """Depth is off by up to 0.2 for each pair; what plain decoding shows of both views, blurred, tells the place."""
    torch.manual_seed(0)
    module = GivenPixels(9, reach=0.4)
    optimizer = torch.optim.Adam(module.parameters(), 5e-3)
    chance = torch.Generator().manual_seed(0)
    views, losses = scene(2, 32, shift=0.5), []
    for _ in range(60):
        wide = torch.rand((1, 3, 32, 44), generator=chance) * 2 - 1
        coarse: Any = torch.nn.functional.avg_pool2d(wide, 5, 1, 2)
        first, second = wide[..., :32], wide[..., 8:40]  # f = 32: 8 pixels
        alone = torch.stack([coarse[..., :32], coarse[..., 8:40]], 1)
        depth = views.depth + (torch.rand((), generator=chance) - 0.5) * 0.4
        step = with_picture(replace(views, depth=depth), first[0])
        made = alone + module(alone, alone, step).added
        loss = (made[:, 1] - second)[..., :20].square().mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item() / (alone[:, 1] - second)[..., :20].square().mean().item())
    assert losses[0] == pytest.approx(1) and sum(losses[-10:]) / 10 < 0.5
