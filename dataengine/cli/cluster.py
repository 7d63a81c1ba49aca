"""Commands for the whole corpus: run, and what keeps a large manifest fast."""

import sys

import click

from dataengine.cli.arguments import corpus_argument


@click.command()
@corpus_argument
@click.option("--stages", default="render", show_default=True, metavar="LIST", help="Of render,tokenize.")
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
    max_in_flight: int | None,
    retries: int,
) -> None:
    """Take the whole corpus through its stages on Ray, on this machine or a cluster. Run it again after anything."""
    from rich.console import Console

    from dataengine.cluster.live import RunView, print_outcome
    from dataengine.cluster.run import RunOptions
    from dataengine.cluster.run import run as run_corpus
    from dataengine.corpus import Corpus

    options = RunOptions(
        stages=tuple(s.strip() for s in stages.split(",")),
        address=address,
        render_cpus=render_cpus,
        render_gpus=render_gpus,
        tokenizer=tokenizer,
        weights=weights,
        gpu_per_tokenizer=gpu_per_tokenizer,
        max_in_flight=max_in_flight,
        retries=retries,
    )
    opened = Corpus.open(corpus)
    with RunView(Console(file=sys.stderr)) as view:
        outcome = run_corpus(opened, options, show=view.show, say=view.say)
    print_outcome(outcome, Console())
    if outcome.aside:
        sys.exit(1)


@click.group()
def manifests() -> None:
    """Care for the manifest of a large corpus."""


@manifests.command()
@corpus_argument
def compact(corpus: str) -> None:
    """Put thousands of fragments into few sorted files, so that queries stay fast. Safe while anything runs."""
    from dataengine.corpus import Corpus
    from dataengine.manifests.compact import compact as compact_corpus

    done = compact_corpus(Corpus.open(corpus), progress=lambda name: click.echo(f"  {name}"))
    click.echo(f"{done.shards:,} shards in {done.files} files; wrote {done.rewritten}, {done.bytes / 1e6:,.1f} MB")


COMMANDS = [run, manifests]
