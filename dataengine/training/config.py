"""What training and sampling are asked to do. `dataengine train --help` prints the fields as options."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field
from pydantic.dataclasses import dataclass

from dataengine.corpus.config import Frozen
from dataengine.training.model.config import SIZES, CameraInput

TrainStage = Literal["pretrain", "i2mv", "t2mv", "complete"]
MaskSchedule = Literal["uniform", "cosine", "arccos"]
LossWeight = Literal["none", "inverse"]
Method = Literal["confidence", "halton"]
Draw = Literal["codes", "bits"]
Reveal = Literal["cosine", "linear", "quadratic", "front"]

STAGES: tuple[TrainStage, ...] = get_args(TrainStage)
CACHE_BYTES = 64 << 30


class TrainConfig(Frozen):
    """What `train` does, field by field; the same names are `dataengine train`'s options."""

    run: Path = Field(description="Folder for results.")
    corpus: str = Field(description="A corpus with tokens.")
    stage: TrainStage = Field(
        description="Starts from the newest checkpoint of the stage before, where there is one, in the order named."
    )
    tokenizer: str = Field("small", description="Which of the corpus's tokens.")
    where: str | None = Field(
        None, description="Only samples for which this is true.", json_schema_extra={"metavar": "SQL"}
    )
    mix: str | None = Field(
        None,
        description="pretrain: a corpus of pictures, and their share of each batch (a half where none is named).",
        json_schema_extra={"metavar": "CORPUS[:SHARE]"},
    )
    size: str = Field(
        "nano", description=f"Of the model: {', '.join(SIZES)}. A later stage takes that of the stage before."
    )
    camera: CameraInput = Field("rays", description="How the model is told where views were taken from.")
    start: Path | None = Field(
        None,
        description="Folder of a checkpoint to start from, of any run, or the name of one that ships, such as nano.",
        json_schema_extra={"metavar": "CHECKPOINT", "default": "the stage before"},
    )
    steps: int = Field(1000, ge=1, description="Optimizer steps of the whole stage.")
    batch: int = Field(32, ge=1, description="Samples per step, over all ranks.")
    micro_batch: int | None = Field(
        None,
        ge=1,
        description="Samples that a rank computes at once; the rest is accumulated.",
        json_schema_extra={"default": "all"},
    )
    lr: float = Field(1e-3, gt=0, description="Of AdamW: rises for --warmup steps, then falls to a tenth.")
    warmup: int = Field(100, ge=0, description="Steps.")
    weight_decay: float = Field(0.05, ge=0, description="Of AdamW, on matrices.")
    clip: float = Field(1.0, gt=0, description="The gradient's greatest norm.")
    schedule: MaskSchedule = Field("cosine", description="How the share of masked tokens is drawn.")
    weight: LossWeight = Field("none", description="Of a masked token's loss; inverse: divided by the masked share.")
    drop_text: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of samples that do not see their caption.",
        json_schema_extra={"default": "0.1; 0.5 for i2mv and complete, whose usual prompt is an image alone"},
    )
    ema: float = Field(0.999, ge=0, lt=1, description="Decay of the averaged weights; the first steps average less.")
    seed: int = Field(0, ge=0, lt=2**63, description="Of weights, order and masks.")
    window: int | None = Field(
        None, ge=1, description="Shards that are shuffled together.", json_schema_extra={"default": "all"}
    )
    cache: Path | None = Field(
        None,
        description="Folder for copies of remote shards.",
        json_schema_extra={"default": "one in the system's temporary folder"},
    )
    cache_bytes: int = Field(CACHE_BYTES, ge=1, description="What that folder may hold.")
    compile: bool | None = Field(
        None, description="torch.compile of the blocks.", json_schema_extra={"default": "on a GPU"}
    )
    checkpointing: bool = Field(False, description="Recompute in the backward pass: less memory, more time.")
    sharded: bool = Field(False, description="FSDP2 instead of DDP, under torchrun.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU where there is one.")
    checkpoint_every: int = Field(500, ge=0, description="Steps; 0: only at the end.")
    sheet_every: int = Field(0, ge=0, description="Steps between sheets of drawn samples; 0: none.")
    accept_captions: bool = Field(False, description="Go on though samples or captions have changed meanwhile.")


@dataclass(frozen=True)
class Sampling:
    """How views are drawn, field by field; see sampler.py. The same names are options of `sample` and `eval`."""

    steps: int = Field(default=20, ge=1, description="Evaluations of the model; twice as many with guidance.")
    method: Method = Field(
        default="confidence",
        description="Which tokens a step decides: the surest, or a fixed scattered order.",
    )
    schedule: Reveal = Field(default="cosine", description="How many tokens a step decides.")
    temperature: float = Field(default=0.5, ge=0, description="Sampling temperature; below 1 is sharper.")
    draw: Draw = Field(
        default="codes",
        description="What the temperature sharpens: the probabilities of codes, or of each of their bits.",
    )
    noise: float = Field(default=4.5, ge=0, description="Gumbel noise on the confidence at the first step; falls to 0.")
    guidance: float = Field(default=0.0, description="g of (1 + g) · with the condition - g · without it; 0: none.")
    remask: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of tokens that each step of the second half decides anew.",
    )
    doubt_after: float = Field(
        default=0.0, ge=0, lt=1, description="Share of the steps after which doubtful given tokens are judged."
    )
    doubt: float = Field(
        default=2.0, description="Nats under the usual log-probability from which on such a token is decided anew."
    )


def sampling_of(by_task: Mapping[str, Mapping[str, Any]] | None, task: str, **given: Any) -> Sampling:
    """What is given, else what a run says of a task (see `RunState`), else the usual.

    Raises:
        pydantic.ValidationError: if a setting that is given is wrong.
    """
    return Sampling(**{**(by_task or {}).get(task, {}), **given})


def sampling_said(
    run: Path, by_task: Mapping[str, Mapping[str, Any]] | None, task: str, given: Collection[str]
) -> list[str]:
    """A line that names what a run says of a task, without the settings that are given; none where it says nothing."""
    own = [f"{name} {value}" for name, value in (by_task or {}).get(task, {}).items() if name not in given]
    return [f"sampler as suits {run}: {', '.join(own)}"] if own else []
