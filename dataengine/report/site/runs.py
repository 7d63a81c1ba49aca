"""Runs for the page: what their curves, sheets and evaluations say, as data, and the sheets as pictures."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dataengine.errors import DataengineError
from dataengine.report.site.run_folder import HELD_OUT_OF_FIT, Evaluated, RunFolder, Trained
from dataengine.training.evaluation.means import METHODS, METRICS

MOST_SHEETS = 100

LABELS = {
    "loss": "loss",
    "nll": "nats per hidden token",
    "nll_held_out": "nats per hidden token, held out",
    "nll_views": "nats per hidden token of views",
    "nll_pictures": "nats per hidden token of pictures",
    "grad_norm": "norm of the gradient",
    "lr": "rate of learning",
    "seconds": "seconds per step",
}
"""Figures of a training's log, in the order in which they are offered; the others follow."""


def runs_data(runs: Sequence[RunFolder], *, sheets: bool = True) -> dict[str, Any]:
    """What the page of runs shows.

    Args:
        sheets: name the sheets.

    Raises:
        DataengineError: if a file of a run is damaged.
    """
    lines = [_line(number, run, trained, sheets) for number, run in enumerate(runs) for trained in run.trained()]
    figures = dict.fromkeys(name for line in lines for name in line["values"])
    ordered = sorted(figures, key=_rank)
    return {
        "lines": lines,
        "figures": [[name, LABELS.get(name, name)] for name in ordered],
        "evaluations": [
            _evaluation(number, run, place, found, sheets)
            for number, run in enumerate(runs)
            for place, found in enumerate(run.evaluated())
        ],
        "methods": METHODS,
        "metrics": METRICS,
    }


def shown_sheets(trained: Trained) -> list[int]:
    """The steps whose sheets are shown: all, or as many as a page holds, evenly chosen."""
    steps = sorted(trained.sheets)
    if len(steps) <= MOST_SHEETS:
        return steps
    return [steps[round(i)] for i in np.linspace(0, len(steps) - 1, MOST_SHEETS)]


def sheet_picture(file: Path) -> bytes:
    """WebP of a sheet. Raises DataengineError if it cannot be read."""
    try:
        with Image.open(file) as image:
            buffer = io.BytesIO()
            image.convert("RGB").save(buffer, "webp", quality=85, method=2)
    except (OSError, ValueError, SyntaxError) as e:
        raise DataengineError(f"{file} is no sheet that can be read: {e}") from e
    return buffer.getvalue()


def sheet_name(number: int, stage: str, step: int) -> str:
    """Where the page finds a sheet of the run of that number."""
    return f"runs/{number}/{stage}/{step}.webp"


def evaluated_name(number: int, place: int) -> str:
    """Where the page finds the sheet of an evaluation, by its place among those of the run of that number."""
    return f"runs/{number}/evaluated/{place}.webp"


def write_sheets(runs: Sequence[RunFolder], folder: Path) -> int:
    """Writes the sheets that are shown; returns how many.

    Raises:
        DataengineError: if one cannot be read.
    """
    named: dict[str, Path] = {}
    for number, run in enumerate(runs):
        for trained in run.trained():
            named |= {sheet_name(number, trained.name, s): trained.sheets[s] for s in shown_sheets(trained)}
        found = enumerate(run.evaluated())
        named |= {evaluated_name(number, place): each.sheet for place, each in found if each.sheet}
    for name, file in named.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(sheet_picture(file))
    return len(named)


def _rank(figure: str) -> tuple[int, bool]:
    known = list(LABELS)
    return known.index(figure) if figure in known else len(known), not figure.startswith(HELD_OUT_OF_FIT)


def _line(number: int, run: RunFolder, trained: Trained, sheets: bool) -> dict[str, Any]:
    shown = shown_sheets(trained) if sheets else []
    settings = [[name, str(value)] for name, value in trained.settings.items() if value is not None]
    return {
        "run": run.name,
        "stage": trained.name,
        "per": trained.curve.per,
        "steps": trained.curve.steps,
        "values": trained.curve.values,
        "wanted": trained.settings.get("steps"),
        "epoch": trained.epoch,
        "settings": settings,
        "sheets": [[step, sheet_name(number, trained.name, step)] for step in shown],
    }


def _evaluation(number: int, run: RunFolder, place: int, found: Evaluated, sheets: bool) -> dict[str, Any]:
    return {
        "run": run.name,
        "stage": found.stage,
        "task": found.task,
        "file": found.file,
        "objects": found.objects,
        "rows": [_rounded(row) for row in found.rows],
        "sheet": evaluated_name(number, place) if sheets and found.sheet else None,
    }


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    half = {name: value and float(f"{value:.4g}") for name, value in row["half_widths"].items()}
    own = {name: row[name] and float(f"{row[name]:.5g}") for name in METRICS}
    return {"method": row["method"], "objects": row["objects"], **own, "half_widths": half}
