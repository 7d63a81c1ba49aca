"""Commands that show a corpus: sheet."""

from pathlib import Path

import click

from dataengine.cli.arguments import corpus_argument


@click.command()
@corpus_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("sheet.png"),
    show_default=True,
    help="PNG to write.",
)
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
    click.echo(f"wrote {output}: {len(assets)} assets{rest}")


COMMANDS = [sheet]
