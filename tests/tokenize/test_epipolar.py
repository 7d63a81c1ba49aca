"""Views that exchange what they show of the same surface: where they look, what they learn, and what stays as it is."""

from typing import Any

import pytest
import torch

from dataengine.tokenize import build
from dataengine.tokenize.depth_guided import DepthGuidedDecoder, Guidance, levels
from dataengine.tokenize.depth_noise import independent_noise, structured_noise, wrong_silhouette
from dataengine.tokenize.epipolar import EpipolarAttention, Scene, look_up
from dataengine.tokenize.model import Tokenizer

TINY: dict[str, dict[str, Any]] = {
    "small": {"bits": 6, "encoder_widths": (8, 8), "encoder_blocks": (1, 1), "decoder_widths": (16, 8, 8, 8),
              "decoder_blocks": (1, 1, 1, 1)},
    "open-magvit2-128": {"ch": 32, "ch_mult": (1, 1, 2), "num_res_blocks": 1, "z_channels": 6},
    "show-o": {"ch": 32, "ch_mult": (1, 2), "num_res_blocks": (1, 1), "decoder_ch_mult": (1, 2),
               "decoder_num_res_blocks": (1, 1), "z_channels": 5},
}  # fmt: skip


def tiny(name: str) -> Tokenizer:
    torch.manual_seed(0)
    return build(name, **TINY[name])


def scene(views: int, side: int, *, depth: float = 2.0, shift: float = 0.25, orthographic: bool = False) -> Scene:
    """Cameras in a row, `shift` apart, that all look along z at a plane; the first view is given. f is the side."""
    K = torch.tensor([[1.0, 0, 0.5], [0, 1.0, 0.5], [0, 0, 1 / side]]) * side
    c2w = torch.eye(4).repeat(1, views, 1, 1)
    c2w[0, :, 0, 3] = torch.arange(views) * shift
    known = torch.zeros(1, views, dtype=torch.bool)
    known[0, 0] = True
    return Scene(
        torch.full((1, views, 1, side, side), depth),
        K.expand(1, views, 3, 3),
        c2w,
        torch.full((1, views), orthographic),
        torch.zeros(1, views, 3, side, side),
        known,
        torch.ones(1, views, dtype=torch.bool),
    )


@pytest.mark.parametrize("name", TINY)
def test_an_untrained_one_is_the_plain_decoder(name: str) -> None:
    """Bit for bit, for any number of views."""
    tokenizer = tiny(name)
    decoder = DepthGuidedDecoder(tokenizer).eval()
    for views in (1, 2, 5):
        codes = torch.randint(2**tokenizer.spec.bits, (views, 2, 3), generator=torch.Generator().manual_seed(views))
        plain = tokenizer.decode(codes)
        z = tokenizer.quantize.features(codes)[None]
        with torch.no_grad():
            guided = decoder(z, scene(views, plain.shape[-1]))
        assert torch.equal(guided[0], plain)
    assert len(decoder.attention) == len(levels(tokenizer.decoder))
    assert not any(level._forward_hooks for level in levels(tokenizer.decoder))


@pytest.mark.parametrize("orthographic", [False, True])
def test_it_looks_where_the_points_are(orthographic: bool) -> None:
    """A camera 0.25 to the right sees a plane at depth 2 a shift of f · 0.25 / 2 pixels to the left, f · 0.25 without
    perspective; a view whose features are its own pixels' columns says where it was looked into."""
    side = 16
    views = scene(2, side, orthographic=orthographic)
    y, x = torch.meshgrid(torch.arange(side) + 0.5, torch.arange(side) + 0.5, indexing="ij")
    source = torch.stack([x, y]).expand(1, 2, 2, side, side)
    if orthographic:
        points = torch.stack([(x - 8) / side, (y - 8) / side, torch.full_like(x, 2.0)], -1)
    else:
        points = torch.stack([(x - 8) / side * 2, (y - 8) / side * 2, torch.full_like(x, 2.0)], -1)
    along = torch.tensor([0.0, 0.0, 1.0]).expand(1, 1, side * side, 3)
    gathered, z, inside, cosine = look_up(source, views, points.view(1, 1, side * side, 1, 3), along)
    assert torch.allclose(z, torch.tensor(2.0)) and torch.allclose(cosine, torch.tensor(1.0))
    assert torch.allclose(gathered[0, 0, 0, :, 0], torch.stack([x, y], -1).view(-1, 2), atol=1e-4)
    shift = side * 0.25 / (1 if orthographic else 2)
    seen = (x - shift >= 0).flatten()
    assert torch.equal(inside[0, 1, 0, :, 0], seen)
    whole = (x - shift >= 0.5).flatten()  # nearer to the edge, half of what is gathered is outside
    assert torch.allclose(gathered[0, 1, 0, whole, 0, 0], (x - shift).flatten()[whole], atol=1e-4)


def test_pixels_without_depth_and_single_views_are_left_alone() -> None:
    torch.manual_seed(0)
    attention = EpipolarAttention(8, 8, 3)
    torch.nn.init.normal_(attention.out.weight)
    views = scene(3, 16)
    views.depth[:, :, :, :, 8:] = 0
    added = attention(torch.randn(1, 3, 8, 16, 16), views)
    assert added[:, :, :, :, 4:8].abs().min() > 0 and not added[..., 8:].any()
    assert not attention(torch.randn(1, 1, 8, 16, 16), scene(1, 16)).any()
    views.depth.zero_()
    assert not attention(torch.randn(1, 3, 8, 16, 16), views).any()


