"""How far a corpus is, for a terminal."""

from rich.console import Console
from rich.table import Table

from dataengine.manifests.status import CorpusStatus, StageStatus
from dataengine.report.progress import duration


def print_status(status: CorpusStatus, console: Console) -> None:
    """Prints a table of stages and, if anything failed, one of failures by kind."""
    duplicates = f", {status.duplicates} duplicates left out" if status.duplicates else ""
    console.print(f"{status.url}: {status.planned} assets planned{duplicates}", highlight=False, soft_wrap=True)
    stages = Table("stage", "shards", "ok", "failed", "left", "views", "assets/min", "time left")
    stages.columns[0].no_wrap = True
    for stage in status.stages:
        stages.add_row(
            stage.stage,
            f"{stage.shards_done} / {stage.shards}" + (f" ({stage.shards_stale} stale)" if stage.shards_stale else ""),
            str(stage.assets_ok),
            str(stage.assets_failed),
            str(stage.assets_left),
            str(stage.views),
            f"{stage.rate * 60:.1f}" if stage.rate else "",
            _time_left(stage),
        )
    console.print(stages)
    if status.failures:
        failures = Table("stage", "error", "assets")
        for (stage_name, error), count in sorted(status.failures.items(), key=lambda item: -item[1]):
            failures.add_row(stage_name, error, str(count))
        console.print(failures)


def _time_left(stage: StageStatus) -> str:
    if not stage.assets_left:
        return "done"
    return "" if stage.seconds_left is None else duration(stage.seconds_left)
