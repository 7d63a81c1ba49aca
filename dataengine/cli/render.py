"""Commands that make a corpus: plan, render."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dataengine.cli.arguments import allow_private, ask, corpus_argument, metrics_option, parse_shards, shard_option
from dataengine.cli.options import Settings, SettingsCommand, settings_options
from dataengine.errors import UsageError
from dataengine.visible import counted

_FAILED = "SELECT uid FROM assets WHERE status = 'failed' AND (\n{where}\n)"

if TYPE_CHECKING:
    from dataengine.corpus.config import ViewSet
    from dataengine.report.metrics import Metrics

RENDERING = Settings(
    "dataengine.corpus.config:RenderConfig",
    leave_out=("limits", "hdris"),
    known={
        "rig": "dataengine.render.rigs:RIG_NAMES",
        "look": "dataengine.render.looks:LOOK_NAMES",
        "recipe": "dataengine.render.recipes:RECIPES",
    },
)
LIMITS = Settings("dataengine.corpus.config:Limits")
PLANNING = Settings(
    "dataengine.corpus.config:CorpusConfig", only=("captions", "where", "limit", "sample", "shard_size", "guess_up")
)


@click.command(cls=SettingsCommand)
@corpus_argument
@click.option(
    "--source",
    "sources",
    multiple=True,
    help="Where the models are: local:DIR, objaverse, hssd, csv:FILE … (docs/sources.md). Repeatable; a corpus that "
    "is planned keeps those that it has.",
)
@click.option(
    "--views",
    "words",
    multiple=True,
    metavar="NAME[=RIG][:KEY=VALUE,…]",
    help="A view set: a rig or recipe, under its own name or another, with settings of its own. Repeatable.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A file with view sets, laid out as `views:` in corpus.yaml.",
)
@settings_options(RENDERING)
@settings_options(PLANNING)
@settings_options(LIMITS)
@click.option("--yes", is_flag=True, help="Do not ask before the settings of a planned corpus change.")
@click.option("--estimate", "estimated", is_flag=True, help="Then render five assets, and say what all will take.")
@click.option("--price", type=click.FloatRange(min=0), metavar="PER-CORE-HOUR", help="With --estimate: its cost too.")
def plan(
    corpus: str,
    words: tuple[str, ...],
    config: Path | None,
    sources: tuple[str, ...] = (),
    yes: bool = False,
    estimated: bool = False,
    price: float | None = None,
    **given: Any,
) -> None:
    """Find the models, join their captions, and cut them into shards. A planned corpus needs only what changes."""
    from dataengine.cli.summary import print_estimate, print_plan
    from dataengine.corpus.corpus import Corpus
    from dataengine.report.log import result, say
    from dataengine.stages.estimate import estimate
    from dataengine.stages.plan import plan_corpus
    from dataengine.stages.plan_again import request_of

    if price is not None and not estimated:
        raise UsageError("--price goes with --estimate")
    limits = {name: given.pop(name) for name in LIMITS.names() if name in given}
    planning = {name: given.pop(name) for name in PLANNING.only if name in given}
    request = request_of(corpus, sources, given, limits, planning, _asked_sets(words, config, given))
    for change in request.changes:
        result(f"changed: {change}")
    if request.changes:
        ask(f"plan {corpus} again with these changes?", yes)
    summary = plan_corpus(corpus, sources=request.sources, render=request.render, sets=request.sets, **request.planning)
    print_plan(summary, corpus)
    if estimated:
        print_estimate(estimate(Corpus.open(corpus), say=say), price)


def _asked_sets(words: tuple[str, ...], file: Path | None, given: dict[str, Any]) -> "list[ViewSet] | None":
    """The sets that --views or --config ask for; None where neither was given."""
    from dataengine.render.view_sets import sets_of_file, sets_of_words

    if not words and file is None:
        return None
    if words and file is not None:
        raise UsageError("--views and --config both say which view sets: give one of them")
    for name in ("rig", "recipe"):
        if name in given:
            raise UsageError(f"--{name} is that of a corpus with one view set: beside --views, write --views NAME=RIG")
    return sets_of_words(words, given) if words else sets_of_file(file, given)  # type: ignore[arg-type]


@click.command(cls=SettingsCommand)
@corpus_argument
@shard_option
@click.option("--views", multiple=True, metavar="NAME", help="Only this view set. Repeatable.  [default: all]")
@click.option("--retry", is_flag=True, help="Render the failed assets of finished shards again, and only those.")
@click.option("--where", default=None, metavar="SQL", help="With --retry: only those for which this is true.")
@click.option("--workers", type=click.IntRange(min=1), default=None, help="Blender processes.  [default: one per core]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, optix, hip, metal or oneapi.")
@click.option(
    "--sandbox",
    type=click.Choice(["auto", "bwrap", "kernel", "landlock"]),
    default="auto",
    show_default=True,
    help="What confines Blender: bubblewrap too, the kernel's means, or Landlock alone. auto: the strongest here.",
)
@allow_private
@click.option(
    "--accept-revision",
    is_flag=True,
    help="Render though this version draws other pictures than the corpus was planned for.",
)
@settings_options(LIMITS)
@metrics_option
def render(
    corpus: str,
    shard: str,
    views: tuple[str, ...],
    device: str,
    sandbox: str,
    retry: bool = False,
    where: str | None = None,
    workers: int | None = None,
    accept_revision: bool = False,
    metrics: "Metrics | None" = None,
    **limits: Any,
) -> None:
    """Render shards: colour, depth and cameras of every asset. Run it again to go on after any interruption."""
    from dataengine.cli.progress import run_with_progress
    from dataengine.corpus.corpus import Corpus
    from dataengine.manifests.catalog import Catalog
    from dataengine.report.log import result
    from dataengine.stages.open_shard import assets_left
    from dataengine.stages.render import RenderStage, default_workers

    opened = Corpus.open(corpus)
    opened.store.check_writable()
    shards = parse_shards(shard, opened.shards())
    stage = RenderStage(
        opened.config.chosen_sets(views),
        workers=workers or default_workers(),
        device=device,
        sandbox=sandbox,
        accept_revision=accept_revision,
        limits=limits,
    )
    again: bool | set[str] = retry
    if where is not None:
        if not retry:
            raise UsageError("--where goes with --retry: it chooses which failed assets are rendered again")
        again = {u for (u,) in Catalog(opened).sql(_FAILED.format(where=where)).fetchall()}
    left = assets_left(opened, stage, shards, retry=again)
    if not left:
        result(f"nothing to do: {len(shards)} shards are done" + ("" if retry else " (--retry renders failures again)"))
        return
    progress = run_with_progress("render", opened, stage, left, retry=again, metrics=metrics)
    in_each = f", counted in each of {len(stage.sets)} view sets" if len(stage.sets) > 1 else ""
    result(
        f"{counted(progress.counts['ok'], 'asset')} rendered, {progress.counts['failed']} failed{in_each}, "
        f"in {progress.elapsed()}"
    )
    if progress.counts["failed"]:
        result(f'see why: dataengine query {corpus} "select uid, error, message from failures"')


@click.command("export-cameras")
@click.argument("words", nargs=-1, required=True, metavar="[CORPUS] UID")
@click.option("--to", "convention", type=click.Choice(["nerf", "blender", "opencv"]), required=True)
@click.option("--views", metavar="NAME", help="Of this view set.  [default: the only one]")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="File to write.  [default: print]"
)
def export_cameras(words: tuple[str, ...], convention: str, views: str | None, output: Path | None) -> None:
    """Write an asset's cameras for another tool, as JSON.

    UID may be shortened, as long as one asset alone begins so.
    """
    import json

    from dataengine.cli.arguments import split_words
    from dataengine.corpus.corpus import Corpus
    from dataengine.corpus.output import whole_file
    from dataengine.render.cameras import export_cameras as convert
    from dataengine.report.asset import find_asset

    corpus, uid = split_words(words, "UID")
    opened = Corpus.open(corpus)
    opened.check_models()
    asset = find_asset(opened, uid, opened.config.view_set(views).name)
    if asset.status != "ok":
        raise UsageError(f"{asset.uid} has no cameras: its status is {asset.status}")
    text = json.dumps(convert(asset.read("cameras.json"), convention), indent=1)
    if output is None:
        click.echo(text)
    else:
        with whole_file(output) as file:
            file.write(f"{text}\n".encode())
        click.echo(f"wrote {output}")


COMMANDS = [plan, render, export_cameras]
