"""The trainer: one loop for one process or many, from a tokens corpus to checkpoints.

    torchrun --nproc-per-node 8 -m dataengine train RUN CORPUS --stage i2mv

Data, masks and order are functions of (seed, samples seen); weights, averages and moments are in the checkpoint. So a
run that was killed and started again is on the CPU, bit for bit, the run that was not; and any number of ranks sees the
same batches.

    RUN/<stage>/checkpoints/…   see checkpoints.py
    RUN/<stage>/metrics.jsonl   a line a step; TensorBoard files beside it
    RUN/<stage>/sheets/*.png    what the averaged weights draw for a few of its samples
"""

import copy
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist
from pydantic import Field
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.tensorboard import SummaryWriter

from dataengine.corpus.config import Frozen
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.storage import Store
from dataengine.errors import DataengineError, UsageError
from dataengine.manifests.catalog import Catalog
from dataengine.training import checkpoints
from dataengine.training.data.camera_columns import take_views, view_angles
from dataengine.training.data.index import Index, build_index
from dataengine.training.data.shard_mmap import CACHE_BYTES
from dataengine.training.data.stream import BEGIN, Batch, Reader, Stream
from dataengine.training.data.stream import State as Place
from dataengine.training.evaluation.contact_sheet import Codec, decode_views, sheet
from dataengine.training.masking import STAGES, VIEWS, Schedule, Stage, Weight, draws, loss_of, make_game
from dataengine.training.model import ModelConfig, ViewModel, preset
from dataengine.training.sampler import Sampling, generate
from dataengine.training.text import LENGTH, PAD, text_tokenizer


class TrainConfig(Frozen):
    """What `train` does.

    Attributes:
        run, corpus: where results go; a corpus with tokens.
        stage: pretrain, i2mv or t2mv; starts from the newest checkpoint of the stage before, where there is one.
        tokenizer, where: which of the corpus's tokens, and which samples (SQL over `samples`).
        size, azimuth: of the model; a later stage takes those of the stage before.
        start: folder of a checkpoint to start from, of any run; None: the newest one of the stage before.
        steps: optimizer steps of the whole stage.
        batch: samples of a step, over all ranks.
        micro_batch: samples a rank computes at once; the rest is accumulated. None: all.
        lr, warmup, weight_decay, clip: AdamW; the rate rises for `warmup` steps, then falls to a tenth as a cosine.
        schedule, weight: of masking, see masking.py.
        drop_text: share of samples that do not see their caption. None: 0.1, and 0.5 for i2mv, whose usual prompt is
            an image alone.
        ema: decay of the averaged weights; the first steps average less.
        window, cache, cache_bytes: of the loader, see data.py.
        compile: torch.compile of the blocks; None: on a GPU.
        checkpointing: recompute in the backward pass.
        sharded: FSDP2 instead of DDP.
        device: auto, cpu, cuda.
        checkpoint_every, sheet_every: in steps; 0 = only at the end, or never.
    """

    run: Path
    corpus: str
    stage: Stage
    tokenizer: str = "small"
    where: str | None = None
    size: str = "nano"
    azimuth: bool = True
    start: Path | None = None
    steps: int = Field(1000, ge=1)
    batch: int = Field(32, ge=1)
    micro_batch: int | None = Field(None, ge=1)
    lr: float = Field(1e-3, gt=0)
    warmup: int = Field(100, ge=0)
    weight_decay: float = Field(0.05, ge=0)
    clip: float = Field(1.0, gt=0)
    schedule: Schedule = "cosine"
    weight: Weight = "none"
    drop_text: float | None = Field(None, ge=0, le=1)
    ema: float = Field(0.999, ge=0, lt=1)
    seed: int = Field(0, ge=0, lt=2**63)
    window: int | None = Field(None, ge=1)
    cache: Path | None = None
    cache_bytes: int = CACHE_BYTES
    compile: bool | None = None
    checkpointing: bool = False
    sharded: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    checkpoint_every: int = Field(500, ge=0)
    sheet_every: int = Field(0, ge=0)