def test_chunks_and_other_views_change_nothing_of_what_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    attention = EpipolarAttention(8, 8, 3).eval()
    torch.nn.init.normal_(attention.out.weight)
    h, views = torch.randn(1, 4, 8, 16, 16), scene(4, 16)
    whole = attention(h, views)
    monkeypatch.setattr("dataengine.tokenize.epipolar.CHUNK", 4 * 4 * 3 * 10)
    assert torch.allclose(attention(h, views), whole, atol=1e-5)
    mixed = [2, 0, 3, 1]
    shuffled = Scene(*(getattr(views, name)[:, mixed] for name in Scene.__dataclass_fields__))
    assert torch.allclose(attention(h[:, mixed], shuffled), whole[:, mixed], atol=1e-5)


def test_depth_is_pooled_over_what_has_some() -> None:
    views = scene(1, 4)
    views.depth[0, 0, 0] = torch.tensor([[1.0, 3, 0, 0], [0, 0, 0, 0], [0, 0, 2, 2], [5, 0, 2, 2]])
    small = views.at(2, 2)
    assert torch.equal(small.depth[0, 0, 0], torch.tensor([[2.0, 0], [5, 2]]))
    assert torch.allclose(small.K[0, 0], torch.tensor([[2.0, 0, 1], [0, 2, 1], [0, 0, 1]]))


def test_it_learns_to_copy_what_a_given_view_shows_of_the_same_place() -> None:
    """Features say nothing, textures are new in every step, and what the second view shows lies two columns further to
    the right in the first: only looking along the ray tells the colour."""
    torch.manual_seed(0)
    attention = EpipolarAttention(3, 16, 5, reach=0.2)
    optimizer = torch.optim.Adam(attention.parameters(), 1e-2)
    views = scene(2, 16)
    chance = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(150):
        coarse = torch.rand((1, 3, 6, 6), generator=chance) * 2 - 1
        first = torch.nn.functional.interpolate(coarse, (16, 16), mode="bilinear")
        given = torch.stack([first, torch.zeros_like(first)], 1)
        step = Scene(views.depth, views.K, views.c2w, views.orthographic, given, views.known, views.exact)
        made = attention(torch.zeros(1, 2, 3, 16, 16), step)[0, 1, :, :, :14]
        loss = (made - first[0, :, :, 2:]).square().mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item() / first.var().item())
    assert sum(losses[-10:]) / 10 < 0.1 < 0.8 < losses[0]


def test_structured_noise_is_smooth_bounded_and_keeps_the_background() -> None:
    depth = torch.full((64, 128, 128), 2.0)
    depth[:, :, 100:] = 0
    noisy = structured_noise(depth, 0.1, torch.Generator().manual_seed(0))
    assert not noisy[:, :, 100:].any() and (noisy[:, :, :100] > 0).all()
    off = (noisy - depth)[:, :, :100]
    assert 0.08 < off.abs().max() <= 0.1 * (1 + 1 / 3 + 1 / 9) + 1e-6
    assert abs(off.mean().item()) < 0.005
    far = torch.corrcoef(torch.stack([off[:, :, 0].flatten(), off[:, :, 8].flatten()]))[0, 1]
    assert far > 0.5  # what the coarse map gives does not cancel when depth is pooled
    alone = (independent_noise(depth, 0.1, torch.Generator().manual_seed(0)) - depth)[:, :, :100]
    assert alone.abs().max() <= 0.1 + 1e-6
    assert alone.var().item() == pytest.approx(0.1**2 / 3, rel=0.02)  # of a uniform distribution
    assert torch.corrcoef(torch.stack([alone[:, :, 0].flatten(), alone[:, :, 1].flatten()]))[0, 1].abs() < 0.05


def test_silhouettes_grow_and_shrink_by_pixels() -> None:
    depth = torch.zeros(1, 3, 1, 9, 9)
    depth[..., 3:6, 3:6] = 2.0
    made = wrong_silhouette(depth, torch.tensor([[0, 2, 1]]), torch.tensor([[0, 0, 1]]))
    assert torch.equal(made[0, 0], depth[0, 0])
    assert (made[0, 1, 0, 1:8, 1:8] == 2).all() and not made[0, 1, 0, 0].any()
    assert torch.equal(made[0, 2], depth[0, 2])  # to one pixel, and back
    steps = torch.zeros(1, 1, 1, 3, 5)
    steps[0, 0, 0, :, 1], steps[0, 0, 0, :, 3] = 1.0, 3.0
    assert wrong_silhouette(steps, torch.ones(1, 1), torch.zeros(1, 1))[0, 0, 0, 1].tolist() == [1, 1, 2, 3, 3]


def test_guidance_of_other_levels_is_refused() -> None:
    from dataengine.errors import UsageError

    with pytest.raises(UsageError, match="4 levels, 2 are told of"):
        DepthGuidedDecoder(tiny("small"), Guidance((7, 7), (8, 8)))
