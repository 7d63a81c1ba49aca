"""What a run is asked for."""

from dataclasses import dataclass

from dataengine.cluster.train import TrainOptions
from dataengine.errors import UsageError
from dataengine.stages.render import RenderStage
from dataengine.stages.stage import Stage
from dataengine.stages.tokenize import token_stage

STAGES = ("fetch", "render", "tokenize", "train")


@dataclass(frozen=True)
class RunOptions:
    """How to run.

    Attributes:
        stages: which, in the order of STAGES.
        address: `auto` (a running cluster, else a local Ray), `local`, or ray://host:port.
        render_cpus: Blenders, and cores, of one render task.
        render_gpus: share of a GPU that a render task takes; 0 renders on the CPU.
        tokenizer: name, see `dataengine.tokenize.load`.
        weights: its file; None: the usual ones.
        more: stages of your own, after these.
        train: what the train stage does; not needed without it.
        gpu_per_tokenizer: share of a GPU that a tokenizer takes and keeps; 0, or a cluster without GPUs: tokenizing is
            tasks of `render_cpus` cores.
        max_in_flight: shards of a stage that are with Ray at a time; None: twice what the cluster can hold, so that a
            node never waits for work and an autoscaler sees that more is wanted.
        retries: attempts after the first before a shard is set aside.
    """

    stages: tuple[str, ...] = ("render", "tokenize")
    address: str = "auto"
    render_cpus: int = 2
    render_gpus: float = 0.0
    tokenizer: str = "small"
    weights: str | None = None
    more: tuple[Stage, ...] = ()
    train: TrainOptions | None = None
    gpu_per_tokenizer: float = 1.0
    max_in_flight: int | None = None
    retries: int = 2


def stages_of(options: RunOptions) -> list[Stage]:
    """The stages with shards of a run, in order; `fetch` and `train` have none.

    Raises:
        UsageError: if a stage or the tokenizer is unknown.
        DataengineError: if the tokenizer's file cannot be read.
    """
    if unknown := [s for s in options.stages if s not in STAGES]:
        raise UsageError(f"unknown stage {unknown[0]!r}; one of {', '.join(STAGES)}")
    stages: list[Stage] = []
    if "render" in options.stages:
        stages.append(render_stage(options))
    if "tokenize" in options.stages:
        stages.append(token_stage(options.tokenizer, options.weights))
    return [*stages, *options.more]


def render_stage(options: RunOptions) -> RenderStage:
    """Blenders of one thread each."""
    device = "auto" if options.render_gpus else "cpu"
    return RenderStage(workers=options.render_cpus, threads=1, device=device)
