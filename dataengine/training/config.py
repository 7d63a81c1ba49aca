"""What a training run is asked to do."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from dataengine.corpus.config import Frozen
from dataengine.training.data.shard_mmap import CACHE_BYTES
from dataengine.training.masking import LossWeight, MaskSchedule, TrainStage


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
    stage: TrainStage
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
    schedule: MaskSchedule = "cosine"
    weight: LossWeight = "none"
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
