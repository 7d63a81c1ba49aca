"""Commands about where assets come from: fetch, attribution."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dataengine.cli.arguments import allow_private, corpus_argument, parse_shards, shard_option
from dataengine.cli.summarized import summarized

if TYPE_CHECKING:
    from dataengine.errors import AssetFailure
    from dataengine.stages.stage import Row


@click.command()
@corpus_argument
@shard_option
@allow_private
def fetch(corpus: str, shard: str) -> None:
    """Download the assets of shards ahead of rendering them. Run it again to go on after any interruption."""
    from collections import Counter

    from dataengine.cli.progress import StageProgress
    from dataengine.corpus.corpus import Corpus
    from dataengine.report.log import result
    from dataengine.stages.fetch import prefetch

    opened = Corpus.open(corpus)
    shards = parse_shards(shard, opened.shards())
    with StageProgress("fetch", sum(opened.plan(n).num_rows for n in shards), len(shards)) as progress:

        def done(row: "Row", failure: "AssetFailure | None") -> None:
            found = {"status": "ok"} if failure is None else {"error": failure.code, "message": failure.message}
            progress.asset({"uid": row["uid"], "status": "failed", **found})

        with summarized(opened.url) as summary:
            try:
                fetched = prefetch(opened, shards, on_asset=done)
            finally:
                summary.stage("fetch", 0, progress.told())
    result(f"{fetched.fetched} assets are here ({fetched.bytes / 1e6:.1f} MB), {len(fetched.failures)} are not")
    for code, count in Counter(f.code for f in fetched.failures.values()).most_common():
        first = next(f.message for f in fetched.failures.values() if f.code is code)
        result(f"{code}: {count}, such as {first}")


@click.command()
@corpus_argument
@click.option(
    "--where",
    default=None,
    metavar="SQL",
    help="SQL over `assets`: which to credit.  [default: those that are rendered]",
)
@click.option(
    "--run", type=click.Path(path_type=Path), default=None, help="Credit what the training run in RUN learned from."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Markdown file.  [default: print]"
)
def attribution(corpus: str, where: str | None, run: Path | None, output: Path | None) -> None:
    """Write the credits that licences ask for: title, author, source and licence of each asset in use."""
    from dataengine.corpus.output import whole_file
    from dataengine.manifests.catalog import Catalog
    from dataengine.sources.attribution import credits

    if run is not None:
        where = _trained_on(run) + (f" and (\n{where}\n)" if where else "")
    lines = credits(Catalog(corpus), where)
    if output is None:
        for line in lines:
            click.echo(line)
        return
    with whole_file(output) as file:
        file.writelines(f"{line}\n".encode() for line in lines)
    click.echo(f"wrote {output}")


def _trained_on(run: Path) -> str:
    """The assets whose samples the stages of a run saw, as their checkpoints tell it."""
    from dataengine.errors import UsageError
    from dataengine.training.learned import trained_on

    found = trained_on(run)
    if not found:
        raise UsageError(f"{run} has no checkpoint: it is no folder of `dataengine train`")
    return f"uid in (select uid from samples where {' or '.join(f'({f})' for f in found.values())})"


COMMANDS = [fetch, attribution]