@dataclass(frozen=True)
class Ranks:
    """This process among the others."""

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        return self.rank == 0


@dataclass(frozen=True)
class Result:
    """How a call of `train` ended: `finished`, or `stopped` by a signal after its step was saved."""

    status: Literal["finished", "stopped"]
    step: int
    checkpoint: Path


OnStep = Callable[[Mapping[str, float]], None]


def train(config: TrainConfig, codec: Codec | None = None, on_step: OnStep = lambda step: None) -> Result:
    """Trains one stage, or goes on with it. Runs alone, under torchrun, or in a worker of Ray Train.

    Args:
        config: what to do.
        codec: the corpus's tokenizer, for sample sheets; not needed to train.
        on_step: called on the first rank with each step's number, `step`, and its measures.

    Raises:
        UsageError: if the corpus, the selection or the run does not fit the request.
        DataengineError: if a shard has changed, the loss is not finite, or a checkpoint cannot be written. The last
            good checkpoint stays, and the same command goes on from it.
    """
    with _ranks(config.device) as ranks:
        corpus = Corpus.open(config.corpus)
        index = build_index(Catalog(corpus), config.tokenizer, split="train", where=config.where)
        return _Run(config, ranks, index, tokenizer_of(corpus, config.tokenizer), codec).go(on_step)


def tokenizer_of(corpus: Corpus, tokenizer: str) -> dict[str, Any]:
    """The spec of the tokenizer that made a corpus's tokens, as the first fragment has it."""
    for shard in corpus.shards():
        fragment = corpus.fragment(f"tokens/{tokenizer}", shard)
        if fragment is not None:
            return dict(fragment.settings["tokenizer"])
    raise UsageError(f"{corpus.url} has no tokens of {tokenizer!r}: run `dataengine tokenize` first")


