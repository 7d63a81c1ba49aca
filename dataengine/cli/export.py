"""Commands that take a corpus elsewhere: export."""

from pathlib import Path

import click

from dataengine.cli.arguments import split_words


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="[CORPUS] DIR")
@click.option(
    "--as",
    "layout",
    required=True,
    metavar="LAYOUT",
    help="nerf, gobjaverse, trellis, mv-adapter, zero123, syncdreamer, instantmesh or colmap (docs/export.md).",
)
@click.option("--where", metavar="SQL", help="Export only assets for which this is true.")
@click.option("--cameras-only", is_flag=True, help="Write cameras and lists, no pictures.")
def export(words: tuple[str, ...], layout: str, where: str | None, cameras_only: bool) -> None:
    """Write rendered assets as another trainer's loader reads them. Run it again to go on after any interruption."""
    from dataengine.cli.progress import AssetProgress
    from dataengine.corpus.corpus import Corpus
    from dataengine.export.export import export_corpus

    corpus, folder = split_words(words, "DIR")
    with AssetProgress("export", 0, 0) as progress:

        def done(uid: str, total: int) -> None:
            progress.total = total
            progress.asset({"uid": uid, "status": "ok"})

        summary = export_corpus(
            Corpus.open(corpus), Path(folder), layout, where=where, cameras_only=cameras_only, on_asset=done
        )
    kept = f", {summary.kept} were there" if summary.kept else ""
    without = f"; {summary.left_out} selected assets have no views" if summary.left_out else ""
    click.echo(f"wrote {summary.written} assets to {folder} as {layout}{kept}{without}")


COMMANDS = [export]
