import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dataengine.errors import UsageError
from dataengine.training.config import Method, Reveal, Sampling
from dataengine.training.model.config import ModelConfig
from dataengine.training.model.view_model import ViewModel
from dataengine.training.sampler import generate, halton_ranks, hidden_after

from .synthetic import orbit_cameras

SCHEDULES: tuple[Reveal, ...] = ("cosine", "linear", "quadratic", "front")


def orbit(batch: int, views: int) -> torch.Tensor:
    return torch.from_numpy(orbit_cameras(views)).expand(batch, -1, -1)


def revealed(schedule: Reveal) -> list[int]:
    left = [768, *hidden_after(768, 20, schedule)]
    return [a - b for a, b in pairwise(left)]


def test_published_numbers_of_tokens_a_step() -> None:
    cosine, linear, quadratic = revealed("cosine"), revealed("linear"), revealed("quadratic")
    assert cosine[:4] == [3, 7, 12, 16]
    assert cosine[-2:] == [60, 60]
    assert set(linear) == {38, 39}
    assert quadratic[:3] == [2, 6, 10]
    assert quadratic[-1] == 74
    assert revealed("front")[0] == 75


@given(tokens=st.integers(1, 2000), steps=st.integers(1, 64), schedule=st.sampled_from(SCHEDULES))
def test_every_step_decides_something_and_the_last_decides_all(tokens: int, steps: int, schedule: Reveal) -> None:
    left = hidden_after(tokens, steps, schedule)
    assert len(left) == steps
    assert left[-1] == 0
    assert all(b < a or b == 0 for a, b in zip([tokens, *left], left, strict=False))


def test_sampling_takes_a_step() -> None:
    with pytest.raises(UsageError, match="at least one step"):
        hidden_after(10, 0, "cosine")


@given(views=st.integers(1, 8), rows=st.integers(1, 16), columns=st.integers(1, 16))
@settings(max_examples=25, deadline=None)
def test_the_halton_order_meets_every_cell_once(views: int, rows: int, columns: int) -> None:
    assert sorted(halton_ranks(views, rows, columns)) == list(range(views * rows * columns))


def test_the_halton_order_spreads() -> None:
    ranks = torch.tensor(halton_ranks(4, 16, 16)).view(4, 16, 16)
    early = ranks < 64
    assert early.flatten(1).sum(1).tolist() == pytest.approx([16] * 4, abs=3)
    assert early.view(4, 4, 4, 4, 4).sum((0, 2, 4)).min() >= 2


@pytest.mark.parametrize("bits", [5, 14])
@pytest.mark.parametrize("method", ["confidence", "halton"])
@pytest.mark.parametrize(("guidance", "remask"), [(0.0, 0.0), (1.5, 0.5)])
def test_generation_fills_what_was_asked_and_nothing_else(
    bits: int, method: Method, guidance: float, remask: float
) -> None:
    config = ModelConfig(width=64, layers=1, bits=bits, grid=(3, 4), text_vocabulary=50, text_length=4)
    torch.manual_seed(0)
    model = ViewModel(config)
    codes = torch.full((2, 4, 12), config.mask)
    codes[:, 0] = torch.arange(12)
    text, cameras = torch.ones(2, 4, dtype=torch.long), orbit(2, 4)
    sampling = Sampling(6, method, guidance=guidance, remask=remask)
    out = generate(model, text, codes, cameras, sampling, seed=3)
    assert (out[:, 0] == torch.arange(12)).all()
    assert ((out >= 0) & (out < config.mask)).all()
    assert torch.equal(out, generate(model, text, codes, cameras, sampling, seed=3))
    assert not torch.equal(out, generate(model, text, codes, cameras, sampling, seed=4))


@pytest.mark.parametrize(("remask", "hidden"), [(0.0, [36, 34, 31, 25, 18, 9]), (0.5, [36, 31, 18, 18, 18, 18])])
def test_remasking_spends_half_of_the_steps_on_what_was_decided(remask: float, hidden: list[int]) -> None:
    config = ModelConfig(width=64, layers=1, bits=5, grid=(3, 4), text_vocabulary=50, text_length=4)
    model, seen = ViewModel(config), []
    model.register_forward_pre_hook(lambda _, given: seen.append((given[1] == config.mask).flatten(1).sum(1).tolist()))
    codes = torch.full((2, 4, 12), config.mask)
    codes[:, 0] = torch.arange(12)
    generate(model, torch.ones(2, 4, dtype=torch.long), codes, orbit(2, 4), Sampling(6, remask=remask))
    assert seen == [[n, n] for n in hidden]