class _Run:
    def __init__(
        self, config: TrainConfig, ranks: Ranks, index: Index, tokenizer: dict[str, Any], codec: Codec | None
    ) -> None:
        self.config, self.ranks, self.index, self.tokenizer, self.codec = config, ranks, index, tokenizer, codec
        if config.batch % (ranks.count * (config.micro_batch or 1)):
            raise UsageError(
                f"a batch of {config.batch} cannot be divided among {ranks.count} ranks with micro-batches of "
                f"{config.micro_batch or config.batch // ranks.count}"
            )
        self.folder = config.run / config.stage
        reader = Reader(index)
        self.shown = reader.batch(np.linspace(0, len(index) - 1, min(4, len(index))).astype(np.int64))  # on the sheets
        self.cameras = self.shown.cameras[0].tolist()
        reader.close()
        resumed = checkpoints.latest(config.run, config.stage)
        started = resumed or _stage_before(config)
        self.model_config = self._model_config(started)
        torch.manual_seed(config.seed)
        model = ViewModel(self.model_config, config.checkpointing).to(ranks.device)
        self.model, self.ema = model, copy.deepcopy(model).requires_grad_(False)
        self.network = self._distribute(model)
        self.optimizer = _adamw(model, config)
        self.step, self.place = 0, BEGIN
        if started:
            checkpoints.load_weights(started, model, "model" if resumed else "ema")
            checkpoints.load_weights(started, self.ema, "ema")
        if resumed:
            checkpoints.load_optimizer(resumed, model, self.optimizer)
            state = checkpoints.read_state(resumed)
            self.step, self.place = state.step, Place(state.epoch, state.samples)
        self.drop_text = config.drop_text if config.drop_text is not None else 0.5 if config.stage == "i2mv" else 0.1

    def go(self, on_step: OnStep) -> Result:
        shape = self.index.tokens_layout.shape
        stream = Stream(
            self.index,
            batch_size=self.config.batch,
            seed=self.config.seed,
            state=self.place,
            rank=self.ranks.rank,
            ranks=self.ranks.count,
            width=draws(shape[0], shape[1] * shape[2]),
            window=self.config.window,
            pin=self.ranks.device.type == "cuda",
            ahead=True,
            cache=self.config.cache,
            cache_bytes=self.config.cache_bytes,
        )
        try:
            with _stop_signals() as stop, _Log(self.folder, self.step, self.config.steps, self.ranks, on_step) as log:
                return self._loop(stream, stop, log)
        finally:
            stream.close()

    def _loop(self, stream: Stream, stop: threading.Event, log: "_Log") -> Result:
        config = self.config
        stopped, checkpoint = False, checkpoints.latest(config.run, config.stage) or config.run
        while self.step < config.steps and not stopped:
            batch = next(stream)
            rate = learning_rate(self.step, config)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            measures = self._backward(batch)
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.step, self.place = self.step + 1, batch.state
            self._average()
            measures = self._over_ranks(measures, norm, stop)
            stopped = log.line(self.step, self.place, rate, measures)
            if self.step == config.steps or stopped or _due(self.step, config.checkpoint_every):
                log.read()  # never save weights whose loss was not looked at
                checkpoint = self._save()
            if _due(self.step, config.sheet_every):
                self._sheet()
        return Result("stopped" if self.step < config.steps else "finished", self.step, checkpoint)

    def _backward(self, batch: Batch) -> Tensor:
        """Gradients of this rank's part of a batch; returns (loss, nats, hidden tokens), summed over micro-batches."""
        config, device = self.config, self.ranks.device
        size = config.micro_batch or len(batch.tokens)
        parts = len(batch.tokens) // size
        text = text_tokenizer().encode(batch.captions)
        measures = torch.zeros(3, dtype=torch.float64, device=device)
        for i in range(parts):
            own = slice(i * size, (i + 1) * size)
            tokens, cameras, uniforms, words = (
                t[own].to(device, non_blocking=True) for t in (batch.tokens, batch.cameras, batch.uniforms, text)
            )
            game = make_game(
                tokens,
                uniforms,
                self.model_config.mask,
                stage=config.stage,
                schedule=config.schedule,
                weight=config.weight,
                drop_text=self.drop_text,
            )
            words = words.masked_fill(game.drop_text[:, None], PAD)
            with self._sync(last=i == parts - 1), torch.autocast(device.type, torch.bfloat16, device.type == "cuda"):
                angles = view_angles(take_views(cameras, game.views))
                nll = self.network(words, game.codes, angles, game.targets, game.masked)
                loss = loss_of(nll, game) / parts
                loss.backward()  # type: ignore[no-untyped-call]
            measures += torch.stack([loss.detach(), nll.detach().sum(), game.masked.sum()]).double()
        return measures

    def _over_ranks(self, measures: Tensor, norm: Tensor, stop: threading.Event) -> Tensor:
        """(loss, nats a hidden token, norm of the gradient, whether anyone was asked to stop), on the device."""
        whole = norm.full_tensor() if isinstance(norm, DTensor) else norm
        flag = torch.tensor([float(stop.is_set())], dtype=torch.float64, device=measures.device)
        sums = torch.cat([measures, flag])
        if self.ranks.count > 1:
            dist.all_reduce(sums)
        return torch.stack([sums[0] / self.ranks.count, sums[1] / sums[2], whole.double(), sums[3]])

    def _average(self) -> None:
        # The decay grows with the steps, so that the first weights are soon forgotten.
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for average, parameter in zip(self.ema.parameters(), self.model.parameters(), strict=True):
                average.lerp_(parameter, 1 - decay)

    @contextmanager
    def _sync(self, last: bool) -> Iterator[None]:
        """Gradients cross between ranks with the last micro-batch only."""
        if isinstance(self.network, FSDPModule):
            self.network.set_requires_gradient_sync(last)
        quiet = isinstance(self.network, DistributedDataParallel) and not last
        with self.network.no_sync() if quiet else nullcontext():  # type: ignore[operator]
            yield

    def _save(self) -> Path:
        state = checkpoints.State(
            step=self.step,
            epoch=self.place.epoch,
            samples=self.place.samples,
            model=self.model_config,
            tokenizer=self.tokenizer,
            text=text_tokenizer().sha256,
            cameras=self.cameras,
            settings=self.config.model_dump(mode="json"),
        )
        run, stage = self.config.run, self.config.stage
        return checkpoints.save(run, stage, state, self.model, self.ema, self.optimizer, write=self.ranks.first)

    def _model_config(self, started: Path | None) -> ModelConfig:
        if not started:
            return preset(
                self.config.size,
                bits=self.tokenizer["bits"],
                grid=self.index.tokens_layout.shape[1:],
                text_vocabulary=text_tokenizer().size,
                text_length=LENGTH,
                azimuth=self.config.azimuth,
            )
        state = checkpoints.read_state(started)
        check_tokenizer(state, self.tokenizer, started)
        if state.model.grid != self.index.tokens_layout.shape[1:]:
            raise UsageError(
                f"{started} knows views of {state.model.grid[0]}×{state.model.grid[1]} tokens, the corpus has "
                f"{self.index.tokens_layout.shape[1]}×{self.index.tokens_layout.shape[2]}: train in a new folder"
            )
        return state.model

    def _distribute(self, model: ViewModel) -> nn.Module:
        """Compiles, then shards or wraps the model; the averaged copy is sharded like it."""
        gpu = self.ranks.device.type == "cuda"
        if self.config.compile if self.config.compile is not None else gpu:
            for block in model.blocks:
                block.compile()
        if self.config.sharded:
            policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if gpu else MixedPrecisionPolicy()
            for module in (model, self.ema):
                for block in module.blocks:
                    fully_shard(block, mp_policy=policy)
                fully_shard(module, mp_policy=policy)
            return model
        if self.ranks.count > 1:
            return DistributedDataParallel(model, device_ids=[self.ranks.device] if gpu else None)
        return model

    def _sheet(self) -> None:
        """Draws what the averaged weights make of a few samples. Every rank takes part where weights are sharded."""
        if self.codec is None or not (self.ranks.first or self.config.sharded):
            return
        batch, device = self.shown, self.ranks.device
        count = 1 if self.config.stage == "pretrain" else VIEWS
        views = torch.arange(count) * batch.tokens.shape[1] // count
        real = batch.tokens[:, views].flatten(2)
        codes = torch.full_like(real, self.model_config.mask)
        if self.config.stage == "i2mv":
            codes[:, 0] = real[:, 0]
        text = text_tokenizer().encode(batch.captions)
        angles = view_angles(batch.cameras[:, views])
        drawn = generate(self.ema, text, codes, angles, Sampling(), seed=self.config.seed)
        if self.ranks.first:
            pairs = zip(
                *(decode_views(self.codec, c, self.model_config.grid) for c in (real.to(device), drawn)), strict=True
            )
            rows = [
                row for caption, (a, b) in zip(batch.captions, pairs, strict=True) for row in ((caption, a), ("", b))
            ]
            (self.folder / "sheets").mkdir(exist_ok=True)
            sheet(rows).save(self.folder / "sheets" / f"{self.step:08d}.png")


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then a cosine to a tenth."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.lr * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))


