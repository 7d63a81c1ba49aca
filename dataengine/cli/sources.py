"""Commands about where assets come from: fetch, attribution."""

from pathlib import Path

import click

from dataengine.cli.arguments import corpus_argument, parse_shards


@click.command()
@corpus_argument
@click.option("--shard", required=True, metavar="N", help="17, or 3,9-12, or all.")
def fetch(corpus: str, shard: str) -> None:
    """Download the assets of shards ahead of rendering them. Run it again to go on after any interruption."""
    from collections import Counter

    from dataengine.assets.stage import stage
    from dataengine.corpus import Corpus

    opened = Corpus.open(corpus)
    result = stage(opened, parse_shards(shard, opened.shards()))
    click.echo(f"{result.fetched} assets are here ({result.bytes / 1e6:.1f} MB), {len(result.failures)} are not")
    for code, count in Counter(f.code for f in result.failures.values()).most_common():
        first = next(f.message for f in result.failures.values() if f.code is code)
        click.echo(f"{code}: {count}, such as {first}")


@click.command()
@corpus_argument
@click.option("--where", default=None, metavar="SQL", help="Of which assets.  [default: those that are rendered]")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Markdown file.  [default: print]"
)
def attribution(corpus: str, where: str | None, output: Path | None) -> None:
    """Write the credits that licences ask for: title, author, source and licence of each asset in use."""
    from dataengine.assets.credits import credits
    from dataengine.manifests.catalog import Catalog

    lines = credits(Catalog(corpus), where)
    if output is None:
        for line in lines:
            click.echo(line)
        return
    with output.open("w", encoding="utf-8") as f:
        f.writelines(f"{line}\n" for line in lines)
    click.echo(f"wrote {output}")


COMMANDS = [fetch, attribution]
