"""What a run is asked for. `dataengine run --help` prints the fields as options."""

from typing import TYPE_CHECKING

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from dataengine.corpus.corpus import Corpus
from dataengine.errors import UsageError
from dataengine.render.confinement import Sandbox
from dataengine.stages.stage import Stage
from dataengine.training.config import TrainConfig

if TYPE_CHECKING:
    from dataengine.stages.render import RenderStage

STAGES = ("fetch", "render", "tokenize", "train")


@dataclass(frozen=True)
class TrainOptions:
    """What to train on the cluster, and on how much of it."""

    config: TrainConfig = Field(description="Its folders mean the same on every node.")
    ranks: int | None = Field(
        default=None,
        ge=1,
        description="Processes that train on Ray.",
        json_schema_extra={"default": "one per GPU as far as they can share the batch, or 1"},
    )
    weights: str | None = Field(default=None, description="The tokenizer's, for sample sheets.")
    retries: int = Field(default=2, ge=0, description="How often it is begun again after a worker was lost.")


@dataclass(frozen=True, config=ConfigDict(arbitrary_types_allowed=True))
class RunOptions:
    """How to take a corpus through its stages on Ray, field by field."""

    stages: tuple[str, ...] = Field(default=("render", "tokenize"), description=f"Of {', '.join(STAGES)}, in order.")
    address: str = Field(
        default="auto",
        description="auto: a running Ray cluster, else this machine. local: this machine. Or HOST:PORT, ray://HOST:PORT.",
    )
    render_cpus: int = Field(default=2, ge=1, description="Blenders, and cores, of one render task.")
    render_gpus: float = Field(
        default=0.0, ge=0, le=1, description="Share of a GPU of one render task; 0: renders on the CPU."
    )
    tokenizer: str = Field(default="small", description="Which, for the tokenize stage.")
    weights: str | None = Field(
        default=None,
        description="The tokenizer's: a file that all nodes see, hf://owner/repository/file, or small-12.",
        json_schema_extra={"metavar": "FILE", "default": "those of the corpus's tokens, else the usual ones"},
    )
    views: tuple[str, ...] = Field(
        default=(), description="Only these view sets.", json_schema_extra={"default": "all", "metavar": "NAME"}
    )
    more: tuple[Stage, ...] = Field(default=(), description="Stages of your own, after these.")
    train: TrainOptions | None = Field(default=None, description="What the train stage does.")
    gpu_per_tokenizer: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Share of a GPU that a tokenizer takes and keeps; 0, or no GPUs: tasks of --render-cpus cores.",
    )
    max_in_flight: int | None = Field(
        default=None,
        ge=1,
        description="Shards of a stage that are with Ray at a time.",
        # so that a node never waits for work and an autoscaler sees that more is wanted
        json_schema_extra={"default": "twice what the cluster can hold"},
    )
    retries: int = Field(default=2, ge=0, description="Attempts after the first before a shard is set aside.")
    sandbox: Sandbox = Field(
        default="auto",
        description="What confines Blender on each node: bubblewrap too, the kernel's means, or Landlock alone. "
        "auto: the strongest there.",
    )
    accept_revision: bool = Field(
        default=False, description="Render though this version draws other pictures than the corpus was planned for."
    )


def stages_of(options: RunOptions, corpus: Corpus) -> list[Stage]:
    """The stages with shards of a run, in order; `fetch` and `train` have none.

    Raises:
        UsageError: if a stage or the tokenizer is unknown, or the corpus's tokens are of weights that nobody named.
        DataengineError: if the tokenizer's file cannot be read.
    """
    if unknown := [s for s in options.stages if s not in STAGES]:
        raise UsageError(f"unknown stage {unknown[0]!r}; one of {', '.join(STAGES)}")
    # Here: torch is not needed for the options.
    from dataengine.stages.tokenize import token_stage
    from dataengine.tokenize.detokenize import check_weights, weights_for

    stages: list[Stage] = []
    if "render" in options.stages:
        stages.append(render_stage(options, corpus))
    if "tokenize" in options.stages:
        made_with = options.weights or weights_for(corpus, options.tokenizer)
        stage = token_stage(options.tokenizer, made_with)
        if not options.weights:
            check_weights(corpus, stage.tokenizer)
        stages += [stage.of(corpus, s.name) for s in corpus.config.chosen_sets(options.views)]
    return [*stages, *options.more]


def render_stage(options: RunOptions, corpus: Corpus) -> "RenderStage":
    """Blenders of one thread each."""
    from dataengine.stages.render import RenderStage

    device = "auto" if options.render_gpus else "cpu"
    return RenderStage(
        corpus.config.chosen_sets(options.views),
        workers=options.render_cpus,
        threads=1,
        device=device,
        sandbox=options.sandbox,
        accept_revision=options.accept_revision,
    )
