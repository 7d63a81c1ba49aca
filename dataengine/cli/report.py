"""Commands that show a corpus, or a model: preview, sheet, report, serve."""

import sys
from pathlib import Path
from typing import Any

import click

from dataengine.cli.arguments import SHEET_OUTPUT, corpus_argument
from dataengine.cli.options import SettingsCommand, settings_options
from dataengine.cli.render import RENDERING
from dataengine.visible import counted

_NO_TOKENS = click.option("--no-tokens", is_flag=True, help="Leave out what the tokens decode to.")
_RUNS = click.option(
    "--run",
    "runs",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Folder of `train`, `eval` or a fit, whose curves, sheets and evaluations are shown; may be given repeatedly.",
)


@click.command()
@corpus_argument
@SHEET_OUTPUT
@click.option("--where", metavar="SQL", help="Show only assets for which this is true.")
@click.option("--sort", metavar="SQL", help="Order, such as `depth_error desc`.  [default: the corpus's]")
@click.option("--limit", type=click.IntRange(1, 2000), default=96, show_default=True, help="Most assets to show.")
@click.option("--views", metavar="NAME", help="Of this view set.  [default: the first]")
@click.option("--all-views", is_flag=True, help="All views of an asset, as a row; else the first of each.")
@click.option("--channel", metavar="NAME", help="colour, depth, normal, albedo, orm or id.  [default: colour]")
def sheet(
    corpus: str,
    output: Path,
    where: str | None,
    sort: str | None,
    limit: int,
    views: str | None,
    all_views: bool,
    channel: str | None,
) -> None:
    """A contact sheet of many assets, chosen and ordered in SQL, as one picture."""
    from dataengine.corpus.corpus import Corpus
    from dataengine.corpus.output import whole_file
    from dataengine.report.contact import check_channel, contact_sheet, select_assets

    opened = Corpus.open(corpus)
    if channel:
        check_channel(opened.config.view_set(views) if views else opened.config.sets[0], channel)
    assets, count = select_assets(opened, where=where, sort=sort, limit=limit, views=views)
    picture = contact_sheet(assets, all_views=all_views, channel=channel)
    with whole_file(output) as file:
        picture.save(file, "png")
    rest = f" of {count}: --limit shows more" if count > len(assets) else ""
    click.echo(f"wrote {output}: {counted(len(assets), 'asset')}{rest}")


@click.command()
@corpus_argument
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to write."
)
@click.option("--no-pictures", is_flag=True, help="Write the rows alone: 2 kB an asset.")
@_NO_TOKENS
@_RUNS
def report(corpus: str, output: Path, no_pictures: bool, no_tokens: bool, runs: tuple[Path, ...]) -> None:
    """Pages to browse a corpus with, as a folder that opens from disk: overview, gallery and each asset."""
    from dataengine.corpus.corpus import Corpus
    from dataengine.report.log import result, say
    from dataengine.report.progress import Counted
    from dataengine.report.site.run_folder import run_folders
    from dataengine.report.site.write import write_report

    with Counted("report", 0, "shards") as view:
        written = write_report(
            Corpus.open(corpus),
            output,
            pictures=not no_pictures,
            tokens=not no_tokens,
            runs=run_folders(runs),
            on_shard=lambda done, total: view.advance(done - view.done, total=total),
        )
    for line in written.left_out:
        say(line)
    pictures = f", {written.pictures} pictures" if written.pictures else ""
    result(f"wrote {counted(written.assets, 'asset')}{pictures}; open {output / 'index.html'}")


@click.command(cls=SettingsCommand)
@click.argument("file", type=click.Path(path_type=Path))
@SHEET_OUTPUT
@settings_options(RENDERING)
def preview(file: Path, output: Path, **settings: Any) -> None:
    """Render, check and explain one model file, without a corpus. Exit code 1 if it cannot be used."""
    from dataengine.corpus.output import whole_file
    from dataengine.report.log import result, say
    from dataengine.report.preview import preview as look_at

    found = look_at(file, settings, say=say)
    for line in found.lines:
        result(line)
    with whole_file(output) as target:
        found.image.save(target, "png")
    result(f"wrote {output}")
    if not found.ok:
        sys.exit(1)


@click.command()
@corpus_argument
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port; 0: any free one.")
@_NO_TOKENS
@_RUNS
def serve(corpus: str, port: int, no_tokens: bool, runs: tuple[Path, ...]) -> None:
    """The pages of `report` on this machine alone, read from the corpus as it is at each reload. Ctrl-C ends it."""
    from dataengine.corpus.corpus import Corpus
    from dataengine.report.site.run_folder import run_folders
    from dataengine.report.site.serve import server

    with server(Corpus.open(corpus), port, tokens=not no_tokens, runs=run_folders(runs)) as running:
        click.echo(f"http://{running.server_address[0]!s}:{running.server_address[1]}/ (Ctrl-C ends it)")
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            click.echo("stopped")


COMMANDS = [preview, sheet, report, serve]