def check_tokenizer(state: checkpoints.State, tokenizer: Mapping[str, Any], where: Path) -> None:
    """Raises UsageError if codes of this tokenizer mean nothing to the run."""
    for key in ("name", "bits", "weights_sha256"):
        if state.tokenizer.get(key) != tokenizer.get(key):
            raise UsageError(
                f"{where} was trained on tokens of {state.tokenizer['name']} ({key} {state.tokenizer.get(key)}), "
                f"not {tokenizer['name']} ({key} {tokenizer.get(key)}): train in a new folder"
            )
    if state.text != text_tokenizer().sha256:
        raise UsageError(f"{where} was trained with another text tokenizer: another version of dataengine made it")


def _stage_before(config: TrainConfig) -> Path | None:
    if config.start is not None:
        return config.start
    earlier = STAGES[: STAGES.index(config.stage)]
    return next((c for s in reversed(earlier) if (c := checkpoints.latest(config.run, s))), None)


def _adamw(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """Weight decay on matrices, none on norms, borders and the unknown code."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.95))


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


@contextmanager
def _ranks(wanted: str) -> Iterator[Ranks]:
    """Joins the other processes, if torchrun or Ray Train started any, and leaves them at the end."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: this machine has no CUDA device that torch can use")
    gpu = wanted != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if gpu else torch.device("cpu")
    if gpu:
        torch.cuda.set_device(device)
    ours = "WORLD_SIZE" in os.environ and not dist.is_initialized()
    if ours:
        dist.init_process_group("nccl" if gpu else "gloo")
    try:
        together = dist.is_initialized()
        yield Ranks(dist.get_rank() if together else 0, dist.get_world_size() if together else 1, device)
    finally:
        if ours:
            dist.destroy_process_group()


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and Ctrl-C set; the second Ctrl-C is an ordinary one."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # a worker of Ray: Ray ends it
        yield stop
        return

    def handle(number: int, _: object) -> None:
        stop.set()
        signal.signal(number, old[signal.Signals(number)])

    old = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


