"""`dataengine reconstructor fit`: trains on the views of corpora, read as they are."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from dataengine.errors import UsageError
from dataengine.tokenize import load
from dataengine.tokenize.device_tokenizer import pick_device
from dataengine.training.checkpoints import WEIGHTS
from dataengine.training.data.views import Views
from dataengine.training.reconstruct.corrupt import Corruption, guessing_model
from dataengine.training.reconstruct.fit_files import finish, keep, resume
from dataengine.training.reconstruct.fit_step import FitRecipe, FitRun, Step, train
from dataengine.training.reconstruct.loss import Truth
from dataengine.training.reconstruct.measure import Measured, measure_all
from dataengine.training.reconstruct.network import Reconstructor, ReconstructorConfig
from dataengine.training.reconstruct.packed import augment
from dataengine.training.reconstruct.view_choice import VIEWS, check_cameras

FIELDS = (*Truth._fields, "orthographic")
KEEP_EVERY = 50
GUESSER = "slim"  # of the models that ship, the one that knows the default tokenizer's codes


def fit(
    corpora: Sequence[str],
    out: Path,
    *,
    view_set: str | None = None,
    where: str | None = None,
    resolution: int | None = None,
    start: Reconstructor | None = None,
    steps: int = 5000,
    seconds: float | None = None,
    batch: int = 4,
    config: ReconstructorConfig = ReconstructorConfig(),  # noqa: B008 - it is frozen
    recipe: FitRecipe = FitRecipe(),  # noqa: B008
    device: str = "auto",
    on_step: Callable[[int, Step, float], None] = lambda step, done, seconds: None,
) -> Measured | None:
    """Trains; run again after any interruption, it goes on at the last step that was kept.

    Args:
        corpora: with colour and depth of at least five views per object; their splits `train` take turns.
        out: file to write, `.safetensors`, and beside it the state of the run as `.fit`.
        view_set: of each corpus; None: the only one.
        where: SQL; only assets for which it is true.
        resolution: pixels a side that views are scaled down to; None: as rendered.
        start: whose weights the training begins with; what they lack of `config` begins anew.
        steps, seconds: of training in all, of this run; whichever is first.
        batch: objects a step.
        device: `auto`, `cpu`, `cuda` …
        on_step: called after every step.

    Returns:
        What the objects of the splits `val` and `test` give, from their true views; None where there are none.

    Raises:
        UsageError: if a corpus has no such views, or orthographic ones, `out` cannot be such a file, or the state
            beside it is another network's.
        DataengineError: if the training diverges.
    """
    if out.suffix != ".safetensors":
        raise UsageError(f"the reconstructor is written as .safetensors, not as {out.name!r}")
    place = pick_device(device)
    chosen: dict[str, Any] = {"view_set": view_set, "where": where, "resolution": resolution}
    streams = [Views(c, fields=FIELDS, batch_size=batch, seed=recipe.seed, **chosen) for c in corpora]
    torch.manual_seed(recipe.seed)
    guesser = guessing_model(WEIGHTS / GUESSER, place)
    model = Reconstructor(config)
    if start is not None:
        begin_with(model, start)
    run = FitRun(model.to(place), recipe, Corruption(load("small").to(place), guesser))
    kept = resume(run, out)
    for stream, state in zip(streams, kept["streams"] if kept else [], strict=False):
        stream.load_state_dict(state)
    states = [stream.state_dict() for stream in streams]

    def done(run: FitRun, step: Step, passed: float) -> None:
        if run.step % KEEP_EVERY == 0 or run.step == steps:
            keep(run, out, streams=states)
        on_step(run.step, step, passed)

    began = time.monotonic()
    train(
        run, _in_turn(streams, states, run.step, recipe.seed, config.factor), steps=steps, seconds=seconds, on_step=done
    )
    keep(run, out, streams=states)
    passed = time.monotonic() - began
    finish(run, out, {"seconds": round(passed), "batch": batch, "objects": sum(s.num_samples for s in streams)})
    parts = [_held_out(c, split, **chosen) for c in corpora for split in ("val", "test")]
    found = [measure_all(run.average, part) for part in parts if part is not None]
    return Measured(*(torch.cat(values) for values in zip(*found, strict=True))) if found else None


def begin_with(model: Reconstructor, start: Reconstructor) -> None:
    """Raises UsageError if the weights are of another network."""
    own, theirs = model.state_dict(), start.state_dict()
    wrong = next((k for k, v in theirs.items() if k not in own or own[k].shape != v.shape), None)
    if wrong is not None:
        raise UsageError(f"the weights to begin with are another network's: they have a {wrong} that this one has not")
    model.load_state_dict({**own, **theirs})


def _in_turn(
    streams: list[Views], states: list[dict[str, int]], step: int, seed: int, factor: int
) -> Iterator[dict[str, Any]]:
    """A batch of each corpus in turn, from a step on; `states` say where the streams stand behind the last one."""
    readers = [iter(stream) for stream in streams]
    while True:
        which = step % len(readers)
        batch: dict[str, Any] = next(readers[which])
        states[which] = batch["state"]
        _check(batch, factor)
        random = torch.Generator().manual_seed(seed << 32 | step)
        yield {**batch, **augment({k: batch[k] for k in Truth._fields}, random)}
        step += 1


def _check(batch: dict[str, Any], factor: int) -> None:
    views, side = batch["c2w"].shape[1], batch["colour"].shape[-1]
    if views <= VIEWS:
        raise UsageError(f"the fit needs more than {VIEWS} views per object, the corpus has {views}")
    if side % factor:
        raise UsageError(f"views of {side} pixels a side: the network takes multiples of {factor}; --resolution scales")
    for poses, orthographic in zip(batch["c2w"], batch["orthographic"], strict=True):
        check_cameras(poses, orthographic)


def _held_out(corpus: str, split: str, **how: Any) -> Views | None:
    try:
        return Views(corpus, split=split, fields=FIELDS, batch_size=4, epochs=1, **how)
    except UsageError:  # no asset is of that split
        return None
