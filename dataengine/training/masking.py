"""Masking: which views of a sample the model sees, which of their tokens are hidden, how much each hidden token counts.

The paper's three stages are here; completion.py has the fourth, `complete`. Every choice comes from `Batch.uniforms`,
so it is the same at any number of ranks and after any restart.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dataengine.errors import UsageError
from dataengine.training.camera_columns import take_views
from dataengine.training.config import LossWeight, MaskSchedule, TrainStage

VIEWS = 4
_FIXED = 5  # random numbers before the views' and the tokens'


def mask_ratio(t: Tensor, schedule: MaskSchedule) -> Tensor:
    """The share of hidden tokens for t ~ U(0, 1).

    uniform: t (ViewMask-1-to-3, LLaDA); mean 0.5. cosine: cos(πt/2) (MaskGIT, Show-o); mean 0.64.
    arccos: arccos(t) / (π/2) (MaskBit, Halton-MaskGIT); mean 0.64, with more weight on almost everything hidden.
    """
    if schedule == "uniform":
        return t
    if schedule == "cosine":
        return (t * (math.pi / 2)).cos()
    return t.acos() / (math.pi / 2)


def loss_weight(ratio: Tensor, weight: LossWeight) -> Tensor:
    """What a hidden token's loss counts for.

    none: 1, the paper's plain sum. inverse: 1 / ratio, which makes the loss a bound on the likelihood when the
    schedule is uniform (MDLM, Sahoo et al. 2024; LLaDA).
    """
    return torch.ones_like(ratio) if weight == "none" else 1 / ratio


def randoms_per_sample(views: int, tokens: int) -> int:
    """How many random numbers per sample needs. `views` as the corpus has them, `tokens` per view."""
    return _FIXED + views + VIEWS * tokens


@dataclass
class MaskedBatch:
    """What the model sees and what it must predict.

    Attributes:
        codes: (B, V, L) with the mask's id where hidden.
        targets: (B, V, L).
        masked: (B, V, L) bool: what the loss counts.
        weight: (B,) of each of the sample's hidden tokens; the loss of a global batch of B samples is the sum over
            hidden tokens of weight × nll, divided by B × (tokens that could have been hidden).
        views: (B, V) which of the sample's views these are.
        drop_text: (B,) bool: the caption is hidden from these, for guidance.
        maskable: tokens per sample that could have been hidden.
    """

    codes: Tensor
    targets: Tensor
    masked: Tensor
    weight: Tensor
    views: Tensor
    drop_text: Tensor
    maskable: int

    def part(self, samples: slice) -> "MaskedBatch":
        """Some of the samples."""
        return replace(self, **{name: getattr(self, name)[samples] for name in _PER_SAMPLE})


_PER_SAMPLE = ("codes", "targets", "masked", "weight", "views", "drop_text")


@dataclass
class Inputs:
    """What the model is shown of samples.

    Attributes:
        words: (B, text length) ids.
        masked: their tokens.
        cameras: (B, V, 30) of the masked batch's views.
    """

    words: Tensor
    masked: MaskedBatch
    cameras: Tensor

    def part(self, samples: slice) -> "Inputs":
        """Some of the samples."""
        return Inputs(self.words[samples], self.masked.part(samples), self.cameras[samples])


def joined(parts: Sequence[Inputs]) -> Inputs:
    """Samples of several batches as one. All show the same number of views, and could have hidden as many tokens."""
    if len(parts) == 1:
        return parts[0]
    masked = [part.masked for part in parts]
    tensors: dict[str, Any] = {name: torch.cat([getattr(m, name) for m in masked]) for name in _PER_SAMPLE}
    return Inputs(
        torch.cat([part.words for part in parts]),
        replace(masked[0], **tensors),
        torch.cat([part.cameras for part in parts]),
    )


def mask_batch(
    tokens: Tensor,
    uniforms: Tensor,
    mask: int,
    *,
    stage: TrainStage,
    schedule: MaskSchedule,
    weight: LossWeight,
    drop_text: float,
    drop_reference: float = 0.1,
    even: float = 0.5,
) -> MaskedBatch:
    """Masks a batch of whole samples as one stage asks.

    Args:
        tokens: (B, views, rows, columns) of whole samples.
        uniforms: (B, `randoms_per_sample`) in [0, 1); column 0 is the schedule's t.
        mask: the id of a hidden token.
        stage: pretrain: one view. i2mv: four views, the first is given. t2mv: four views, none is given.
        schedule, weight: see `mask_ratio`, `loss_weight`.
        drop_text: share of samples whose caption is hidden.
        drop_reference: share of i2mv samples whose given view is hidden too (and not predicted), for guidance.
        even: share of samples whose views are evenly spaced; the others' are any four in any order, so that any
            relative azimuth can be asked for later.

    Raises:
        UsageError: if the corpus has fewer than four views per sample and the stage needs them.
    """
    available = tokens.shape[1]
    count = 1 if stage == "pretrain" else VIEWS
    if available < count:
        raise UsageError(f"stage {stage} needs {count} views per sample, the corpus has {available}")
    views = choose_views(uniforms[:, 2], uniforms[:, 3] < even, uniforms[:, _FIXED : _FIXED + available], count)
    targets = take_views(tokens.flatten(2), views)
    given = 1 if stage == "i2mv" else 0
    hidden = targets[:, given:].flatten(1)
    scores = uniforms[:, _FIXED + available :][:, : hidden.shape[1]]
    ratio = mask_ratio(uniforms[:, 0], schedule)
    amount = (ratio * hidden.shape[1]).round().clamp(min=1)
    masked = torch.zeros_like(targets, dtype=torch.bool)
    masked[:, given:] = (scores.argsort(1).argsort(1) < amount[:, None]).view(-1, count - given, targets.shape[2])
    codes = targets.masked_fill(masked, mask)
    if given:
        lost = uniforms[:, 4] < drop_reference
        codes[:, 0] = torch.where(lost[:, None], mask, codes[:, 0])
    return MaskedBatch(
        codes=codes,
        targets=targets,
        masked=masked,
        weight=loss_weight(amount / hidden.shape[1], weight),
        views=views,
        drop_text=uniforms[:, 1] < drop_text,
        maskable=hidden.shape[1],
    )


def choose_views(start: Tensor, even: Tensor, scores: Tensor, count: int) -> Tensor:
    """(B, count) view numbers.

    Args:
        start: (B,) in [0, 1): where an even choice begins.
        even: (B,) bool: every (available / count)-th view from the start on, else any in any order.
        scores: (B, available) in [0, 1), what a free choice goes by.
    """
    available = scores.shape[1]
    steps = torch.arange(count, device=start.device) * available // count
    evenly = ((start * available).long()[:, None] + steps) % available
    return torch.where(even[:, None], evenly, scores.argsort(1)[:, :count])


def loss_of(nll: Tensor, batch: MaskedBatch) -> Tensor:
    """The mean loss of the batch from the (N,) nats of its hidden tokens. Averaged over ranks it is the global one."""
    per_token = batch.weight.repeat_interleave(batch.masked.flatten(1).sum(1))
    return (nll * per_token).sum() / (len(batch.weight) * batch.maskable)
