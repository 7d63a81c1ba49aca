"""Commands that read a corpus: status, query, inspect, verify, shards."""

import sys
from pathlib import Path

import click

from dataengine.cli.arguments import corpus_and, corpus_argument, split_words
from dataengine.errors import UsageError
from dataengine.visible import visible

WATCH_EVERY = 10
OUTPUT = click.Path(path_type=Path, dir_okay=False)


class _WatchCommand(click.Command):
    """--watch may stand without a number before CORPUS."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for place, word in enumerate(args):
            if word == "--watch" and not _is_number(args[place + 1 : place + 2]):
                args = [*args[:place], f"--watch={WATCH_EVERY}", *args[place + 1 :]]
        return super().parse_args(ctx, args)


def _is_number(words: list[str]) -> bool:
    return bool(words) and words[0].replace(".", "", 1).isdecimal()


@click.command(cls=_WatchCommand)
@corpus_argument
@click.option("--json", "as_json", is_flag=True, help="As one JSON object; with --watch, one a line.")
@click.option(
    "--watch",
    type=click.FloatRange(min=0.1),
    metavar="[SECONDS]",
    help=f"Again and again until Ctrl-C.  [default: every {WATCH_EVERY} seconds]",
)
def status(corpus: str, as_json: bool, watch: float | None) -> None:
    """Shards and assets done, failed and left, failures by kind, rate and time left."""
    import json
    import time
    from contextlib import nullcontext, suppress

    from rich.console import Console
    from rich.live import Live

    from dataengine.manifests.catalog import Catalog
    from dataengine.manifests.status import status as status_of
    from dataengine.report.status import status_json, status_tables

    console = Console()
    live = Live(console=console, auto_refresh=False) if watch and console.is_terminal and not as_json else None
    with suppress(KeyboardInterrupt) if watch else nullcontext(), live or nullcontext():
        while True:
            found = status_of(Catalog(corpus))
            if as_json:
                click.echo(json.dumps(status_json(found), indent=None if watch else 1))
            elif live:
                live.update(status_tables(found), refresh=True)
            else:
                console.print(status_tables(found))
            if watch is None:
                return
            time.sleep(watch)


@click.command()
@click.argument("words", nargs=-1, metavar="[CORPUS] SQL")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "parquet"]),
    default="table",
    show_default=True,
    help="Format of the result.",
)
@click.option("-o", "--output", type=OUTPUT, help="File to write.  [default: print]")
@click.option("--list", "listing", is_flag=True, help="Show the views, their columns, and the named queries.")
def query(words: tuple[str, ...], form: str, output: Path | None, listing: bool) -> None:
    """Ask the manifest in SQL, or by the name of a query that --list shows."""
    from rich.console import Console

    from dataengine.manifests.catalog import Catalog
    from dataengine.manifests.guard import named_queries
    from dataengine.manifests.query_result import print_named, write_result

    if listing:
        if len(words) > 1:
            raise click.UsageError("--list takes a CORPUS and no SQL")
        catalog = Catalog(*words)
        views = {name: catalog.sql(f"SELECT * FROM {name}").columns for name in catalog.VIEWS}
        print_named(named_queries(), views, Console())
        return
    if not words:
        raise click.UsageError('what is the query? For example: dataengine query CORPUS "select * from failures"')
    corpus, sql = split_words(words, "SQL")
    write_result(Catalog(corpus).sql(sql), form, output)


@click.command()
@corpus_and("UID")
@click.option("--views", metavar="NAME", help="In this view set.  [default: the first]")
@click.option("-o", "--output", type=OUTPUT, help="PNG to write, or .rrd for rerun.  [default: UID.png]")
def inspect(words: tuple[str, ...], views: str | None, output: Path | None) -> None:
    """One asset's views, depth and cameras as one picture, or in 3D for rerun; and its row.

    UID may be shortened, as long as one asset alone begins so.
    """
    from dataengine.corpus.corpus import Corpus
    from dataengine.report.inspect import inspect_asset

    corpus, uid = split_words(words, "UID")
    inspection = inspect_asset(Corpus.open(corpus), uid, views)
    output = output or Path(f"{inspection.uid}.png")
    inspection.save(output)
    click.echo(visible(inspection.text))
    click.echo(f"wrote {output}")


@click.command()
@corpus_argument
@click.option(
    "--prune",
    is_flag=True,
    help="Delete tars that no fragment names and that are too old to belong to a running commit.",
)
def verify(corpus: str, prune: bool) -> None:
    """Compare every tar member with its fragment's hash and range. Exit code 1 on any difference."""
    from dataengine.corpus.corpus import Corpus
    from dataengine.corpus.verify import verify as verify_corpus

    found = verify_corpus(Corpus.open(corpus), prune=prune)
    for difference in found.differences:
        click.echo(visible(str(difference)))
    for name in found.garbage:
        click.echo(f"{name}: no fragment names it" + (", pruned" if name in found.pruned else "; --prune drops it"))
    verdict = f"{len(found.differences)} differences" if found.differences else "all as written"
    click.echo(f"{found.fragments} fragments, {found.members} members, {found.bytes / 1e6:.1f} MB: {verdict}")
    if found.differences:
        sys.exit(1)


@click.command()
@click.argument("words", nargs=-1, metavar="[CORPUS] STAGE")
@click.option("--count", is_flag=True, help="Print how many shards the plan has, for the size of a job array.")
@click.option(
    "--signed",
    type=click.FloatRange(min=0, min_open=True),
    metavar="HOURS",
    help="https URLs that anybody can read for so long: webdataset has no reader for s3://.",
)
def shards(words: tuple[str, ...], count: bool, signed: float | None) -> None:
    """The URLs of a stage's tars in order: `views`, `views/SET` or `tokens/NAME`. For webdataset and other readers."""
    from dataengine.corpus.corpus import Corpus
    from dataengine.corpus.fragments import list_stages

    if count:
        if len(words) > 1 or signed is not None:
            raise click.UsageError("--count takes a CORPUS and nothing else")
        click.echo(max(Corpus.open(*words).shards(), default=-1) + 1)
        return
    if not words:
        raise click.UsageError("which stage: views, or tokens/NAME?")
    corpus, stage = split_words(words, "STAGE")
    opened = Corpus.open(corpus)
    stages = list_stages(opened.store)
    if stage == "views" and len(opened.config.sets) > 1:
        raise UsageError(f"{opened.url} has several view sets: say {' or '.join(s.stage for s in opened.config.sets)}")
    stage = opened.config.sets[0].stage if stage == "views" else stage
    if stage not in {*stages, *(s.stage for s in opened.config.sets)}:
        raise UsageError(f"{opened.url} has no stage {stage!r} (there are: {', '.join(stages) or 'none yet'})")
    for url in opened.tars(stage, None if signed is None else max(round(signed * 3600), 1)):
        click.echo(url)


COMMANDS = [status, query, inspect, verify, shards]
