"""Whether drawn views are nearer to their own object than to nine others, whichever side each is seen from."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from dataengine.tokenize.features import features

RIVALS = 9
SIDE = 64
"""Pixels a side at which views are compared; all that is kept of larger ones: 192 KiB per view, drawn and true."""


class Retrieval:
    """Collects drawn and true views, batch by batch, and compares them at the end."""

    def __init__(self) -> None:
        self._drawn: list[Tensor] = []
        self._true: list[Tensor] = []

    def add(self, drawn: Tensor, true: Tensor) -> None:
        """Takes some objects' views, (B, V, 3, H, W) each, RGB in [0, 1]."""
        self._drawn += map(_small, drawn)
        self._true += map(_small, true)

    def hits(self) -> list[float]:
        """For each object: 1 if its drawn views are nearest to its own true views, of ten objects; else 0.

        The nine others are evenly spread over all, since neighbours in a corpus are often of a kind. The distance is
        that of features, the least over all turns: a caption does not say where the front is.
        """
        count = len(self._drawn)
        some = min(RIVALS + 1, count)
        # Those that lie a tenth of all apart share their rivals: one after the other, so that few features are kept.
        order = sorted(range(count), key=lambda i: (i % max(1, count // some), i))
        true = lru_cache(4 * (RIVALS + 1))(lambda j: _flat_features(self._true[j]))
        found = dict.fromkeys(range(count), 0.0)
        for i in order:
            drawn = _flat_features(self._drawn[i])
            turns = [torch.arange(len(drawn)).roll(k) for k in range(len(drawn))]
            others = [(i + k * count // some) % count for k in range(some)]
            distances = [min(float((drawn - true(j)[turn]).square().sum()) for turn in turns) for j in others]
            found[i] = float(distances.index(min(distances)) == 0)
        return list(found.values())


def _small(views: Tensor) -> Tensor:
    """(V, 3, H, W) at no more than SIDE pixels a side, in memory of its own."""
    return F.adaptive_avg_pool2d(views, SIDE) if views.shape[-1] > SIDE else views.clone()


def _flat_features(views: Tensor) -> Tensor:
    """(V, …)"""
    return torch.cat([layer.flatten(1) for layer in features(views)], 1)
