"""Commands that change a finished corpus: captions, remove, rebalance, merge."""

import click

from dataengine.cli.arguments import corpus_argument
from dataengine.errors import UsageError
from dataengine.visible import visible


@click.command()
@corpus_argument
@click.option(
    "--from",
    "files",
    multiple=True,
    metavar="FILE",
    help="CSV, Parquet or JSON lines with a key and a caption, cap3d, or captions/NAME: a stage's. Repeatable.",
)
@click.option("--rewrite-shards", is_flag=True, help="Put the present captions into the tars' <uid>.txt too.")
def captions(corpus: str, files: tuple[str, ...], rewrite_shards: bool) -> None:
    """Give assets other captions; nothing is rendered or tokenized again. Training reads the present ones."""
    from dataengine.corpus.corpus import Corpus
    from dataengine.stages.recaption import rewrite_captions, set_captions

    if not files and not rewrite_shards:
        raise UsageError("nothing to do: give --from FILE, --rewrite-shards, or both")
    if files:
        done = set_captions(corpus, files)
        for note in done.notes:
            click.echo(visible(f"note: {note}"))
        click.echo(f"{done.read} captions for {done.assets} assets: {done.changed} changed, {done.without} have none")
        if done.unknown:
            click.echo(visible(f"note: no asset bears the key {', '.join(done.unknown)} (and maybe others)"))
    if rewrite_shards:
        written = rewrite_captions(Corpus.open(corpus))
        click.echo(f"{written} tars written again; `dataengine verify --prune` drops those that they replace")
    elif files:
        click.echo(f"the tars keep theirs until: dataengine captions {corpus} --rewrite-shards")


COMMANDS = [captions]
