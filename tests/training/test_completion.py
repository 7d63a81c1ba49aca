import pytest
import torch

from dataengine.errors import UsageError
from dataengine.training.completion import (
    KINDS,
    SHARES,
    completion_randoms,
    mask_for_completion,
    views_per_sample,
)
from dataengine.training.masking import MaskedBatch

GRID, VIEWS, MASK = (4, 6), 8, 512


def game(count: int = 4, batch: int = 2000, t: float | None = 0.0, **more: object) -> tuple[MaskedBatch, torch.Tensor]:
    """Tokens say which view and place they are from. At t = 0 all is hidden that is not given."""
    torch.manual_seed(0)
    tokens = torch.arange(VIEWS * 24).view(1, VIEWS, *GRID).expand(batch, -1, -1, -1)
    uniforms = torch.rand(batch, completion_randoms(VIEWS, 24))
    if t is not None:
        uniforms[:, 0] = t
    options = {"schedule": "cosine", "weight": "none", "drop_text": 0.5, **more}
    return mask_for_completion(tokens, uniforms, MASK, count=count, **options), uniforms  # type: ignore[arg-type]


def kinds(uniforms: torch.Tensor) -> torch.Tensor:
    edges = torch.tensor([sum(SHARES[: i + 1]) for i in range(len(SHARES))])
    return (uniforms[:, 4, None] >= edges).sum(1)


def test_targets_are_the_chosen_views_and_only_masked_tokens_are_hidden() -> None:
    found, _ = game(t=None)
    assert torch.equal(found.codes, found.targets.masked_fill(found.masked, MASK))
    assert torch.equal(found.targets // 24, found.views[..., None].expand(-1, -1, 24))
    assert all(len(set(v)) == 4 for v in found.views.tolist())
    assert found.masked.flatten(1).any(1).all()
    assert found.maskable == 96


@pytest.mark.parametrize("count", [2, 3, 8])
def test_what_each_kind_gives(count: int) -> None:
    found, uniforms = game(count)
    kind, shown = kinds(uniforms), ~found.masked
    whole = shown.all(2).sum(1)
    partly = (shown.any(2) & ~shown.all(2)).sum(1)
    for k, name in enumerate(KINDS):
        own = kind == k
        assert abs(own.float().mean() - SHARES[k]) < 0.03
        if name == "tokens":
            assert not shown[own].any()
        elif name == "views":
            assert set(whole[own].tolist()) == set(range(count))
            assert (partly[own] == 0).all()
            assert abs((whole[own] == 0).float().mean() - 0.2) < 0.05
        elif name == "endpoints":
            assert (whole[own] == min(count, 2) - (count == 2)).all()
            assert (partly[own] == 0).all()
        else:
            assert (whole[own] == 1).all()
            assert shown[own].float().mean() > 1 / count + 0.1


def test_endpoints_are_the_ends_of_neighbouring_views() -> None:
    found, uniforms = game(5)
    for views, masked in zip(found.views[kinds(uniforms) == 2], found.masked[kinds(uniforms) == 2], strict=True):
        given = views[~masked.all(1)].tolist()
        between = set(views[masked.all(1)].tolist())
        assert (given[1] - given[0]) % VIEWS in (4, 4)  # 4 and -4 are one in a circle of eight
        assert between in ({(given[0] + i) % VIEWS for i in (1, 2, 3)}, {(given[1] + i) % VIEWS for i in (1, 2, 3)})


def test_regions_are_connected_more_than_chance() -> None:
    torch.manual_seed(0)
    tokens, uniforms = torch.zeros(300, 4, 16, 16, dtype=torch.long), torch.rand(300, completion_randoms(4, 256))
    uniforms[:, 0], uniforms[:, 4] = 0, 0.99
    found = mask_for_completion(tokens, uniforms, MASK, count=4, schedule="cosine", weight="none", drop_text=0.5)
    shown = (~found.masked).view(-1, 16, 16)
    part = shown[(shown.float().mean((1, 2)) > 0.2) & (shown.float().mean((1, 2)) < 0.8)].float()
    assert len(part) > 300
    same = (part[:, 1:] == part[:, :-1]).float().mean()
    share = part.mean((1, 2), keepdim=True)
    assert same > 0.8 > (share**2 + (1 - share) ** 2).mean() + 0.2  # of tokens drawn apart


def test_the_schedule_shows_a_share_of_what_is_not_given() -> None:
    found, uniforms = game(t=2 / 3)  # cos(π/3) = 1/2
    bare = kinds(uniforms) == 0
    assert (found.masked[bare].flatten(1).sum(1) == 48).all()


def test_views_come_in_any_order_or_as_on_the_rig() -> None:
    shuffled, uniforms = game()
    one = (kinds(uniforms) == 1) & ((~shuffled.masked).all(2).sum(1) == 1)
    place = (~shuffled.masked[one]).all(2).float().argmax(1)
    assert torch.bincount(place, minlength=4).float().div(len(place)).sub(0.25).abs().max() < 0.06
    fixed, _ = game(shuffle=False)
    assert ((~fixed.masked[one]).all(2).float().argmax(1) == 0).all()


def test_the_caption_is_kept_where_nothing_else_is_given() -> None:
    found, uniforms = game(drop_text=1.0)
    bare = (kinds(uniforms) == 1) & found.masked.all(2).all(1)
    assert bare.any()
    assert not found.drop_text[bare].any()
    assert found.drop_text[~bare].all()


def test_a_batch_has_two_to_eight_views_whatever_asks() -> None:
    counts = [views_per_sample(3, 0, 8 * i, 24) for i in range(200)]
    assert set(counts) == set(range(2, 9))
    assert counts == [views_per_sample(3, 0, 8 * i, 24) for i in range(200)]
    assert {views_per_sample(3, 1, i, 3) for i in range(50)} == {2, 3}
    with pytest.raises(UsageError, match="stage complete needs 2 views per sample, the corpus has 1"):
        views_per_sample(0, 0, 0, 1)
