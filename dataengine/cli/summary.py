"""What a plan holds, and what it will take, in a few lines."""

from collections.abc import Callable, Mapping

from dataengine.report.log import result
from dataengine.report.progress import duration
from dataengine.stages.estimate import Estimate, Range
from dataengine.stages.plan import PlanSummary
from dataengine.visible import counted, visible


def print_plan(summary: PlanSummary, corpus: str) -> None:
    """Prints what was found, what was left out and why, and the next command."""
    for note in summary.notes:
        result(visible(f"note: {note}"))
    left_out = [f"{summary.left_out} not selected by --where"] if summary.left_out else []
    left_out += [f"{summary.duplicates} duplicates"] if summary.duplicates else []
    result(f"{summary.found} models found" + (f" ({', '.join(left_out)})" if left_out else ""))
    new = f" ({summary.new_shards} new)" if 0 < summary.new_shards < summary.shards else ""
    result(
        f"{summary.planned} planned in {summary.shards} shards{new}: "
        f"{summary.captioned} with a caption, {summary.bytes / 1e6:.1f} MB"
    )
    for line in summary.sets:
        result(f"view set {line}")
    result(f"formats: {_counts(summary.formats)}")
    result(f"licences: {_counts(summary.licences)}")
    if summary.flagged:
        result(
            f"warning: {summary.flagged} assets have an unknown or non-commercial licence; --where can leave them out"
        )
    result(f"next: dataengine render {corpus}")


def print_estimate(estimate: Estimate | None, price: float | None) -> None:
    """Prints core-hours, time on this machine, bytes and, with a price per core-hour, cost; each with its spread."""
    if estimate is None:
        result("estimate: nothing is left to render")
        return
    failed = f", {estimate.failed} of which failed" if estimate.failed else ""
    result(f"estimate for {counted(estimate.assets, 'asset')}, from {estimate.tried} that were rendered{failed}:")
    hours = estimate.cpu_seconds
    result(f"  core-hours  {_spread(hours, lambda seconds: _number(seconds / 3600))}")
    workers = f"with {estimate.workers} worker{'' if estimate.workers == 1 else 's'}"
    result(f"  time here   {_spread(estimate.wall_seconds, duration)} {workers}")
    result(f"  tars        {_spread(estimate.bytes, size)}")
    if price is not None:
        result(f"  cost        {_spread(hours, lambda seconds: _number(price * seconds / 3600))}")


def _number(value: float) -> str:
    """With three digits that mean something: `0.00786`, `3.1`, `12,345`."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _spread(figure: Range, shown: Callable[[float], str]) -> str:
    """`3.1 (2.2 to 4)`; the figure alone where nothing is uncertain."""
    if figure.low == figure.high:
        return shown(figure.likely)
    high = "?" if figure.high == float("inf") else shown(figure.high)
    return f"{shown(figure.likely)} ({shown(figure.low)} to {high})"


def size(count: float) -> str:
    """Bytes for a person: `3.2 MB`."""
    for unit, value in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= value:
            return f"{count / value:.1f} {unit}"
    return f"{count / 1e3:.1f} kB"


def _counts(counts: Mapping[str, int]) -> str:
    return visible(", ".join(f"{name} {count}" for name, count in counts.items()))
