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


def curve(lines: Iterable[Mapping[str, float]]) -> Curve:
    """The curve of measurements with a `step` each, in their order: at most 2 · POINTS points."""
    per, filled = 1, 0
    points: list[_Point] = []
    for line in lines:
        if not points or filled == per:
            if len(points) == 2 * POINTS:
                points = [first.and_then(second) for first, second in zip(points[::2], points[1::2], strict=True)]
                per *= 2
            points.append(_Point(0, {}))
            filled = 0
        points[-1].add(line)
        filled += 1
    names = dict.fromkeys(name for point in points for name in point.sums)
    return Curve(per, [p.step for p in points], {name: [p.mean(name) for p in points] for name in names})


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
