"""Masks for completion: any tokens of any views may be given, the model completes the rest.

Each sample draws one kind of what is given, and of the rest a share is shown too, as if it had been decided already:
that is what the sampler's later steps look like.

    tokens      nothing is given: tokens hidden at random over all views
    views       whole views: one as a rule (image to views), none (text to views), or several
    endpoints   the first and the last of neighbouring views, those between are to be found
    warp        one view, and connected irregular regions of the others, as when its pixels are carried over by depth

The kinds and the idea to treat noise as the mask are Multi-View Masked Diffusion's; here the mask is the mask. Corpora
keep depth with the views and not with the tokens, so the regions of `warp` are drawn, not computed.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dataengine.errors import UsageError
from dataengine.training.camera_columns import take_views
from dataengine.training.config import LossWeight, MaskSchedule
from dataengine.training.masking import MaskedBatch, choose_views, loss_weight, mask_ratio

MOST_VIEWS = 8
KINDS = ("tokens", "views", "endpoints", "warp")
SHARES = (0.15, 0.55, 0.1, 0.2)
"""Of samples, by kind."""
NO_VIEW, ONE_VIEW = 0.2, 0.6
"""Of samples of kind `views`: how many are given none, one; the others get 2 … V-1."""

_FIXED = 8  # random numbers before the views', the order's, the regions' and the tokens'
_FIELD = 4  # regions are a field of this many random values a side, enlarged and cut at a level


def completion_randoms(views: int, tokens: int) -> int:
    """How many random numbers a sample needs. `views` as the corpus has them, `tokens` per view."""
    return _FIXED + 2 * views + min(views, MOST_VIEWS) * (tokens + _FIELD**2)


def views_per_sample(seed: int, epoch: int, samples: int, available: int) -> int:
    """2 … 8 views, the same for a whole global batch, whose place in the stream is (epoch, samples).

    Raises:
        UsageError: if the corpus has one view per sample.
    """
    most = min(MOST_VIEWS, available)
    if most < 2:
        raise UsageError("stage complete needs 2 views per sample, the corpus has 1")
    random = np.random.Generator(np.random.Philox(key=seed, counter=[epoch, samples, 0, 0]))
    return int(random.integers(2, most + 1))


def mask_for_completion(
    tokens: Tensor,
    uniforms: Tensor,
    mask: int,
    *,
    count: int,
    schedule: MaskSchedule,
    weight: LossWeight,
    drop_text: float,
    shuffle: bool = True,
    even: float = 0.5,
) -> MaskedBatch:
    """Hides tokens by the mixture.

    Args:
        tokens: (B, views, rows, columns) of whole samples.
        uniforms: (B, `completion_randoms`) in [0, 1); column 0 is the schedule's t.
        mask: the id of a hidden token.
        count: views per sample.
        schedule, weight: see masking.py; the share of the tokens that are not given.
        drop_text: share of samples whose caption is hidden; it is never hidden where nothing else is given.
        shuffle: whether the views come in any order, or as they stand on the rig with what is given first.
        even: share of samples whose views are evenly spaced on the rig; the others' are any. Endpoints and what is
            between them are neighbours on the rig.
    """
    batch, available, rows, columns = tokens.shape
    length, most = rows * columns, min(available, MOST_VIEWS)
    sizes = [_FIXED, available, available, most * _FIELD**2, most * length]
    fixed, view_scores, order_scores, field, token_scores = torch.split(uniforms[:, : sum(sizes)], sizes, 1)
    kind = torch.bucketize(
        fixed[:, 4].contiguous(), torch.tensor(SHARES, device=tokens.device).cumsum(0)[:-1], right=True
    )
    views = choose_views(fixed[:, 2], fixed[:, 3] < even, view_scores, count)
    start = (fixed[:, 2:3] * available).long()
    neighbours = (start + torch.arange(count, device=tokens.device)) % available
    views = torch.where(kind[:, None] == KINDS.index("endpoints"), neighbours, views)
    given = _given(kind, fixed, field[:, : count * _FIELD**2].view(batch, count, _FIELD, _FIELD), (rows, columns))
    if shuffle:
        order = order_scores[:, :count].argsort(1)
        views, given = take_views(views, order), take_views(given, order)
    targets, free = take_views(tokens.flatten(2), views), ~given.flatten(1)
    ratio = mask_ratio(fixed[:, 0], schedule)
    amount = (ratio * free.sum(1)).round().clamp(min=1)
    scores = token_scores[:, : count * length].masked_fill(~free, 2)
    masked = (scores.argsort(1).argsort(1) < amount[:, None]).view_as(targets)
    bare = (kind == KINDS.index("views")) & (fixed[:, 5] < NO_VIEW)
    return MaskedBatch(
        codes=targets.masked_fill(masked, mask),
        targets=targets,
        masked=masked,
        weight=loss_weight(amount / free.sum(1), weight),
        views=views,
        drop_text=(fixed[:, 1] < drop_text) & ~bare,
        maskable=count * length,
    )


def _given(kind: Tensor, fixed: Tensor, field: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, V, L) bool: what is shown whatever the schedule says; at least one token is not."""
    count = field.shape[1]
    place = torch.arange(count, device=field.device)
    several = 2 + (fixed[:, 6] * (count - 2)).long()
    whole = torch.where(fixed[:, 5] < NO_VIEW, 0, torch.where(fixed[:, 5] < NO_VIEW + ONE_VIEW, 1, several))
    views = place < whole.clamp(max=count - 1)[:, None]
    ends = (place == 0) | ((place == count - 1) & (count > 2))
    regions = _regions(field, fixed[:, 7], grid)
    regions[:, 0] = True
    per_view = torch.stack([torch.zeros_like(views), views, ends.expand_as(views)], 1)
    plain = per_view.gather(1, kind.clamp(max=2)[:, None, None].expand(-1, 1, count))[:, 0]
    return torch.where(
        (kind == KINDS.index("warp"))[:, None, None], regions, plain[..., None].expand(-1, -1, grid[0] * grid[1])
    )


def _regions(field: Tensor, share: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, V, L) bool: up to two thirds of each view, connected and irregular: where a smooth random field is high."""
    smooth = F.interpolate(field, grid, mode="bicubic", align_corners=True).flatten(2)
    amount = (share * (2 / 3) * smooth.shape[2]).long()
    return smooth.argsort(2, descending=True).argsort(2) < amount[:, None, None]
