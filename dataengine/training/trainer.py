"""The trainer: one loop for one process or many, from a tokens corpus to checkpoints.

    torchrun --nproc-per-node 8 -m dataengine train RUN CORPUS --stage i2mv

Data, masks and order are functions of (seed, samples seen); weights, averages and moments are in the checkpoint. So a
run that was killed and started again is on the CPU, bit for bit, the run that was not; and any number of ranks sees the
same batches.

    RUN/<stage>/checkpoints/…   see checkpoints.py
    RUN/<stage>/metrics.jsonl   a line per step; TensorBoard files beside it
    RUN/<stage>/sheets/*.png    what the averaged weights draw for a few of its samples
"""

import math
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from dataengine.corpus.corpus import Corpus
from dataengine.manifests.catalog import Catalog
from dataengine.training import checkpoints
from dataengine.training.config import TrainConfig
from dataengine.training.contact_sheet import Codec
from dataengine.training.data.index import SampleIndex, build_index
from dataengine.training.data.stream import BEGIN, Batch, Stream, StreamState
from dataengine.training.held_out import HeldOut
from dataengine.training.masking import joined, loss_of
from dataengine.training.mixing import open_mixture
from dataengine.training.ranks import join_ranks, stop_signals
from dataengine.training.run import TrainingRun, start
from dataengine.training.sample_sheet import SampleSheet
from dataengine.training.stage_masks import stage_randoms
from dataengine.training.step_log import OnStep, StepLog
from dataengine.training.tokens_spec import tokenizer_of


@dataclass(frozen=True)
class TrainResult:
    """How a call of `train` ended: `finished`, or `stopped` by a signal after its step was saved."""

    status: Literal["finished", "stopped"]
    step: int
    checkpoint: Path


def train(config: TrainConfig, codec: Codec | None = None, on_step: OnStep = lambda step: None) -> TrainResult:
    """Trains one stage, or goes on with it. Runs alone, under torchrun, or in a worker of Ray Train.

    Args:
        config: what to do.
        codec: the corpus's tokenizer, for sample sheets; not needed to train.
        on_step: called on the first rank with each step's number, `step`, and its figures.

    Raises:
        UsageError: if the corpus, the selection or the run does not fit the request.
        DataengineError: if a shard has changed, the loss is not finite, or a checkpoint cannot be written. The last
            good checkpoint stays, and the same command goes on from it.
    """
    with join_ranks(config.device) as ranks:
        corpus = Corpus.open(config.corpus)
        catalog = Catalog(corpus)
        index = build_index(catalog, config.tokenizer, split="train", where=config.where)
        mixture = open_mixture(config, ranks.count, index)
        run = start(config, ranks, index, tokenizer_of(corpus, config.tokenizer))
        sheet, held_out = SampleSheet(index, config, codec), HeldOut(run, catalog)
        with ExitStack() as streams:
            views = _stream(run, index, config.batch - (mixture.count if mixture else 0), config.seed, run.position)
            streams.callback(views.close)
            pictures = None
            if mixture:  # of another seed, or both would draw the same shares
                pictures = _stream(run, mixture.index, mixture.count, config.seed ^ 1, run.pictures or BEGIN)
                streams.callback(pictures.close)
            with stop_signals() as stop, StepLog(run.folder, run.step, ranks, on_step) as log:
                return _loop(run, views, pictures, sheet, held_out, stop, log)


def _stream(run: TrainingRun, index: SampleIndex, batch_size: int, seed: int, state: StreamState) -> Stream:
    views, rows, columns = index.tokens_layout.shape
    return Stream(
        index,
        batch_size=batch_size,
        seed=seed,
        state=state,
        rank=run.ranks.rank,
        ranks=run.ranks.count,
        width=stage_randoms(run.config.stage, views, rows * columns),
        window=run.config.window,
        pin=run.ranks.device.type == "cuda",
        ahead=True,
        cache=run.config.cache,
        cache_bytes=run.config.cache_bytes,
    )


