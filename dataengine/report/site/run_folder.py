"""What a training has left in its folder: figures, sheets, evaluations. Read without torch, also while it goes on."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataengine.corpus.parquet import read_parquet
from dataengine.errors import DataengineError, UsageError
from dataengine.report.site.curves import Curve, curve
from dataengine.report.site.run_log import RunLog
from dataengine.training.config import STAGES
from dataengine.training.evaluation.means import METRICS, means

METRICS_FILE = "metrics.jsonl"
HELD_OUT = ("psnr_object", "psnr", "ssim", "feature", "bit_entropy")  # of a fit's curve; the rest is of its batches
HELD_OUT_OF_FIT = "held-out"  # how those begin on the page


@dataclass(frozen=True)
class Trained:
    """A stage of a run, or a fit of a tokenizer or decoder.

    Attributes:
        name: the stage's, or the fit's file without its ending.
        curve: of its figures.
        epoch: of the data that it is in, from 0; None: not logged.
        settings: of the newest checkpoint; empty before the first.
        sheets: by step, what was drawn.
    """

    name: str
    curve: Curve
    epoch: int | None
    settings: Mapping[str, Any]
    sheets: Mapping[int, Path]


@dataclass(frozen=True)
class Evaluated:
    """An evaluation of a stage in a task.

    Attributes:
        file: relative to the run.
        objects: a hash that says which they were.
        rows: as `means` gives them.
        sheet: true and drawn views of the first objects; None where there is none.
    """

    file: str
    stage: str
    task: str
    objects: str
    rows: list[dict[str, Any]]
    sheet: Path | None


@dataclass(frozen=True)
class RunFolder:
    """A run by the name that it has on the page."""

    name: str
    folder: Path
    _logs: dict[str, RunLog] = field(default_factory=dict, compare=False, repr=False)

    def trained(self) -> list[Trained]:
        """Its stages in the order of training, then the fits in it.

        Raises:
            DataengineError: if a file is damaged.
        """
        stages = [self._stage(stage) for stage in STAGES if _left_something(self.folder / stage)]
        return [*stages, *(fit for file in sorted(self.folder.glob("*.csv")) if (fit := _fit(file)))]

    def evaluated(self) -> list[Evaluated]:
        """Its evaluations.

        Raises:
            DataengineError: if a file is damaged.
        """
        files = [*self.folder.glob("*.parquet"), *(f for s in STAGES for f in (self.folder / s).glob("*.parquet"))]
        return [found for file in sorted(files) for found in _evaluations(file, self.folder)]

    def sheet(self, stage: str, step: int) -> Path | None:
        """What a stage had drawn at a step."""
        return _sheets(self.folder / stage).get(step) if stage in STAGES else None

    def _stage(self, stage: str) -> Trained:
        folder = self.folder / stage
        log = self._logs.setdefault(stage, RunLog(folder / METRICS_FILE))
        found, epoch = log.curve(), log.last.get("epoch")
        return Trained(stage, found, None if epoch is None else int(epoch), _settings(folder), _sheets(folder))


def run_folders(folders: Sequence[Path]) -> list[RunFolder]:
    """The runs in these folders, by names that differ.

    Raises:
        UsageError: if there is no such folder, or nothing of a run in it.
    """
    found = []
    for folder in dict.fromkeys(folders):
        if not folder.is_dir():
            raise UsageError(f"there is no folder {folder} of a run")
        name = folder.absolute().name
        unique = sum(other.absolute().name == name for other in dict.fromkeys(folders)) == 1
        run = RunFolder(name if unique else str(folder), folder)
        if not (run.trained() or run.evaluated()):
            raise UsageError(
                f"{folder} holds no run: neither STAGE/{METRICS_FILE} of `train`, nor rows of `eval`, "
                "nor the curve of a fit"
            )
        found.append(run)
    return found


def _left_something(folder: Path) -> bool:
    return (folder / METRICS_FILE).exists() or bool(_sheets(folder))


def _settings(folder: Path) -> dict[str, Any]:
    states = sorted((folder / "checkpoints").glob("[0-9]*/state.json"))
    if not states:
        return {}
    try:
        settings = json.loads(states[-1].read_text(encoding="utf-8"))["settings"]
    except FileNotFoundError:
        return {}  # a newer one has just replaced it
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise DataengineError(f"{states[-1]} is no checkpoint's state: {e}") from e
    return dict(settings)


def _sheets(folder: Path) -> dict[int, Path]:
    files = (folder / "sheets").glob("[0-9]*.png")
    return {int(file.stem): file for file in sorted(files) if file.stem.isdecimal()}


def _fit(file: Path) -> Trained | None:
    """The curve that `tokenizer fit` or `decoder fit` wrote; None of another table."""
    try:
        with file.open(encoding="utf-8", newline="") as text:
            rows = csv.DictReader(text)
            if list(rows.fieldnames or ())[:2] != ["step", "seconds"]:
                return None
            found = curve({_figure(n): float(v) for n, v in row.items() if n != "seconds"} for row in rows)
    except (OSError, ValueError, TypeError, csv.Error) as e:
        raise DataengineError(f"{file} is no curve of a fit: {e}") from e
    return Trained(file.stem, found, None, {}, {})


def _figure(name: str) -> str:
    """A column of a fit's curve, told apart from what a stage calls by the same word."""
    return name if name == "step" else f"{HELD_OUT_OF_FIT} {name}" if name in HELD_OUT else f"fit's {name}"


def _evaluations(file: Path, run: Path) -> Iterator[Evaluated]:
    """By stage and task, what `eval` wrote; nothing of another table."""
    wanted = {"uid", "method", "stage", "task", "psnr"}
    try:
        if not wanted <= set(pq.read_schema(file).names):
            return
        table = read_parquet(file.read_bytes())
    except (OSError, pa.ArrowException) as e:
        raise DataengineError(f"{file} cannot be read: {e}") from e
    for metric in set(METRICS) - set(table.column_names):  # of earlier versions
        table = table.append_column(metric, pa.nulls(table.num_rows, pa.float64()))
    sheet = file.with_suffix(".png")
    of = list(zip(table["stage"].to_pylist(), table["task"].to_pylist(), strict=True))
    for stage, task in dict.fromkeys(of):
        own = table.filter(pa.array([kind == (stage, task) for kind in of]))
        objects = sha256("\n".join(sorted(set(own["uid"].to_pylist()))).encode()).hexdigest()[:12]
        drawn = sheet if sheet.exists() else None
        yield Evaluated(file.relative_to(run).as_posix(), str(stage), str(task), objects, means(own), drawn)
