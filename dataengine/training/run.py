"""What a stage of training works on: the model, its averaged weights, the optimizer, and how far they have come."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

from dataengine.errors import UsageError
from dataengine.training import checkpoints
from dataengine.training.camera_columns import take_views
from dataengine.training.config import STAGES, TrainConfig
from dataengine.training.data.index import SampleIndex
from dataengine.training.data.stream import BEGIN, Batch, StreamState
from dataengine.training.masking import Inputs
from dataengine.training.model.config import ModelConfig, preset
from dataengine.training.model.view_model import ViewModel
from dataengine.training.ranks import Ranks
from dataengine.training.stage_masks import mask_for_stage
from dataengine.training.text import LENGTH, PAD, text_tokenizer
from dataengine.training.tokens_spec import check_tokenizer


@dataclass
class TrainingRun:
    """One stage of a run, on one rank.

    Attributes:
        config, ranks: what was asked for; this process among the others.
        tokenizer: the spec of the tokenizer whose codes it learns.
        model: whose parameters are trained; sharded in place with FSDP2.
        ema: the moving average of its weights, what sampling uses.
        network: what `forward` goes through: the model, or its data-parallel wrapper.
        optimizer: AdamW.
        step: optimizer steps done.
        position: of the data stream.
        pictures: of the stream of pictures, where some are mixed in.
        captions: hash of the samples' captions, which a checkpoint pins.
        sampling: see `RunState`.
    """

    config: TrainConfig
    ranks: Ranks
    tokenizer: Mapping[str, Any]
    model: ViewModel
    ema: ViewModel
    network: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    position: StreamState = BEGIN
    pictures: StreamState | None = None
    captions: str | None = None
    sampling: Mapping[str, Mapping[str, Any]] | None = None

    @property
    def folder(self) -> Path:
        return self.config.run / self.config.stage

    def average(self) -> None:
        """Moves the averaged weights towards the model's."""
        # The decay grows with the steps, so that the first weights are soon forgotten.
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for average, parameter in zip(self.ema.parameters(), self.model.parameters(), strict=True):
                average.lerp_(parameter, 1 - decay)

    def reshard_ema(self) -> None:
        """Leaves each rank its own part of the averaged weights, which a forward pass gathers."""
        if isinstance(self.ema, FSDPModule):
            self.ema.reshard()

    @contextmanager
    def gradient_sync(self, last: bool) -> Iterator[None]:
        """Gradients cross between ranks with the last micro-batch only."""
        if isinstance(self.network, FSDPModule):
            self.network.set_requires_gradient_sync(last)
        quiet = isinstance(self.network, DistributedDataParallel) and not last
        with self.network.no_sync() if quiet else nullcontext():  # type: ignore[operator]
            yield

    def autocast(self) -> torch.autocast:
        """bfloat16 on a GPU."""
        device = self.ranks.device.type
        return torch.autocast(device, torch.bfloat16, enabled=device == "cuda")

    def inputs(self, batch: Batch) -> Inputs:
        """What the model is shown of a batch, on its device."""
        config, device = self.config, self.ranks.device
        usual = 0.5 if config.stage in ("i2mv", "complete") else 0.1
        words = text_tokenizer().encode(batch.captions)
        tokens, cameras, uniforms, words = (
            t.to(device, non_blocking=True) for t in (batch.tokens, batch.cameras, batch.uniforms, words)
        )
        masked = mask_for_stage(
            tokens,
            uniforms,
            self.model.config.mask,
            stage=config.stage,
            seed=config.seed,
            position=batch.state,
            schedule=config.schedule,
            weight=config.weight,
            drop_text=config.drop_text if config.drop_text is not None else usual,
        )
        return Inputs(words.masked_fill(masked.drop_text[:, None], PAD), masked, take_views(cameras, masked.views))

    def save(self, cameras: list[list[float]]) -> Path:
        """Writes a checkpoint, see `checkpoints.save`. Every rank calls it.

        Args:
            cameras: (views, 30) of the rig that the run knows.
        """
        state = checkpoints.RunState(
            step=self.step,
            epoch=self.position.epoch,
            samples=self.position.samples,
            model=self.model.config,
            tokenizer=self.tokenizer,
            text=text_tokenizer().sha256,
            cameras=cameras,
            settings=self.config.model_dump(mode="json"),
            pictures=self.pictures,
            captions=self.captions,
            sampling=self.sampling,
        )
        run, stage = self.config.run, self.config.stage
        return checkpoints.save(run, stage, state, self.model, self.ema, self.optimizer, write=self.ranks.first)


