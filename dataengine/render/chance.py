"""Chance that is the same on every machine: numbers that follow from a seed and the name of what is drawn.

Each number is drawn by itself, so what else is drawn, and in which order, does not matter. The generator is small
enough to be written again anywhere:

    asset seed = first 4 bytes of SHA-256("<corpus seed>:<uid>"), big-endian, shifted right by one bit
    number = first 8 bytes of SHA-256("<asset seed>:<view set>:<what>"), big-endian, shifted right by 11 bits, / 2^53

with `:<view>` (from 0) behind `<what>` where each view has a draw of its own. It is uniform in [0, 1).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

T = TypeVar("T")


def asset_seed(seed: int, uid: str) -> int:
    """The seed, 31 bits, of everything random about one asset: a hash of the corpus' seed and the uid."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{uid}".encode()).digest()[:4], "big") >> 1


@dataclass(frozen=True)
class Chance:
    """What is left to chance in one view set of one asset.

    Attributes:
        seed: the asset's, from `asset_seed`.
        view_set: the set's name.
    """

    seed: int = 0
    view_set: str = ""

    def number(self, what: str, view: int | None = None) -> float:
        """Uniform in [0, 1).

        Args:
            what: name of the draw.
            view: of which view; None: one draw for all of them.
        """
        text = f"{self.seed}:{self.view_set}:{what}" + ("" if view is None else f":{view}")
        return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 11) / 2**53

    def one_of(self, what: str, options: Sequence[T]) -> T:
        """One of the options, each as likely as the others."""
        return options[int(self.number(what) * len(options))]

    def generator(self) -> Random:
        """A generator that the asset's seed alone has started: for rigs and lamps that draw one number after another,
        as the scripts do that they were published with."""
        return Random(self.seed)