def _loop(
    run: TrainingRun,
    views: Stream,
    pictures: Stream | None,
    sheet: SampleSheet,
    held_out: HeldOut,
    stop: threading.Event,
    log: StepLog,
) -> TrainResult:
    config = run.config
    stopped, checkpoint = False, checkpoints.latest(config.run, config.stage) or config.run
    while run.step < config.steps and not stopped:
        batches = [next(views)] + ([next(pictures)] if pictures else [])
        rate = learning_rate(run.step, config)
        for group in run.optimizer.param_groups:
            group["lr"] = rate
        sums, tokens = _backward(run, batches)
        norm = nn.utils.clip_grad_norm_(run.model.parameters(), config.clip)
        run.optimizer.step()
        run.optimizer.zero_grad()
        run.step, run.position = run.step + 1, batches[0].state
        run.pictures = batches[1].state if pictures else None
        run.average()
        figures = _over_ranks(sums, norm, stop, run.ranks.count)
        stopped = log.line(run.step, run.position, rate, figures, tokens)
        due = run.step == config.steps or _due(run.step, config.checkpoint_every)
        if due and held_out.batches:
            log.held_out(held_out.measure(run))
        if due or stopped:
            log.read()  # never save weights whose loss was not looked at
            checkpoint = run.save(sheet.cameras)
        if _due(run.step, config.sheet_every):
            sheet.draw(run)
    return TrainResult("stopped" if run.step < config.steps else "finished", run.step, checkpoint)


def _backward(run: TrainingRun, batches: Sequence[Batch]) -> tuple[Tensor, int]:
    """Gradients of this rank's part of a batch; returns sums over micro-batches, and how many codes all ranks saw.

    Args:
        batches: the views, and the pictures where some are mixed in.

    Returns:
        (loss, nats, hidden tokens), and with pictures their (nats, hidden tokens); and the number of codes.
    """
    config, device = run.config, run.ranks.device
    seen = joined([run.inputs(batch) for batch in batches])
    local = len(seen.words)
    size = config.micro_batch or local
    pictures = torch.arange(local, device=device) >= len(batches[0].tokens)
    sums = torch.zeros(3 if len(batches) == 1 else 5, dtype=torch.float64, device=device)
    parts = local // size
    for i in range(parts):
        own = slice(i * size, (i + 1) * size)
        part = seen.part(own)
        masked = part.masked
        with run.gradient_sync(last=i == parts - 1), run.autocast():
            nll = run.network(part.words, masked.codes, part.cameras, masked.targets, masked.masked)
            loss = loss_of(nll, masked) / parts
            loss.backward()  # type: ignore[no-untyped-call]
        nats, hidden = nll.detach(), masked.masked.flatten(1).sum(1)
        found = [loss.detach(), nats.sum(), hidden.sum()]
        if len(batches) > 1:
            found += [(nats * pictures[own].repeat_interleave(hidden)).sum(), (hidden * pictures[own]).sum()]
        sums += torch.stack(found).double()
    return sums, seen.masked.codes.numel() * run.ranks.count


def _over_ranks(sums: Tensor, norm: Tensor, stop: threading.Event, ranks: int) -> Tensor:
    """(loss, nats per hidden token, norm of the gradient, whether anyone was asked to stop), on the device.

    With pictures, nats per hidden token of the views and of the pictures follow.
    """
    whole = norm.full_tensor() if isinstance(norm, DTensor) else norm
    flag = torch.tensor([float(stop.is_set())], dtype=torch.float64, device=sums.device)
    sums = torch.cat([flag, sums])
    if ranks > 1:
        dist.all_reduce(sums)
    flags, loss, nats, hidden, *pictures = sums
    apart = [(nats - pictures[0]) / (hidden - pictures[1]), pictures[0] / pictures[1]] if pictures else []
    return torch.stack([loss / ranks, nats / hidden, whole.double(), flags, *apart])


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then a cosine to a tenth."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.lr * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
