"""Nats per hidden token of objects that were not trained on: what a run has learned, without drawing anything."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dataengine.training.camera_columns import take_views
from dataengine.training.data.index import SampleIndex
from dataengine.training.data.stream import Reader
from dataengine.training.masking import VIEWS, choose_views
from dataengine.training.sample import Trained
from dataengine.training.text import text_tokenizer

_AT_ONCE = 16  # objects: what memory they take


@torch.no_grad()
def held_out_loss(
    trained: Trained, index: SampleIndex, hidden: Sequence[float], *, even: bool = True, seed: int = 0
) -> Tensor:
    """Of three views from the first; captions are not told.

    Args:
        trained: of any stage that knows several views, and of the index's tokens.
        index: of the objects.
        hidden: shares in (0, 1] of the three views' tokens, one token at least; what a smaller one hides, a larger one
            hides too.
        even: whether the views are evenly spaced, beginning anywhere on the rig, or any in any order.
        seed: decides the views and the tokens; with the same one, runs are compared object by object.

    Returns:
        (len(hidden), objects), in the index's order.
    """
    random, device = torch.Generator().manual_seed(seed), trained.device
    available = index.tokens_layout.shape[0]
    reader = Reader(index, captions=False)
    found: list[Tensor] = []
    try:
        for rows in np.array_split(np.arange(len(index)), -(-len(index) // _AT_ONCE)):
            batch, size = reader.batch(rows), len(rows)
            start, scores = torch.rand(size, generator=random), torch.rand(size, available, generator=random)
            views = choose_views(start, torch.full((size,), even), scores, VIEWS)
            codes, cameras = (take_views(t, views).to(device) for t in (batch.tokens.flatten(2), batch.cameras))
            order = torch.rand(codes.shape, generator=random).to(device)
            order[:, 0] = 2  # the first view is given
            words = text_tokenizer().encode([""] * size).to(device)
            first = order.flatten(1).amin(1)[:, None, None]  # is always hidden
            masks = [(order < share) | (order == first) for share in hidden]
            found.append(torch.stack([_mean(trained, words, codes, cameras, masked) for masked in masks]))
    finally:
        reader.close()
    return torch.cat(found, 1)


def _mean(trained: Trained, words: Tensor, codes: Tensor, cameras: Tensor, masked: Tensor) -> Tensor:
    """(B,) nats per hidden token."""
    seen = codes.masked_fill(masked, trained.state.model.mask)
    nats = trained.model(words, seen, cameras, codes, masked)
    count = masked.flatten(1).sum(1)
    of = torch.arange(len(codes), device=nats.device).repeat_interleave(count)
    return (torch.zeros(len(codes), device=nats.device).index_add_(0, of, nats) / count).cpu()