def start(config: TrainConfig, ranks: Ranks, index: SampleIndex, tokenizer: Mapping[str, Any]) -> TrainingRun:
    """Builds the model and fills it from the stage's own checkpoint, the stage before, or at random.

    Raises:
        UsageError: if the checkpoint is of other tokens, its captions have changed and that is not accepted, or the
            batch cannot be divided among the ranks.
        DataengineError: if the checkpoint is damaged.
    """
    if config.batch % (ranks.count * (config.micro_batch or 1)):
        raise UsageError(
            f"a batch of {config.batch} cannot be divided among {ranks.count} ranks with micro-batches of "
            f"{config.micro_batch or config.batch // ranks.count}"
        )
    resumed = checkpoints.latest(config.run, config.stage)
    started = resumed or _stage_before(config)
    model_config = _model_config(config, index, tokenizer, started)
    if resumed and not config.accept_captions:
        _check_captions(resumed, index)
    torch.manual_seed(config.seed)
    model = ViewModel(model_config, config.checkpointing).to(ranks.device)
    ema = copy.deepcopy(model).requires_grad_(False)
    network = _distribute(config, ranks, model, ema)
    run = TrainingRun(config, ranks, tokenizer, model, ema, network, _adamw(model, config))
    run.captions = index.captions_hash
    if started:
        checkpoints.load_weights(started, model, "model" if resumed else "ema")
        checkpoints.load_weights(started, ema, "ema")
        state = checkpoints.read_state(started)
        run.sampling = state.sampling
    if resumed:
        checkpoints.load_optimizer(resumed, model, run.optimizer)
        run.step, run.position = state.step, StreamState(state.epoch, state.samples)
        run.pictures = None if state.pictures is None else StreamState(*state.pictures)
    return run


def _check_captions(checkpoint: Path, index: SampleIndex) -> None:
    """Refuses to go on with other samples or captions than those that a stage began with."""
    before = checkpoints.read_state(checkpoint).captions
    if before is not None and before != index.captions_hash:
        raise UsageError(
            f"{checkpoint} was trained on other samples or captions than the corpus has now (hash {before[:12]}…, "
            f"now {index.captions_hash[:12]}…): go on with --accept-captions, or train in a new folder"
        )


def _stage_before(config: TrainConfig) -> Path | None:
    if config.start is not None:
        return config.start
    earlier = STAGES[: STAGES.index(config.stage)]
    return next((c for s in reversed(earlier) if (c := checkpoints.latest(config.run, s))), None)


def _model_config(
    config: TrainConfig, index: SampleIndex, tokenizer: Mapping[str, Any], started: Path | None
) -> ModelConfig:
    """Of the checkpoint to start from, if it knows these tokens; of the named size where there is none."""
    _, rows, columns = index.tokens_layout.shape
    if not started:
        return preset(
            config.size,
            bits=tokenizer["bits"],
            grid=(rows, columns),
            text_vocabulary=text_tokenizer().size,
            text_length=LENGTH,
            camera=config.camera,
        )
    state = checkpoints.read_state(started)
    check_tokenizer(state, tokenizer, started)
    if state.model.grid != (rows, columns):
        raise UsageError(
            f"{started} knows views of {state.model.grid[0]}×{state.model.grid[1]} tokens, the corpus has "
            f"{rows}×{columns}: train in a new folder"
        )
    return state.model


def _distribute(config: TrainConfig, ranks: Ranks, model: ViewModel, ema: ViewModel) -> nn.Module:
    """Compiles, then shards or wraps the model; the averaged copy is sharded like it."""
    gpu = ranks.device.type == "cuda"
    if config.compile if config.compile is not None else gpu:
        for block in model.blocks:
            block.compile()
    if config.sharded:
        policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if gpu else MixedPrecisionPolicy()
        for module in (model, ema):
            for block in module.blocks:
                fully_shard(block, mp_policy=policy)
            fully_shard(module, mp_policy=policy)
        return model
    if ranks.count > 1:
        return DistributedDataParallel(model, device_ids=[ranks.device] if gpu else None)
    return model


def _adamw(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """Weight decay on matrices, none on norms, borders and the unknown code."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.95))
