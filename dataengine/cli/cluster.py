"""Commands for the whole corpus: run, and what keeps a large manifest fast."""

import sys
from typing import TYPE_CHECKING

import click

from dataengine.cli.arguments import RANKS, corpus_argument
from dataengine.cli.group import Group
from dataengine.cli.options import Settings, parse_settings
from dataengine.errors import UsageError

if TYPE_CHECKING:
    from dataengine.cluster.train import TrainOptions
    from dataengine.corpus.corpus import Corpus

TRAINING = Settings("dataengine.training.config:TrainConfig", leave_out=("corpus",))


@click.command()
@corpus_argument
@click.option(
    "--stages", default="render,tokenize", show_default=True, metavar="LIST", help="Of fetch,render,tokenize,train."
)
@click.option(
    "--address",
    default="auto",
    show_default=True,
    help="auto: a running Ray cluster, else this machine. local: this machine. Or ray://HOST:PORT.",
)
@click.option(
    "--render-cpus", type=click.IntRange(min=1), default=2, show_default=True, help="Blenders of one render task."
)
@click.option("--render-gpus", type=click.FloatRange(0, 1), default=0.0, help="Share of a GPU of one render task.")
@click.option("--tokenizer", default="small", show_default=True, help="Which, for the tokenize stage.")
@click.option("--weights", default=None, metavar="FILE", help="Its weights: a file that all nodes see, or hf://…")
@click.option(
    "--gpu-per-tokenizer", type=click.FloatRange(0, 1), default=1.0, show_default=True, help="0 tokenizes on CPUs."
)
@click.option(
    "--train",
    "training",
    multiple=True,
    metavar="KEY=VALUE",
    help="For the train stage: an option of `dataengine train`, such as stage=i2mv, steps=5000 or run=FOLDER.",
)
@RANKS
@click.option("--max-in-flight", type=click.IntRange(min=1), default=None, help="Shards of a stage at a time.")
@click.option(
    "--retries", type=click.IntRange(min=0), default=2, show_default=True, help="Before a shard is set aside."
)
def run(
    corpus: str,
    stages: str,
    address: str,
    render_cpus: int,
    render_gpus: float,
    tokenizer: str,
    weights: str | None,
    gpu_per_tokenizer: float,
    training: tuple[str, ...],
    ranks: int | None,
    max_in_flight: int | None,
    retries: int,
) -> None:
    """Take the whole corpus through its stages on Ray, on this machine or a cluster. Run it again after anything."""
    from rich.console import Console

    from dataengine.cluster.live import RunView, print_outcome
    from dataengine.cluster.options import RunOptions
    from dataengine.cluster.run import run as run_corpus
    from dataengine.corpus.corpus import Corpus

    opened = Corpus.open(corpus)
    chosen = tuple(s.strip() for s in stages.split(","))
    if (training or ranks) and "train" not in chosen:
        raise UsageError("--train and --ranks go with the stage train: add it to --stages")
    options = RunOptions(
        stages=chosen,
        address=address,
        render_cpus=render_cpus,
        render_gpus=render_gpus,
        tokenizer=tokenizer,
        weights=weights,
        train=_train_options(opened, training, tokenizer, weights, ranks, retries) if "train" in chosen else None,
        gpu_per_tokenizer=gpu_per_tokenizer,
        max_in_flight=max_in_flight,
        retries=retries,
    )
    with RunView(Console(file=sys.stderr)) as view:
        outcome = run_corpus(opened, options, show=view.show, say=view.say)
    print_outcome(outcome, Console())
    if outcome.aside:
        sys.exit(1)


def _train_options(
    corpus: "Corpus", words: tuple[str, ...], tokenizer: str, weights: str | None, ranks: int | None, retries: int
) -> "TrainOptions":
    """The train stage's settings: RUN is the corpus's folder `run`, and its tokens are the tokenize stage's."""
    from dataengine.cluster.train import TrainOptions
    from dataengine.training.config import TrainConfig

    given = {"stage": "pretrain", "tokenizer": tokenizer, **parse_settings(words, TRAINING, "--train")}
    folder = given.pop("run", None) or corpus.store.local_path("run")
    if folder is None:
        raise UsageError(f"{corpus.url} is remote, checkpoints are not: add --train run=FOLDER, one that all nodes see")
    config = TrainConfig(run=folder.resolve(), corpus=corpus.url, **given)
    return TrainOptions(config, ranks, weights, retries)


@click.group(cls=Group)
def manifests() -> None:
    """Care for the manifest of a large corpus."""


@manifests.command()
@corpus_argument
def compact(corpus: str) -> None:
    """Put thousands of fragments into few sorted files, so that queries stay fast. Safe while anything runs."""
    from dataengine.corpus.corpus import Corpus
    from dataengine.manifests.compact import compact as compact_corpus

    done = compact_corpus(Corpus.open(corpus), progress=lambda name: click.echo(f"  {name}"))
    click.echo(f"{done.shards:,} shards in {done.files} files; wrote {done.rewritten}, {done.bytes / 1e6:,.1f} MB")


COMMANDS = [run, manifests]