def test_at_temperature_zero_the_most_probable_code_is_taken() -> None:
    config = ModelConfig(width=64, layers=1, bits=5, grid=(2, 2), text_vocabulary=50, text_length=4)
    torch.manual_seed(0)
    model = ViewModel(config)
    text, cameras = torch.zeros(1, 4, dtype=torch.long), orbit(1, 2)
    codes = torch.full((1, 2, 4), config.mask)
    out = generate(model, text, codes, cameras, Sampling(1, temperature=0.0))
    with torch.no_grad():
        assert torch.equal(out, model.head.logits(model(text, codes, cameras), []).argmax(-1))


def test_samples_may_lack_different_numbers_of_tokens() -> None:
    torch.manual_seed(0)
    model = ViewModel(ModelConfig(width=64, layers=1, bits=5, grid=(3, 4), text_vocabulary=50, text_length=4))
    codes = torch.randint(0, 32, (3, 4, 12))
    lacking = codes.clone()
    lacking[0, 1:], lacking[1, 2, 3:5] = 32, 32  # 36, 2 and none
    out = generate(model, torch.ones(3, 4, dtype=torch.long), lacking, orbit(3, 4), Sampling(5, remask=0.5))
    assert ((out >= 0) & (out < 32)).all()
    assert torch.equal(out[lacking != 32], codes[lacking != 32])


def test_improbable_given_tokens_are_decided_anew_and_others_stay() -> None:
    """A model that is sure of code 7: doubtful tokens of other codes are replaced, undoubted ones are not."""
    torch.manual_seed(0)
    model = ViewModel(ModelConfig(width=64, layers=1, bits=5, grid=(3, 4), text_vocabulary=50, text_length=4))
    seven = torch.zeros(32)
    seven[7] = 20
    model.head.logits = lambda x, known: seven.expand(*x.shape[:-1], 32)  # type: ignore[method-assign]
    codes = torch.full((1, 2, 12), 7)
    codes[0, 0, 5], codes[0, 1, 2], codes[0, 1, 8], codes[0, 1, 11] = 3, 3, 3, 32
    doubtful = torch.zeros_like(codes, dtype=torch.bool)
    doubtful[0, 1, :6] = True
    text = torch.ones(1, 4, dtype=torch.long)
    out = generate(model, text, codes, orbit(1, 2), Sampling(4), doubtful=doubtful)
    assert (out[0, 0, 5], out[0, 1, 2], out[0, 1, 8], out[0, 1, 11]) == (3, 7, 3, 7)
    assert (generate(model, text, codes, orbit(1, 2), Sampling(4))[0, 1] == 3).sum() == 2


def test_sharpened_bits_follow_the_many_codes_that_agree_and_sharpened_codes_the_single_one() -> None:
    """Code 0 has a probability of 0.2; each of the 16 codes with the highest bit has 0.05."""
    torch.manual_seed(0)
    model = ViewModel(ModelConfig(width=64, layers=1, bits=5, grid=(3, 4), text_vocabulary=50, text_length=4))
    logits = torch.full((32,), -30.0)
    logits[0], logits[16:] = math.log(0.2), math.log(0.05)
    model.head.logits = lambda x, known: logits.expand(*x.shape[:-1], 32)  # type: ignore[method-assign]
    codes, text = torch.full((1, 2, 12), 32), torch.ones(1, 4, dtype=torch.long)
    single = generate(model, text, codes, orbit(1, 2), Sampling(3, temperature=0.0))
    many = generate(model, text, codes, orbit(1, 2), Sampling(3, temperature=0.0, draw="bits"))
    assert (single == 0).all()
    assert (many == 16).all()  # the lower bits are 1 in 0.4 of the mass
    even = generate(
        model, text.repeat(200, 1), codes.repeat(200, 1, 1), orbit(200, 2), Sampling(1, temperature=1.0, draw="bits")
    )
    shares = (even[..., None] >> torch.arange(5) & 1).float().mean((0, 1, 2))
    assert torch.allclose(shares, torch.tensor([0.4, 0.4, 0.4, 0.4, 0.8]), atol=0.03)
