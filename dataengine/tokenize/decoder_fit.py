"""Training of a depth-guided decoder on rendered views; run again after any interruption, it goes on."""

import io
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dataengine.corpus.storage import Store
from dataengine.errors import DataengineError, UsageError
from dataengine.tokenize.checkpoint import read_pickle, write_pickle
from dataengine.tokenize.decoder_file import save_decoder
from dataengine.tokenize.decoder_quality import DecoderQuality, measure
from dataengine.tokenize.decoder_step import DecoderRun, DecoderSettings
from dataengine.tokenize.depth_guided import DepthGuidedDecoder, Guidance, levels
from dataengine.tokenize.fit_curve import csv_text, plot_curve
from dataengine.tokenize.model import Tokenizer

Batch = Mapping[str, Tensor]
KEEP_EVERY = 50
MEASURE_EVERY = 250


@dataclass(frozen=True)
class DecoderProgress:
    """Said after every step. `quality` is None but for steps that measure."""

    step: int
    steps: int
    loss: float
    seconds: float
    quality: DecoderQuality | None


def fit_decoder(
    tokenizer: Tokenizer,
    batches: Callable[[int], Iterator[Batch]],
    held_out: Sequence[Batch],
    out: Path,
    *,
    steps: int,
    recipe: DecoderSettings,
    attend: bool = True,
    start: DepthGuidedDecoder | None = None,
    on_step: Callable[[DecoderProgress], None] = lambda progress: None,
) -> DecoderQuality:
    """Trains a decoder for the tokenizer's codes.

    Args:
        tokenizer: with its weights, on its device; it stays as it is.
        batches: from the number of batches that were seen before to those that follow.
        held_out: of objects that are not among them.
        out: `.safetensors` to write; beside it the curve as `.csv` and `.png`, a report as `.json`, the state as
            `.fit`.
        steps: in all; more than a finished run had continue it.
        attend: whether views attend to each other; False: what is added comes after the last level alone.
        start: of the same tokenizer and layers, whose weights the training begins with.
        on_step: called after every step.

    Raises:
        UsageError: if `out` is no such name, nothing is held out, or `start` or the state beside `out` is of another
            network.
        DataengineError: if the training diverges.
    """
    if out.suffix != ".safetensors":
        raise UsageError(f"the decoder is written as .safetensors, not as {out.name!r}")
    if not held_out:
        raise UsageError("nothing is held out to measure on: the corpora need assets of the val or test split")
    torch.manual_seed(recipe.seed)
    guidance = None if attend else Guidance.without_attention(len(levels(tokenizer.decoder)))
    model = DepthGuidedDecoder(tokenizer, guidance).to(next(tokenizer.parameters()).device)
    if start is not None:
        begin_with(model, start)
    run, state = DecoderRun(tokenizer, model, recipe), _State(out.with_suffix(".fit"), model)
    state.resume(run)
    before, started, stream = state.seconds, time.monotonic(), batches(run.step)
    while run.step < steps:
        loss = run.train_step(next(stream), run.step / steps)[0].item()
        if not math.isfinite(loss):
            raise DataengineError(f"the training diverged at step {run.step}; delete {state.file} and use a lower --lr")
        state.seconds = before + time.monotonic() - started
        quality = None
        if run.step % MEASURE_EVERY == 0 or run.step == steps:
            quality = measure(tokenizer, run.average, held_out)
            state.curve.append({"step": run.step, "seconds": state.seconds, "loss": loss, **asdict(quality)})
        if run.step % KEEP_EVERY == 0 or run.step == steps:
            state.keep(run)
        on_step(DecoderProgress(run.step, steps, loss, state.seconds, quality))
    with torch.no_grad():
        for value in run.average.parameters():
            value.copy_(value.half())
    final = measure(tokenizer, run.average, held_out)
    report = {"steps": run.step, "seconds": round(state.seconds), "recipe": asdict(recipe), "held_out": asdict(final)}
    save_decoder(run.average, out, report)
    image = io.BytesIO()
    minutes = [float(point["seconds"]) / 60 for point in state.curve]
    series = {
        "PSNR on the object, dB (left)": [point["psnr_object"] for point in state.curve],
        "SSIM (right)": [point["ssim"] for point in state.curve],
    }
    plot_curve(minutes, series).save(image, "png")
    store = Store(out.parent)
    names = list(state.curve[0]) if state.curve else []
    store.put(out.with_suffix(".csv").name, csv_text(names, [point.values() for point in state.curve]).encode())
    store.put(out.with_suffix(".png").name, image.getvalue())
    store.put(out.with_suffix(".json").name, (json.dumps({**state.network, **report}, indent=1) + "\n").encode())
    return final


def begin_with(model: DepthGuidedDecoder, start: DepthGuidedDecoder) -> None:
    """Takes over the weights of another one. Raises UsageError if it has other layers."""
    if start.guidance != model.guidance:
        attends = any(start.guidance.points)
        wanted = "--attention" if attends else "--no-attention"
        raise UsageError(f"the decoder to begin with has other layers than this fit; it was made with {wanted}")
    model.load_state_dict(start.state_dict())


class _State:
    """What is kept of a run beside its result, so that it can go on.

    Attributes:
        network: the tokenizer and what was added, JSON types only.
        curve: what was measured.
        seconds: of training, of all runs.
    """

    def __init__(self, file: Path, model: DepthGuidedDecoder) -> None:
        self.file = file
        network = {"tokenizer": model.spec.name, "weights_sha256": model.spec.weights_sha256}
        self.network: dict[str, Any] = json.loads(json.dumps({**network, "guidance": model.guidance.to_json()}))
        self.curve: list[dict[str, Any]] = []
        self.seconds = 0.0

    def keep(self, run: DecoderRun) -> None:
        state = {"network": self.network, "curve": self.curve, "seconds": self.seconds, **run.state()}
        write_pickle(self.file, state)

    def resume(self, run: DecoderRun) -> None:
        """Takes up a run that was kept. Raises UsageError if it is of another network."""
        if not self.file.exists():
            return
        try:
            state = read_pickle(self.file)
            network = state["network"]
            made_for = f"{network['tokenizer']} ({str(network['weights_sha256'])[:16]}…)"
            if ours := network == self.network:
                run.resume(state)
                self.curve, self.seconds = list(state["curve"]), float(state["seconds"])
        except (DataengineError, LookupError, TypeError, RuntimeError, ValueError) as e:
            raise UsageError(f"{self.file} is not the state of this fit; delete it or choose another file") from e
        if not ours:
            raise UsageError(f"{self.file} is of a decoder for {made_for}; delete it or choose another file")
