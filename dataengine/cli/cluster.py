"""Commands for the whole corpus: run, and what keeps a large manifest fast."""

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from dataengine.cli.arguments import allow_private, corpus_argument, metrics_option
from dataengine.cli.group import Group
from dataengine.cli.options import Settings, SettingsCommand, parse_settings, settings_options
from dataengine.cli.summarized import summarized
from dataengine.cli.training import RANKS
from dataengine.errors import UsageError

if TYPE_CHECKING:
    from dataengine.cluster.options import RunOptions, TrainOptions
    from dataengine.corpus.corpus import Corpus
    from dataengine.report.metrics import Metrics

TRAINING = Settings("dataengine.training.config:TrainConfig", leave_out=("corpus",))
RUNNING = Settings(
    "dataengine.cluster.options:RunOptions",
    leave_out=("stages", "more", "train"),
    known={"tokenizer": "dataengine.cli.tokens:TOKENIZERS"},
)


@click.command(cls=SettingsCommand)
@corpus_argument
@click.option(
    "--stages", default="render,tokenize", show_default=True, metavar="LIST", help="Of fetch,render,tokenize,train."
)
@click.option(
    "--train",
    "training",
    multiple=True,
    metavar="KEY=VALUE",
    help="For the train stage: an option of `dataengine train`, such as stage=i2mv, steps=5000 or run=FOLDER.",
)
@settings_options(RANKS)
@settings_options(RUNNING)
@allow_private
@metrics_option
def run(corpus: str, stages: str, training: tuple[str, ...], metrics: "Metrics | None", **given: Any) -> None:
    """Take the whole corpus through its stages on Ray. Run it again to go on after any interruption."""
    from rich.console import Console

    from dataengine.cluster.live import RunView, print_outcome
    from dataengine.cluster.options import RunOptions
    from dataengine.cluster.run import run as run_corpus
    from dataengine.corpus.corpus import Corpus
    from dataengine.report.log import say

    opened = Corpus.open(corpus)
    chosen = tuple(s.strip() for s in stages.split(","))
    ranks = given.pop("ranks", None)
    if (training or ranks) and "train" not in chosen:
        raise UsageError("--train and --ranks go with the stage train: add it to --stages")
    options = RunOptions(stages=chosen, **given)
    if "train" in chosen:
        options = replace(options, train=_train_options(opened, training, options, ranks))
    with RunView(metrics) as view, summarized(opened.url) as summary:
        try:
            outcome = run_corpus(opened, options, show=view.show, say=say)
            summary.more = {"aside": [{"stage": s, "shard": n, "why": why} for (s, n), why in outcome.aside.items()]}
        finally:
            if (last := view.last) is not None:
                for stage, (done, *_) in last.shards.items():
                    summary.stage(stage, done, last.counts.get(stage, {}))
    print_outcome(outcome, Console())
    if outcome.aside:
        sys.exit(1)


def _train_options(
    corpus: "Corpus", words: tuple[str, ...], options: "RunOptions", ranks: int | None
) -> "TrainOptions":
    """The train stage's settings: RUN is the corpus's folder `run`, and its tokens are the tokenize stage's."""
    from dataengine.cluster.options import TrainOptions
    from dataengine.training.config import TrainConfig

    given = {"stage": "pretrain", "tokenizer": options.tokenizer, **parse_settings(words, TRAINING, "--train")}
    folder = given.pop("run", None) or corpus.store.local_path("run")
    if folder is None:
        raise UsageError(f"{corpus.url} is remote, checkpoints are not: add --train run=FOLDER, one that all nodes see")
    config = TrainConfig(run=folder.resolve(), corpus=corpus.url, **given)
    return TrainOptions(config, ranks, options.weights, options.retries)


@click.group(cls=Group)
def manifests() -> None:
    """Care for the manifest of a large corpus."""


@manifests.command()
@corpus_argument
def compact(corpus: str) -> None:
    """Put thousands of fragments into few sorted files, so that queries stay fast. Safe while anything runs."""
    from dataengine.corpus.corpus import Corpus
    from dataengine.manifests.compact import compact as compact_corpus
    from dataengine.report.log import result, say

    done = compact_corpus(Corpus.open(corpus), progress=lambda name: say(f"  {name}"))
    result(f"{done.shards:,} shards in {done.files} files; wrote {done.rewritten}, {done.bytes / 1e6:,.1f} MB")


COMMANDS = [run, manifests]