class _Log:
    """The measures of each step, to JSON lines, TensorBoard and a progress bar, on the first rank.

    A step's numbers are read while the next one runs, so that looking at them stops no GPU.
    """

    def __init__(self, folder: Path, step: int, steps: int, ranks: Ranks, on_step: OnStep) -> None:
        self._folder, self._ranks, self._on_step = folder, ranks, on_step
        self._waiting: tuple[int, Place, float, Tensor] | None = None
        self._began, self._time = step, time.perf_counter()
        if not ranks.first:
            return
        folder.mkdir(parents=True, exist_ok=True)
        _forget_after(folder / "metrics.jsonl", step)
        self._file = (folder / "metrics.jsonl").open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task(folder.name, total=steps, completed=step)

    def __enter__(self) -> "_Log":
        if self._ranks.first:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._ranks.first:
            self._bar.stop()
            self._file.close()
            self._board.close()

    def line(self, step: int, place: Place, rate: float, measures: Tensor) -> bool:
        """Takes a step's measures, and reads those of the step before. Returns whether that one was asked to stop."""
        stop = self.read()
        self._waiting = step, place, rate, measures
        return stop

    def read(self) -> bool:
        """Reads what waits. Raises DataengineError if the loss is not finite."""
        if self._waiting is None:
            return False
        step, place, rate, measures = self._waiting
        self._waiting = None
        loss, nll, norm, stop = measures.tolist()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            kept = checkpoints.latest(self._folder.parent, self._folder.name)
            raise DataengineError(
                f"the loss is {loss}, its gradient {norm} at step {step}: stopped. The last good checkpoint is "
                f"{kept if kept else 'none'}; try a lower --lr"
            )
        if self._ranks.first:
            now = time.perf_counter()
            seconds, self._time = now - self._time, now
            values = {"loss": loss, "nll": nll, "grad_norm": norm, "lr": rate, "seconds": round(seconds, 4)}
            self._file.write(
                json.dumps({"step": step, **values, "epoch": place.epoch, "samples": place.samples}) + "\n"
            )
            self._file.flush()
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
            self._on_step({"step": step, **values})
            self._bar.update(self._task, completed=step, description=f"{self._folder.name} nll {nll:.3f}")
        return bool(stop > 0)


def _forget_after(file: Path, step: int) -> None:
    """Drops the lines of steps that were done but not saved before a kill: they are done again."""
    if file.exists():
        lines = file.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if line.endswith(b"\n") and json.loads(line)["step"] <= step]
        if kept != lines:
            Store(file.parent).put(file.name, b"".join(kept))
