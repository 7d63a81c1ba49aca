"""From hidden tokens to views, in a few steps: each predicts every hidden token and keeps some of the predictions.

What a sampler decides is which ones:
- confidence (MaskGIT, Chang et al. 2022; ViewMask): those whose sampled code was most probable, with Gumbel noise
  that fades, so that early choices are not only the background.
- halton (Besnier et al. 2025): a fixed low-discrepancy order, here over (view, row, column), so that tokens decided in
  one step lie far apart and depend little on each other.
Either may take back what it decided (the loop of ReMDM, Wang et al. 2025, by confidence): with `remask`, the first half
of the steps decides all tokens, and each step of the second predicts anew a share, the least probable when chosen.
"""

import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from dataengine.errors import UsageError
from dataengine.training.config import Reveal, Sampling
from dataengine.training.model.codes import CodeHead
from dataengine.training.model.view_model import ViewModel
from dataengine.training.text import PAD


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
    model: ViewModel, text: Tensor, codes: Tensor, angles: Tensor, sampling: Sampling, seed: int = 0
) -> Tensor:
    """Fills in the hidden tokens.

    Args:
        model: in whichever mode; it has no dropout.
        text: (B, text_length); PAD throughout for none.
        codes: (B, V, L), the mask's id where hidden: the same number in every sample.
        angles: (B, V, 2), see `view_angles`.
        sampling: how.
        seed: of the draws.

    Returns:
        (B, V, L) codes without masks. What was given stays.
    """
    device = next(model.parameters()).device
    text, codes, angles = text.to(device), codes.to(device), angles.to(device)
    mask, shape = model.config.mask, codes.shape
    batch = len(codes)
    asked = (codes == mask).flatten(1)
    places = asked.nonzero()[:, 1].view(batch, -1)  # (B, N)
    count = places.shape[1]
    random = torch.Generator(codes.device).manual_seed(seed)
    order = _ranks(shape, model.config.grid, codes.device)[places] if sampling.method == "halton" else None
    flat = codes.flatten(1).clone()
    hidden = torch.ones_like(places, dtype=torch.bool)
    chosen_logp = torch.zeros(places.shape, device=codes.device)
    first_pass = sampling.steps - (sampling.steps // 2 if sampling.remask else 0)
    lefts = hidden_after(count, first_pass, sampling.schedule) + [0] * (sampling.steps - first_pass)
    for step, left in enumerate(lefts):
        predicted, logp = _predict(model, text, flat.view(shape), angles, places, sampling, random)
        if order is not None:
            score = -order.float()
        else:
            fade = sampling.noise * max(0, 1 - (step + 1) / first_pass)
            score = logp + fade * _gumbel(logp.shape, random)
        score = score.masked_fill(~hidden, math.inf)  # what is decided comes first, and stays
        decided = score.argsort(1, descending=True).argsort(1) < count - left
        new = decided & hidden
        flat.scatter_(1, places, torch.where(new, predicted, flat.gather(1, places)))
        chosen_logp = torch.where(new, logp, chosen_logp)
        hidden = ~decided
        if first_pass <= step + 1 < sampling.steps:
            again = chosen_logp.argsort(1).argsort(1) < int(sampling.remask * count)
            flat.scatter_(1, places, torch.where(again, mask, flat.gather(1, places)))
            hidden = again
    return flat.view(shape)


def _predict(
    model: ViewModel,
    text: Tensor,
    codes: Tensor,
    angles: Tensor,
    places: Tensor,
    sampling: Sampling,
    random: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Draws a code for every place (B, N) that was asked for: codes and their log-probabilities."""
    if sampling.guidance:
        # Without the condition: no caption, and the given views hidden, as some samples are in training.
        given = torch.ones_like(codes.flatten(1), dtype=torch.bool).scatter_(1, places, False).view(codes.shape)
        bare = codes.masked_fill(given, model.config.mask)
        text, codes = torch.cat([text, torch.full_like(text, PAD)]), torch.cat([codes, bare])
        angles, places = torch.cat([angles, angles]), torch.cat([places, places])
    features = model(text, codes, angles).flatten(1, 2)
    features = features.gather(1, places[..., None].expand(-1, -1, features.shape[-1]))
    return _draw(model.head, features, sampling, random)


def _draw(head: CodeHead, features: Tensor, sampling: Sampling, random: torch.Generator) -> tuple[Tensor, Tensor]:
    known: list[Tensor] = []
    total: Tensor | float = 0.0
    for _ in head.parts:
        given = [torch.cat([k, k]) for k in known] if sampling.guidance else known
        logits = head.logits(features, given)
        if sampling.guidance:
            conditional, bare = logits.chunk(2)
            logits = (1 + sampling.guidance) * conditional - sampling.guidance * bare
        logp = logits.log_softmax(-1)
        drawn = (logp / max(sampling.temperature, 1e-6) + _gumbel(logp.shape, random)).argmax(-1)
        known.append(drawn)
        total = total + logp.gather(-1, drawn[..., None])[..., 0]
    assert isinstance(total, Tensor)
    return head.join(known), total


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
