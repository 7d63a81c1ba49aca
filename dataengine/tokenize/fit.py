"""Training of a tokenizer on rendered views: from nothing, or from a checkpoint that is to know them better.

A step draws the same batch whether or not the run was interrupted before it. What is kept is a moving average of the
weights, rounded to half precision, and measured as it is loaded.
"""

import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from dataengine.corpus.storage import Store
from dataengine.errors import DataengineError, UsageError
from dataengine.tokenize.checkpoint import METADATA, load, read_pickle, weights_sha256, write_pickle
from dataengine.tokenize.device_tokenizer import pick_device
from dataengine.tokenize.fit_curve import Point, plot, table, verdict
from dataengine.tokenize.fit_quality import Quality, measure
from dataengine.tokenize.fit_step import FitSettings, Run
from dataengine.tokenize.fit_views import decode, find_views
from dataengine.tokenize.model import Tokenizer, build, check_size
from dataengine.tokenize.spec import Weights

RECIPE = FitSettings()
MEASURE_VIEWS = 96  # on the way; the finished network is measured on all that are held out
KEEP_EVERY = 50
MEASURE_EVERY = 250
PIXELS = 4 << 30  # bytes of decoded views; of more, evenly spaced ones are taken


@dataclass(frozen=True)
class Progress:
    """Said after every step. `quality` is None but for steps that measure."""

    step: int
    steps: int
    loss: float
    train_psnr: float
    seconds: float
    quality: Quality | None


@dataclass(frozen=True)
class Fitted:
    """What became of a fit.

    Attributes:
        quality: of what was written, on all views held out.
        verdict: whether more steps would help, for people.
    """

    quality: Quality
    verdict: str


