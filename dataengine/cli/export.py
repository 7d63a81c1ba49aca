"""Commands that take a corpus elsewhere: export, publish."""

from pathlib import Path

import click

from dataengine.cli.arguments import split_words
from dataengine.visible import counted


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="[CORPUS] DIR")
@click.option(
    "--as",
    "layout",
    required=True,
    metavar="LAYOUT",
    help="nerf, gobjaverse, trellis, mv-adapter, zero123, syncdreamer, instantmesh or colmap (docs/sharing.md).",
)
@click.option("--where", metavar="SQL", help="Export only assets for which this is true.")
@click.option("--views", metavar="NAME", help="Of this view set.  [default: the first]")
@click.option("--conditions", metavar="NAME", help="The view set of a second place: renders_cond, input.")
@click.option("--cameras-only", is_flag=True, help="Write cameras and lists, no pictures.")
def export(
    words: tuple[str, ...],
    layout: str,
    where: str | None,
    views: str | None,
    conditions: str | None,
    cameras_only: bool,
) -> None:
    """Write rendered assets as another trainer's loader reads them. Run it again to go on after any interruption."""
    from dataengine.corpus.corpus import Corpus
    from dataengine.export.export import export_corpus
    from dataengine.report.log import result
    from dataengine.report.progress import Counted

    corpus, folder = split_words(words, "DIR")
    with Counted("export") as view:
        summary = export_corpus(
            Corpus.open(corpus),
            Path(folder),
            layout,
            where=where,
            views=views,
            conditions=conditions,
            cameras_only=cameras_only,
            on_asset=lambda uid, total: view.advance(total=total),
        )
    kept = f", {summary.kept} were there" if summary.kept else ""
    without = f"; {summary.left_out} selected assets have no views" if summary.left_out else ""
    result(f"wrote {counted(summary.written, 'asset')} to {folder} as {layout}{kept}{without}")


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="[CORPUS] DIR|hf://datasets/OWNER/NAME")
@click.option("--where", metavar="SQL", help="Publish only assets for which this is true.")
@click.option("--views", metavar="NAME", help="Of this view set.  [default: the first]")
@click.option("--dry-run", is_flag=True, help="Write the folder (or say what would be uploaded), upload nothing.")
@click.option("--include-unknown-licences", is_flag=True, help="Also what nobody knows the licence of.")
@click.option("--include-non-commercial", is_flag=True, help="Also what may not be used commercially.")
@click.option("--contact", default="", help="Where owners ask that a model be taken out.  [default: its discussions]")
def publish(
    words: tuple[str, ...],
    where: str | None,
    views: str | None,
    dry_run: bool,
    include_unknown_licences: bool,
    include_non_commercial: bool,
    contact: str,
) -> None:
    """Publish rendered assets as a dataset: Parquet, card, credits and Croissant, in a folder or on the Hub."""
    from dataengine.corpus.corpus import Corpus
    from dataengine.publish.publish import publish_corpus
    from dataengine.report.log import result
    from dataengine.report.progress import Counted

    corpus, target = split_words(words, "DIR")
    with Counted("publish") as view:
        lines = publish_corpus(
            Corpus.open(corpus),
            target,
            where=where,
            views=views,
            dry_run=dry_run,
            unknown_licences=include_unknown_licences,
            non_commercial=include_non_commercial,
            contact=contact,
            on_asset=lambda uid, total: view.advance(total=total),
        )
    for line in lines:
        result(line)


COMMANDS = [export, publish]
