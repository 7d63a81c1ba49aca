"""Ranges of numbers that something is drawn from, as people write them: `5..30`, or `20` for one number."""

import math
import re
from typing import NamedTuple

from dataengine.errors import UsageError

_NUMBER = r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})(?:\.\.({_NUMBER}))?")


class Range(NamedTuple):
    """From `low` to `high`; the two are equal where nothing is left to chance."""

    low: float
    high: float

    def __str__(self) -> str:
        low, high = (f"{number:.12g}" for number in self)
        return low if low == high else f"{low}..{high}"

    def at(self, share: float) -> float:
        """The number that lies `share` (0 to 1) of the way from low to high."""
        return self.low + (self.high - self.low) * share


def parse_range(text: str, what: str, least: float = -math.inf, most: float = math.inf) -> Range:
    """`A..B`, or one number.

    Args:
        text: as written.
        what: the name of the setting, for messages.
        least, most: the bounds that both ends must keep to.

    Raises:
        UsageError: if it is no range, runs backwards, or leaves the bounds.
    """
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{what} {text!r} is neither a number nor a range A..B, such as 5..30")
    low = float(match[1])
    high = low if match[2] is None else float(match[2])
    if low > high:
        raise UsageError(f"{what} {text!r} runs backwards: write {Range(high, low)}")
    if low < least or high > most:
        raise UsageError(f"{what} {text!r} must lie between {least:g} and {most:g}")
    return Range(low, high)
