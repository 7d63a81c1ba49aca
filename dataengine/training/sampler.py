"""From hidden tokens to views, in a few steps: each predicts every hidden token and keeps some of the predictions.

What a sampler decides is which ones:
- confidence (MaskGIT, Chang et al. 2022; ViewMask): those whose sampled code was most probable, with Gumbel noise
  that fades, so that early choices are not only the background.
- halton (Besnier et al. 2025): a fixed low-discrepancy order, here over (view, row, column), so that tokens decided in
  one step lie far apart and depend little on each other.
Either may take back what it decided (the loop of ReMDM, Wang et al. 2025, by confidence): with `remask`, the first half
of the steps decides all tokens, and each step of the second predicts anew a share, the least probable when chosen.

A temperature below 1 sharpens either the distribution over codes or that of each bit of a code (`draw`). Over codes it
prefers what has one code, such as the background, to what has many, such as the object: with 2^18 codes the object
wanes. Over bits, where many codes agree is what is kept, and what they differ in is decided by the majority.

A guide (`Guide`) looks at the unfinished views every few steps and says what tokens they would have if they showed one
object, such as renderings of what was reconstructed from them (VideoMV, Zuo et al. 2024, for tokens). Such a code is an
observation of the true one, each bit of it right with log-odds `weight` as far as it is trusted, and multiplies the
model's distribution; the least sure of what had been decided is decided again under it.

Given tokens may be doubtful, such as those of a view that was carried over with an estimated depth. After a share of
the steps, those that the model finds improbable are hidden and decided anew (the stochastic conditioning of Multi-View
Masked Diffusion, for tokens).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from dataengine.errors import UsageError
from dataengine.training.config import Reveal, Sampling
from dataengine.training.model.codes import CodeHead
from dataengine.training.model.view_model import ViewModel
from dataengine.training.text import PAD

TRUSTED = 0.5
"""Tokens that are trusted less are not decided anew: without a guide they would only have fewer steps."""
_DRAWS = 4
"""Codes drawn at a place to estimate what log-probability is usual there."""


class Agreement(NamedTuple):
    """What unfinished views show in common.

    Attributes:
        codes: (B, V, L), without masks.
        trust: (B, V, L) in [0, 1]: how much of a guide's weight holds for each.
    """

    codes: Tensor
    trust: Tensor


@dataclass(frozen=True)
class Guide:
    """What makes unfinished views agree.

    Attributes:
        agree: (B, V, L) codes without masks → what these views show in common.
        every: steps between two looks.
        after: share of the steps before the first.
        weight: log-odds that a bit of such a code is right, where it is trusted; 0: the guide is not heeded.
        again: share of what has been decided, and is trusted by more than half, that is decided anew after each look,
            the least sure first.
    """

    agree: Callable[[Tensor], Agreement]
    every: int
    after: float = 0.2
    weight: float = 8.0
    again: float = 0.5

    def looks_after(self, step: int, steps: int) -> bool:
        """Whether it looks when `step` of the steps are done; not after the last one, when nothing can be changed."""
        return step < steps and step % self.every == 0 and step >= self.after * steps


def hidden_after(tokens: int, steps: int, schedule: Reveal) -> list[int]:
    """How many of the tokens are still hidden after each step; falls to 0, by at least one a step while any is left.

    With t = step / steps, the share is cos(πt/2), 1 - t, 1 - t² (quadratic) or (1 - t)² (front: most decided early).

    Raises:
        UsageError: without a step.
    """
    if steps < 1:
        raise UsageError("sampling takes at least one step")
    shares: dict[Reveal, Callable[[float], float]] = {
        "cosine": lambda t: math.cos(math.pi / 2 * t),
        "linear": lambda t: 1 - t,
        "quadratic": lambda t: 1 - t * t,
        "front": lambda t: float((1 - t) ** 2),
    }
    left, out = tokens, []
    for i in range(1, steps):
        left = max(0, min(left - 1, math.floor(tokens * shares[schedule](i / steps) + 1e-9)))
        out.append(left)
    return [*out, 0]


@torch.no_grad()
def generate(
    model: ViewModel,
    text: Tensor,
    codes: Tensor,
    cameras: Tensor,
    sampling: Sampling,
    seed: int = 0,
    doubtful: Tensor | None = None,
    guide: Guide | None = None,
) -> Tensor:
    """Fills in the hidden tokens.

    Args:
        model: in whichever mode; it has no dropout.
        text: (B, text_length); PAD throughout for none.
        codes: (B, V, L), the mask's id where hidden: any tokens of any views.
        cameras: (B, V, 30), see camera_columns.py.
        sampling: how.
        seed: of the draws.
        doubtful: (B, V, L) bool: given tokens that may be wrong, which stochastic conditioning may take back. None:
            what was given stays.
        guide: what makes the views agree; None: nothing.

    Returns:
        (B, V, L) codes without masks.
    """
    device = next(model.parameters()).device
    text, codes, cameras = text.to(device), codes.to(device), cameras.to(device)
    mask, shape = model.config.mask, codes.shape
    flat = codes.flatten(1).clone()
    asked = flat == mask
    doubted = torch.zeros_like(asked) if doubtful is None else doubtful.to(device).flatten(1) & ~asked
    # (B, N) places that may be decided; samples that have fewer than others are filled up with given tokens.
    may = asked | doubted
    places = (~may).to(torch.uint8).argsort(dim=1, stable=True)[:, : int(may.sum(1).max())]
    hidden = asked.gather(1, places)
    count = hidden.sum(1)
    random = torch.Generator(device).manual_seed(seed)
    order = _ranks(shape, model.config.grid, device)[places] if sampling.method == "halton" else None
    chosen_logp = torch.full(places.shape, math.inf, device=device)  # of what was given: it is not taken back
    first_pass = sampling.steps - (sampling.steps // 2 if sampling.remask else 0)
    lefts = _lefts(count, first_pass, sampling)
    agreed: Agreement | None = None  # (B, N) what the guide said last
    for step in range(sampling.steps):
        if doubtful is not None and step == round(sampling.doubt_after * first_pass):
            wrong = _improbable(model, text, flat.view(shape), cameras, doubted, sampling, random)
            flat.masked_fill_(wrong, mask)
            hidden, asked = hidden | wrong.gather(1, places), asked | wrong
            count = count + wrong.sum(1)
            lefts[:, step:] = _lefts(hidden.sum(1), first_pass - step, sampling)
        predicted, logp = _predict(
            model, text, flat.view(shape), cameras, places, ~asked, sampling, random, _towards(agreed, guide)
        )
        if order is not None:
            score = -order.float()
        else:
            fade = sampling.noise * max(0, 1 - (step + 1) / first_pass)
            score = logp + fade * _gumbel(logp.shape, random)
        score = score.masked_fill(~hidden, math.inf)  # what is decided comes first, and stays
        left = lefts[:, step, None] if step < first_pass else torch.zeros_like(count)[:, None]
        decided = score.argsort(1, descending=True).argsort(1) < places.shape[1] - left
        new = decided & hidden
        flat.scatter_(1, places, torch.where(new, predicted, flat.gather(1, places)))
        chosen_logp = torch.where(new, logp, chosen_logp)
        hidden = ~decided
        if first_pass <= step + 1 < sampling.steps:
            again = chosen_logp.argsort(1).argsort(1) < (sampling.remask * count).long()[:, None]
            flat.scatter_(1, places, torch.where(again, mask, flat.gather(1, places)))
            hidden = again
        if guide is not None and guide.looks_after(step + 1, sampling.steps):
            guess = flat.scatter(1, places, torch.where(hidden, predicted, flat.gather(1, places)))
            found = guide.agree(guess.view(shape))
            agreed = Agreement(*(field.to(device).flatten(1).gather(1, places) for field in found))
            ours = asked.gather(1, places) & ~hidden & (agreed.trust > TRUSTED)
            sure = torch.where(ours, chosen_logp, math.inf).argsort(1).argsort(1)
            again = ours & (sure < (guide.again * ours.sum(1)).long()[:, None])
            flat.scatter_(1, places, torch.where(again, mask, flat.gather(1, places)))
            hidden = hidden | again
    return flat.view(shape)


_Towards = tuple[Tensor, Tensor]
"""Codes (B, N) and the log-odds (B, N, 1) that a bit of them is right."""


def _towards(agreed: Agreement | None, guide: Guide | None) -> _Towards | None:
    if agreed is None or guide is None or not guide.weight:
        return None
    return agreed.codes, guide.weight * agreed.trust[..., None]


def _lefts(count: Tensor, steps: int, sampling: Sampling) -> Tensor:
    """(B,) hidden tokens → (B, steps): how many are left after each step."""
    return torch.tensor([hidden_after(n, steps, sampling.schedule) for n in count.tolist()], device=count.device)


def _predict(
    model: ViewModel,
    text: Tensor,
    codes: Tensor,
    cameras: Tensor,
    places: Tensor,
    given: Tensor,
    sampling: Sampling,
    random: torch.Generator,
    towards: _Towards | None = None,
) -> tuple[Tensor, Tensor]:
    """Draws a code for every place (B, N): codes and their log-probabilities. (B, V × L) says what was given."""
    if sampling.guidance:
        # Without the condition: no caption, and what was given hidden, as in some samples of the training.
        bare = codes.masked_fill(given.view(codes.shape), model.config.mask)
        text, codes = torch.cat([text, torch.full_like(text, PAD)]), torch.cat([codes, bare])
        cameras, places = torch.cat([cameras, cameras]), torch.cat([places, places])
    features = model(text, codes, cameras).flatten(1, 2)
    features = features.gather(1, places[..., None].expand(-1, -1, features.shape[-1]))
    return _draw(model.head, features, sampling, random, towards)


def _draw_part(logp: Tensor, bits: int, sampling: Sampling, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """(…, 2^bits) log-probabilities → a part of a code, and the log-probability of what was drawn."""
    temperature = max(sampling.temperature, 1e-6)
    if sampling.draw == "codes":
        drawn = (logp / temperature + _gumbel(logp.shape, random)).argmax(-1)
        return drawn, logp.gather(-1, drawn[..., None])[..., 0]
    places = torch.arange(bits, device=logp.device)
    spelled = (torch.arange(1 << bits, device=logp.device)[:, None] >> places & 1).to(logp.dtype)
    chance = (logp.exp() @ spelled).clamp(1e-6, 1 - 1e-6)
    uniform = torch.rand(chance.shape, generator=random, device=random.device)
    one = uniform < (chance.logit() / temperature).sigmoid()
    return (one.long() << places).sum(-1), torch.where(one, chance, 1 - chance).log().sum(-1)


def _improbable(
    model: ViewModel,
    text: Tensor,
    codes: Tensor,
    cameras: Tensor,
    doubted: Tensor,
    sampling: Sampling,
    random: torch.Generator,
) -> Tensor:
    """(B, V × L) bool: doubted tokens whose log-probability is `sampling.doubt` nats under what is usual there.

    A token that the model sees tells it itself; so one half of the doubted ones is hidden and judged by the rest, then
    the other. Usual is the mean log-probability of codes drawn from the prediction, its negative entropy.
    """
    wrong = torch.zeros_like(doubted)
    side = torch.rand(doubted.shape, generator=random, device=doubted.device) < 0.5
    plain = replace(sampling, guidance=0.0, temperature=1.0, draw="codes")
    for half in (doubted & side, doubted & ~side):
        seen = codes.masked_fill(half.view(codes.shape), model.config.mask)
        features = model(text, seen, cameras).flatten(1, 2)[half]
        if len(features):
            usual = torch.stack([_draw(model.head, features, plain, random)[1] for _ in range(_DRAWS)]).mean(0)
            wrong[half] = -model.head.nll(features, codes.flatten(1)[half]) < usual - sampling.doubt
    return wrong


def _draw(
    head: CodeHead,
    features: Tensor,
    sampling: Sampling,
    random: torch.Generator,
    towards: _Towards | None = None,
) -> tuple[Tensor, Tensor]:
    known: list[Tensor] = []
    total: Tensor | float = 0.0
    observed = head.split(towards[0]) if towards else []
    for _ in head.parts:
        given = [torch.cat([k, k]) for k in known] if sampling.guidance else known
        logits = head.logits(features, given)
        if sampling.guidance:
            conditional, bare = logits.chunk(2)
            logits = (1 + sampling.guidance) * conditional - sampling.guidance * bare
        if towards:
            logits = logits + towards[1] * _bits_in_common(observed[len(known)], head.parts[len(known)])
        drawn, logp = _draw_part(logits.log_softmax(-1), head.parts[len(known)], sampling, random)
        known.append(drawn)
        total = total + logp
    assert isinstance(total, Tensor)
    return head.join(known), total


def _bits_in_common(codes: Tensor, bits: int) -> Tensor:
    """(…) codes → (…, 2^bits): how many bits each code has as they have."""
    places = torch.arange(bits, device=codes.device)
    every = (torch.arange(1 << bits, device=codes.device)[:, None] >> places & 1).float() * 2 - 1
    return ((codes[..., None] >> places & 1).float() * 2 - 1) @ every.T / 2 + bits / 2


def _gumbel(shape: torch.Size, random: torch.Generator) -> Tensor:
    uniform = torch.rand(shape, generator=random, device=random.device).clamp(1e-20, 1 - 1e-7)
    return -(-uniform.log()).log()


def _ranks(shape: torch.Size, grid: tuple[int, int], device: torch.device) -> Tensor:
    return torch.tensor(halton_ranks(shape[1], *grid), device=device)


@cache
def halton_ranks(views: int, rows: int, columns: int) -> tuple[int, ...]:
    """When each cell (view, row, column; row-major) is met by the Halton sequence with bases 2, 3 and 5."""
    cells: dict[tuple[int, int, int], int] = {}
    i = 0
    while len(cells) < views * rows * columns:
        i += 1
        cell = (int(_radical(i, 5) * views), int(_radical(i, 2) * rows), int(_radical(i, 3) * columns))
        cells.setdefault(cell, len(cells))
    keys = ((v, r, c) for v in range(views) for r in range(rows) for c in range(columns))
    return tuple(cells[key] for key in keys)


def _radical(i: int, base: int) -> float:
    """The digits of i, mirrored behind the point."""
    out, scale = 0.0, 1.0
    while i:
        i, digit = divmod(i, base)
        scale /= base
        out += digit * scale
    return out
