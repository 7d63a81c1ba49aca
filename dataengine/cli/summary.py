"""What a plan holds, in a few lines."""

from collections.abc import Mapping

from dataengine.report.log import result
from dataengine.stages.plan import PlanSummary
from dataengine.visible import visible


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


def _counts(counts: Mapping[str, int]) -> str:
    return visible(", ".join(f"{name} {count}" for name, count in counts.items()))
