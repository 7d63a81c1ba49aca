"""95 % intervals of figures over objects, by drawing objects again and again with replacement (Efron 1979)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

DRAWS = 2000


@dataclass(frozen=True)
class Interval:
    """A figure of some objects and what it might as well have been.

    Attributes:
        value: of the objects.
        low, high: between which 95 % of the figures of objects drawn again lie; NaN where they cannot be told.
        objects: how many had the figure.
    """

    value: float
    low: float
    high: float
    objects: int


def mean_interval(values: Tensor) -> Interval:
    """Of the mean of values (n,), one an object; NaN is an object that has none. Of differences: a paired interval."""
    return _interval(lambda v: v.mean(-1), values[~values.isnan()])


def ratio_interval(ours: Tensor, theirs: Tensor) -> Interval:
    """Of the ratio of two sums over the same objects, (n,) each: objects are drawn with both."""
    return _interval(lambda a, b: a.sum(-1) / b.sum(-1), ours, theirs)


def _interval(figure: Callable[..., Tensor], *columns: Tensor) -> Interval:
    count = len(columns[0])
    if not count:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    columns = tuple(column.double() for column in columns)
    value = float(figure(*columns))
    if count < 2:
        return Interval(value, float("nan"), float("nan"), count)
    drawn = torch.randint(count, (DRAWS, count), generator=torch.Generator().manual_seed(0))
    figures = figure(*(column[drawn] for column in columns))
    usable = figures[figures.isfinite()]  # a sum that is divided by may be 0 of some draws
    if not len(usable):
        return Interval(value, float("nan"), float("nan"), count)
    low, high = usable.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(value, low, high, count)
