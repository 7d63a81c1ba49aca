"""The command that learns from a corpus: train."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dataengine.cli.arguments import corpus_argument
from dataengine.cli.options import Settings, SettingsCommand, settings_options
from dataengine.cli.summarized import summarized
from dataengine.errors import UsageError

if TYPE_CHECKING:
    from dataengine.training.config import TrainConfig

TRAINING = Settings(
    "dataengine.training.config:TrainConfig",
    leave_out=("run", "corpus"),
    flags={"start": "--from"},
)
RANKS = Settings("dataengine.cluster.options:TrainOptions", only=("ranks",))

RUN = click.argument("run", type=click.Path(path_type=Path))
WEIGHTS = click.option("--weights", default=None, metavar="PATH", help="The tokenizer's weights, if not packaged.")


@click.command(cls=SettingsCommand)
@RUN
@corpus_argument
@settings_options(TRAINING)
@click.option("--ray", "on_ray", is_flag=True, help="On a Ray cluster; RUN is then a folder that all nodes see.")
@click.option("--address", default="auto", show_default=True, help="The cluster, with --ray, as for `dataengine run`.")
@settings_options(RANKS)
@WEIGHTS
def train(
    run: Path,
    corpus: str,
    weights: str | None,
    on_ray: bool,
    address: str,
    **settings: Any,
) -> None:
    """Train one stage on the corpus's tokens, or go on with it. RUN is a local folder.

    Each stage begins where the stage before ended: pretrain, i2mv, t2mv, complete. Several processes: start it with
    torchrun, or with --ray.
    """
    from dataengine.cli.progress import StepProgress
    from dataengine.corpus.corpus import Corpus
    from dataengine.report.log import result
    from dataengine.training.checkpoints import WEIGHTS, is_shipped
    from dataengine.training.config import TrainConfig
    from dataengine.training.tokens_spec import codec_of
    from dataengine.training.trainer import train as train_stage

    ranks = settings.pop("ranks", None)
    if settings.get("start") and is_shipped(settings["start"]):
        settings["start"] = WEIGHTS / settings["start"]
    config = TrainConfig(run=run, corpus=corpus, **settings)
    if on_ray:
        _train_on_ray(config, address, ranks, weights)
        return
    if ranks is not None:
        raise UsageError("--ranks goes with --ray; without Ray, torchrun says how many")
    codec: Any = None
    if config.sheet_every:
        codec = codec_of(Corpus.open(corpus), config.tokenizer, weights, config.device)
    with StepProgress(f"train {config.stage}", config.steps) as view, summarized(run) as summary:
        try:
            trained = train_stage(config, codec, view.step)
            summary.more = {"status": trained.status, "checkpoint": str(trained.checkpoint)}
        finally:
            summary.more = {**summary.more, "last_step": dict(view.last)}
    result(f"{trained.status} at step {trained.step}: {trained.checkpoint}")


def _train_on_ray(config: "TrainConfig", address: str, ranks: int | None, weights: str | None) -> None:
    from dataengine.cluster.live import RunView
    from dataengine.cluster.options import TrainOptions
    from dataengine.cluster.run import train_only
    from dataengine.report.log import result, say

    options = TrainOptions(config, ranks, weights)
    with RunView() as view:
        trained = train_only(options, address, show=view.show, say=say)
    result(f"{trained.status} at step {trained.step}: {trained.checkpoint}")


COMMANDS = (train,)
