"""What a training of the reconstructor leaves behind: weights, and the state to go on from."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from dataengine.errors import DataengineError, UsageError
from dataengine.tokenize.checkpoint import read_pickle, write_pickle
from dataengine.training.reconstruct.fit_step import FitRun
from dataengine.training.reconstruct.weights import save_reconstructor


def keep(run: FitRun, out: Path, **more: Any) -> None:
    """Writes the state beside `out`, as `.fit`: the run's, what else is given, and which network it is."""
    write_pickle(out.with_suffix(".fit"), {"network": run.model.config.as_dict(), "run": run.state(), **more})


def resume(run: FitRun, out: Path) -> Mapping[str, Any] | None:
    """Takes up the run that was kept beside `out`, and returns what else was; None where there is none.

    Raises:
        UsageError: if the state is another network's, or none.
    """
    file = out.with_suffix(".fit")
    if not file.exists():
        return None
    try:
        state: dict[str, Any] = read_pickle(file)
        own, kept = run.model.config.as_dict(), state["network"]
        other = next((k for k in own if kept[k] != own[k]), None)
        if other is None:
            run.resume(state["run"])
    except (DataengineError, LookupError, TypeError, RuntimeError) as e:
        raise UsageError(f"{file} is not the state of such a fit; delete it or choose another file") from e
    if other is not None:
        raise UsageError(
            f"{file} is of a fit with {other} {kept[other]}, not {own[other]}; delete it or choose another file"
        )
    return state


def finish(run: FitRun, out: Path, report: Mapping[str, Any]) -> None:
    """Writes the averaged weights, rounded to half precision, which they are in the run too from then on."""
    with torch.no_grad():
        for value in run.average.parameters():
            value.copy_(value.half())
    recipe = asdict(run.recipe)
    save_reconstructor(run.average, out, {"steps": run.step, "recipe": recipe, **report})
