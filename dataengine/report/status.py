"""How far a corpus is, for a terminal and for programs."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from dataengine.manifests.status import CorpusStatus, StageStatus
from dataengine.report.progress import duration
from dataengine.visible import counted


def status_tables(status: CorpusStatus) -> Group:
    """A table of stages and, if anything failed, one of failures by kind."""
    duplicates = f", {status.duplicates} duplicates left out" if status.duplicates else ""
    stages = Table("stage", "shards", "ok", "failed", "left", "spooled", "views", "assets/min", "time left")
    stages.columns[0].no_wrap = True
    for stage in status.stages:
        stages.add_row(
            stage.stage,
            f"{stage.shards_done} / {stage.shards}" + (f" ({stage.shards_stale} stale)" if stage.shards_stale else ""),
            str(stage.assets_ok),
            str(stage.assets_failed),
            str(stage.assets_left),
            str(stage.assets_spooled),
            str(stage.views),
            f"{stage.rate * 60:.1f}" if stage.rate else "",
            _time_left(stage),
        )
    parts: list[Text | Table] = [
        Text(f"{status.url}: {counted(status.planned, 'asset')} planned{duplicates}", overflow="fold"),
        stages,
    ]
    if status.failures:
        failures = Table("stage", "error", "assets")
        for (stage_name, error), count in sorted(status.failures.items(), key=lambda item: -item[1]):
            failures.add_row(stage_name, error, str(count))
        parts.append(failures)
    return Group(*parts)


def status_json(status: CorpusStatus) -> dict[str, Any]:
    """The same for programs; docs/operations.md has the keys, which stay."""
    failures = [{"stage": s, "error": e, "assets": n} for (s, e), n in sorted(status.failures.items())]
    return {
        "url": status.url,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "planned": status.planned,
        "duplicates": status.duplicates,
        "stages": [
            {**asdict(s), "last_finished": s.last_finished.isoformat() if s.last_finished else None}
            for s in status.stages
        ],
        "failures": failures,
    }


def _time_left(stage: StageStatus) -> str:
    if not stage.assets_left:
        return "done"
    return "" if stage.seconds_left is None else duration(stage.seconds_left)
