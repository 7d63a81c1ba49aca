"""Distributions on the overview: small bar charts whose bars lead to what they count."""

from dataclasses import dataclass
from urllib.parse import quote

import numpy as np

from dataengine.manifests.catalog import Catalog
from dataengine.report.site.columns import NUMBERS, SHOWN, Column, batches, rounded

BINS = 24


@dataclass(frozen=True)
class Bar:
    """One bar: how many, its height from 0 to 1, from where to where, and the gallery's address of its assets."""

    count: int
    height: float
    label: str
    link: str


@dataclass(frozen=True)
class Plot:
    """A column's distribution; `missing`: assets without a value."""

    column: Column
    bars: list[Bar]
    least: str
    most: str
    missing: int


def distributions(catalog: Catalog) -> list[Plot]:
    """A plot of each column that has different values. Two passes over the manifest, in bounded memory."""
    drawn = tuple(column for column in NUMBERS if column.plot)
    ends = ", ".join(f"min({column.sql}), max({column.sql})" for column in drawn)
    (limits,) = catalog.sql(f"SELECT {ends} {SHOWN}").fetchall()
    edges = {}
    for i, column in enumerate(drawn):
        low, high = limits[2 * i], limits[2 * i + 1]
        if low is not None and low < high:
            edges[column.name] = _edges(column, float(low), float(high))
    counts = {name: np.zeros(len(inner) + 1, np.int64) for name, inner in edges.items()}
    missing = dict.fromkeys(edges, 0)
    for batch in batches(catalog, tuple(column for column in drawn if column.name in edges)) if edges else ():
        for name, inner in edges.items():
            values = rounded(batch.column(name))
            known = values[~np.isnan(values)]
            missing[name] += len(values) - len(known)
            counts[name] += np.bincount(np.searchsorted(inner, known, side="right"), minlength=len(inner) + 1)
    plots = []
    for i, column in enumerate(drawn):
        if column.name in edges:
            bars = _bars(column, edges[column.name], counts[column.name])
            least, most = (_number(x) for x in limits[2 * i : 2 * i + 2])
            plots.append(Plot(column, bars, least, most, missing[column.name]))
    return plots


def _edges(column: Column, low: float, high: float) -> list[float]:
    """The inner edges of the bins, short enough to stand in a link."""
    if column.plot == "log" and low > 0:
        between = np.geomspace(low, high, BINS + 1)[1:-1]
    else:
        between = np.linspace(low, high, BINS + 1)[1:-1]
    few = sorted({float(f"{x:.3g}") for x in between})
    return few if len(few) == len(between) else sorted({float(f"{x:.6g}") for x in between})


def _bars(column: Column, inner: list[float], counts: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> list[Bar]:
    top = max(int(counts.max()), 1)
    bars = []
    for count, low, high in zip(counts.tolist(), [None, *inner], [*inner, None], strict=True):
        span = f"{'' if low is None else f'{low:g}'}..{'' if high is None else f'{high:g}'}"
        words = f"{column.label} " + (
            f"below {high:,g}" if low is None else f"from {low:,g}" + ("" if high is None else f" to {high:,g}")
        )
        # Rare values are what one looks for: a single asset is still a visible bar.
        height = max(count / top, 0.04) if count else 0.0
        bars.append(Bar(count, height, f"{words}: {count:,} assets", f"#/gallery?{column.name}={quote(span)}"))
    return bars


def _number(x: float) -> str:
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.3g}"
