"""The log of a run: each step's figures in JSON lines and TensorBoard, and told to whoever shows them."""

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from dataengine.corpus.storage import Store
from dataengine.errors import DataengineError
from dataengine.machine import peak_memory
from dataengine.training import checkpoints
from dataengine.training.data.stream import StreamState
from dataengine.training.ranks import Ranks

APART = ("nll_views", "nll_pictures")  # where pictures are mixed in
OnStep = Callable[[Mapping[str, float]], None]


class StepLog:
    """The figures of each step, to JSON lines, TensorBoard and `on_step`, on the first rank.

    `on_step` gets, beside what is written, `tokens_rate` (of all ranks, per second) and `memory`: the most bytes that
    this process has held, where it computes on a GPU those that torch has held there.

    A step's numbers are read while the next one runs, so that looking at them stops no GPU.
    """

    def __init__(self, folder: Path, step: int, ranks: Ranks, on_step: OnStep) -> None:
        self._folder, self._ranks, self._on_step = folder, ranks, on_step
        self._waiting: tuple[int, StreamState, float, Tensor, int, float] | None = None
        self._time = time.perf_counter()
        self._held_out: float | None = None
        if not ranks.first:
            return
        folder.mkdir(parents=True, exist_ok=True)
        _forget_after(folder / "metrics.jsonl", step)
        self._file = (folder / "metrics.jsonl").open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def __enter__(self) -> "StepLog":
        return self

    def __exit__(self, *_: object) -> None:
        if self._ranks.first:
            self._file.close()
            self._board.close()

    def line(self, step: int, position: StreamState, rate: float, figures: Tensor, tokens: int) -> bool:
        """Takes a step's figures and how many tokens it saw, and reads those of the step before.

        Returns whether that one was asked to stop.
        """
        stop = self.read()
        now = time.perf_counter()
        seconds, self._time = now - self._time, now
        self._waiting = step, position, rate, figures, tokens, seconds
        return stop

    def held_out(self, nll: float) -> None:
        """Takes the nats per hidden token of held-out objects, after the step whose figures wait."""
        self._held_out = nll
        self._time = time.perf_counter()  # is not the next step's

    def read(self) -> bool:
        """Reads what waits. Raises DataengineError if the loss is not finite."""
        if self._waiting is None:
            return False
        step, position, rate, figures, tokens, seconds = self._waiting
        self._waiting = None
        loss, nll, norm, stop, *apart = figures.tolist()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            kept = checkpoints.latest(self._folder.parent, self._folder.name)
            raise DataengineError(
                f"the loss is {loss}, its gradient {norm} at step {step}: stopped. The last good checkpoint is "
                f"{kept if kept else 'none'}; try a lower --lr"
            )
        if self._ranks.first:
            values = {"loss": loss, "nll": nll, "grad_norm": norm, "lr": rate, "seconds": round(seconds, 4)}
            values |= dict(zip(APART, apart, strict=False))
            if self._held_out is not None:
                values["nll_held_out"] = self._held_out
            self._file.write(
                json.dumps({"step": step, **values, "epoch": position.epoch, "samples": position.samples}) + "\n"
            )
            self._file.flush()
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
            told = {"tokens_rate": tokens / max(seconds, 1e-9), "memory": _peak_memory(self._ranks.device)}
            self._on_step({"step": step, **values, **told})
        self._held_out = None
        return bool(stop > 0)


def _peak_memory(device: torch.device) -> float:
    return float(torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_memory())


def _forget_after(file: Path, step: int) -> None:
    """Drops the lines of steps that were done but not saved before a kill: they are done again."""
    if file.exists():
        lines = file.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if line.endswith(b"\n") and json.loads(line)["step"] <= step]
        if kept != lines:
            Store(file.parent).put(file.name, b"".join(kept))
