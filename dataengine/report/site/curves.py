"""Curves of any length in bounded memory: means over equally many steps."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

POINTS = 400
DIGITS = 5  # significant


@dataclass(frozen=True)
class Curve:
    """The figures of a training, as a page shows them.

    Attributes:
        per: how many measurements a point is the mean of; the last point may have fewer.
        steps: of each point, the last step in it.
        values: by figure, each point's mean; None where it was not measured.
    """

    per: int
    steps: list[int]
    values: dict[str, list[float | None]]


class CurveBuilder:
    """Takes measurements in their order."""

    def __init__(self) -> None:
        self._points: list[_Point] = []
        self._per, self._filled = 1, 0

    def add(self, line: Mapping[str, float]) -> None:
        """Takes a measurement: figures by name, its `step` among them. What is not finite counts as not measured."""
        if not self._points or self._filled == self._per:
            if len(self._points) == 2 * POINTS:
                pairs = zip(self._points[::2], self._points[1::2], strict=True)
                self._points = [first.and_then(second) for first, second in pairs]
                self._per *= 2
            self._points.append(_Point(0, {}))
            self._filled = 0
        self._points[-1].add(line)
        self._filled += 1

    def curve(self) -> Curve:
        """What there is by now: at most 2 · POINTS points."""
        names = dict.fromkeys(name for point in self._points for name in point.sums)
        values = {name: [point.mean(name) for point in self._points] for name in names}
        return Curve(self._per, [point.step for point in self._points], values)


def curve(lines: Iterable[Mapping[str, float]]) -> Curve:
    """The curve of all these measurements."""
    builder = CurveBuilder()
    for line in lines:
        builder.add(line)
    return builder.curve()


@dataclass
class _Point:
    step: int
    sums: dict[str, tuple[float, int]]

    def add(self, line: Mapping[str, float]) -> None:
        self.step = int(line["step"])
        for name, value in line.items():
            if name != "step" and math.isfinite(value):
                total, count = self.sums.get(name, (0.0, 0))
                self.sums[name] = (total + value, count + 1)

    def and_then(self, other: "_Point") -> "_Point":
        sums = dict(self.sums)
        for name, (total, count) in other.sums.items():
            before, counted = sums.get(name, (0.0, 0))
            sums[name] = (before + total, counted + count)
        return _Point(other.step, sums)

    def mean(self, name: str) -> float | None:
        total, count = self.sums.get(name, (0.0, 0))
        return float(f"{total / count:.{DIGITS}g}") if count else None