def fit(
    sources: Sequence[str],
    out: Path,
    *,
    tokenizer: str = "small",
    widths: Mapping[str, Any] = {},
    start: str | Path | None = None,
    use: Weights | None = None,
    steps: int = 10_000,
    device: str = "auto",
    recipe: FitSettings = RECIPE,
    on_step: Callable[[Progress], None] = lambda progress: None,
) -> Fitted:
    """Trains a tokenizer; run again after any interruption, it goes on at the last step that was kept.

    Args:
        sources: corpora with rendered views, or folders of `<model>/<view>.png` (RGBA); see `fit_views.find_views`.
        out: file to write, `.safetensors`. Beside it: a report as `.json`, the curve as `.csv` and `.png`, and the
            state of the run as `.fit`.
        tokenizer: which network; see `build`.
        widths: of a network that is not the published one.
        start: weights to begin with, as for `load`, or the tokenizer's name for those that it has by default; None:
            untrained.
        use: which of that file's weights, as for `load`.
        steps: of training in all. More than a finished run had continue it.
        device: `auto`, `cpu`, `cuda` …
        on_step: called after every step.

    Raises:
        UsageError: if the sources have no views or none held out, `out` cannot be such a file, the tokenizer or a width
            does not exist, its tokens do not fit the recipe's sizes, or the state beside `out` is of another network.
        DataengineError: if the training diverges, or `start` is damaged or not of this network.
    """
    if out.suffix != ".safetensors":
        raise UsageError(f"the tokenizer is written as .safetensors, not as {out.name!r}")
    where = pick_device(device)
    torch.manual_seed(recipe.seed)
    if start is None:
        made = build(tokenizer, **widths)
    else:
        made = load(tokenizer, None if start == tokenizer else start, use=use, **widths)
    for side in (recipe.resolution, recipe.crop):
        check_size(made.spec, side, side)
    run, state = Run(made.to(where), recipe), _State(out.with_suffix(".fit"), made)
    state.resume(run)
    views = find_views(*sources)
    most = PIXELS // (4 * recipe.resolution**2)
    chosen = views.train[:: -(-len(views.train) // most)]
    train, held_out = (torch.from_numpy(decode(v, recipe.resolution)).to(where) for v in (chosen, views.held_out))
    measured = held_out[:: max(1, len(held_out) // MEASURE_VIEWS)]
    before, started = state.seconds, time.monotonic()
    while run.step < steps:
        share = run.step / steps
        step = run.train_step(*run.draw(train, share), share)
        loss, train_psnr = step.loss.item(), step.psnr.item()
        if not torch.isfinite(step.loss):
            raise DataengineError(
                f"the training diverged at step {run.step}; delete {state.file} and use a lower learning rate"
            )
        state.seconds = before + time.monotonic() - started
        quality = None
        if run.step % MEASURE_EVERY == 0 or run.step == steps:
            quality = measure(run.average, measured)
            state.curve.append(_point(run.step, state.seconds, run.rate(share), loss, train_psnr, quality))
        if run.step % KEEP_EVERY == 0 or run.step == steps:
            state.keep(run)
        on_step(Progress(run.step, steps, loss, train_psnr, state.seconds, quality))
    average = run.average
    with torch.no_grad():
        for value in average.parameters():
            value.copy_(value.half())
    final = measure(average, held_out)
    fitted = Fitted(final, verdict(state.curve))
    report = {
        **state.network,
        "weights_sha256": weights_sha256(average),
        "from": None if start is None else {"file": str(start), "weights_sha256": made.spec.weights_sha256},
        "steps": run.step,
        "seconds": round(state.seconds),
        "verdict": fitted.verdict,
        "recipe": asdict(recipe),
        "trained_on": {"models": views.train_models, "views": len(chosen)},
        "held_out": {"models": views.held_out_models, **asdict(final)},
    }
    tensors = {
        **{k: v.cpu() for k, v in average.named_buffers() if k in average.state_dict()},
        **{k: v.half().cpu().contiguous() for k, v in average.named_parameters()},
    }
    image = io.BytesIO()
    plot(state.curve).save(image, "png")
    store = Store(out.parent)
    store.put(out.name, save(tensors, {METADATA: json.dumps(state.network)}))
    store.put(out.with_suffix(".csv").name, table(state.curve).encode())
    store.put(out.with_suffix(".png").name, image.getvalue())
    store.put(out.with_suffix(".json").name, (json.dumps(report, indent=1) + "\n").encode())
    return fitted


def _point(step: int, seconds: float, rate: float, loss: float, train_psnr: float, quality: Quality) -> Point:
    q = quality
    return Point(step, seconds, rate, loss, train_psnr, q.psnr_object, q.psnr, q.ssim, q.feature, q.bit_entropy)


class _State:
    """What is kept of a run beside its result, so that it can go on.

    Attributes:
        network: name and widths, JSON types only.
        curve: what was measured.
        seconds: of training, of all runs.
    """

    def __init__(self, file: Path, tokenizer: Tokenizer) -> None:
        self.file = file
        self.network: dict[str, Any] = json.loads(json.dumps({"name": tokenizer.spec.name, "widths": tokenizer.widths}))
        self.curve: list[Point] = []
        self.seconds = 0.0

    def keep(self, run: Run) -> None:
        state = {
            "network": self.network,
            "curve": [list(point) for point in self.curve],
            "seconds": self.seconds,
            **run.state(),
        }
        write_pickle(self.file, state)

    def resume(self, run: Run) -> None:
        """Takes up a run that was kept; it may go on with another recipe. Raises UsageError if its network differs."""
        if not self.file.exists():
            return
        try:
            state = read_pickle(self.file)
            network = state["network"]
        except (DataengineError, LookupError, TypeError) as e:
            raise UsageError(f"{self.file} is not the state of a fit; delete it or choose another file") from e
        if network != self.network:
            kept, wanted = ({"tokenizer": n["name"], **n["widths"]} for n in (network, self.network))
            other = next(k for k in {**kept, **wanted} if kept.get(k) != wanted.get(k))
            raise UsageError(
                f"{self.file} is of a fit with {other} {kept.get(other)}, not {wanted.get(other)}; "
                f"delete it or choose another file"
            )
        try:
            run.resume(state)
            self.curve = [Point(*values) for values in state["curve"]]
            self.seconds = state["seconds"]
        except (RuntimeError, LookupError, TypeError) as e:
            raise UsageError(f"{self.file} is not of this training; delete it or choose another file") from e
