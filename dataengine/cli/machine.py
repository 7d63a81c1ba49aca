"""Commands about this machine: doctor, demo."""

import os
import shutil
import sys
import time
from pathlib import Path

import click

from dataengine.cli.arguments import corpus_argument
from dataengine.report.log import LOG


@click.command()
@corpus_argument
@click.option("--online", is_flag=True, help="Instead: is each hub, list and checkpoint where it was published?")
def doctor(corpus: str, online: bool) -> None:
    """System libraries, Blender, devices, sandbox, disk: what works here and what to install."""
    from rich.console import Console

    if online:
        _look_online()
        return
    from dataengine.doctor.machine import doctor as examine
    from dataengine.report.checks import print_checks

    checks = examine(Path(corpus) if "://" not in corpus else Path())
    print_checks(checks, Console())
    failed = [check.name for check in checks if check.state == "fail"]
    if failed:
        LOG.error("rendering will not work here: %s", ", ".join(failed))
        sys.exit(1)


def _look_online() -> None:
    """Exit code 1 where something moved or cannot be reached; a gate is its owner's right."""
    from rich.console import Console

    from dataengine.doctor.upstreams import look_online
    from dataengine.report.checks import print_checks

    answers = list(look_online())
    print_checks(answers, Console(), "place")
    lost = [a.name for a in answers if a.state in ("moved", "unreachable")]
    if lost:
        LOG.error("%d of %d are unavailable: %s", len(lost), len(answers), ", ".join(lost))
        sys.exit(1)


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="Folder for the models, the corpus and the pictures.",
)
def demo(out: Path) -> None:
    """The whole pipeline on a dozen models that it makes itself: render, query, tokenize, train, draw, look."""
    from dataengine.cli.evaluation import print_figures
    from dataengine.cli.progress import StepProgress, run_with_progress
    from dataengine.demo import demo as steps
    from dataengine.manifests.catalog import Catalog
    from dataengine.manifests.query_result import write_result
    from dataengine.stages.open_shard import assets_left
    from dataengine.stages.render import RenderStage

    click.echo(f"1/7  models and plan: {out}/models → {out}/corpus/plan")
    corpus = steps.prepare(out)
    stage = RenderStage(corpus.config.sets)
    left = assets_left(corpus, stage, corpus.shards(), retry=True)
    models = sum(left.values())
    click.echo(
        f"2/7  views: {models} models to render, 8 views each, colour and depth" if left else "2/7  views: done before"
    )
    if left:
        click.echo(f"     in {run_with_progress('render', corpus, stage, left, retry=True).elapsed()}")
    pictures = steps.draw_pictures(corpus, out)
    click.echo("3/7  the manifest answers in SQL:")
    catalog = Catalog(corpus)
    write_result(catalog.sql(steps.QUERY))
    click.echo(f"4/7  tokens: {steps.SIDE}² pixels per view become {(steps.SIDE // 8) ** 2} codes of 12 bits")
    tokenizer = steps.tokenize(corpus)
    click.echo("5/7  a small model goes on learning for a minute: to predict three views of an object from one")
    started = time.monotonic()
    with StepProgress("train", int(steps.LEARNING["steps"])) as view:
        checkpoint = steps.learn(corpus, out, view.step)
    click.echo(f"     {checkpoint}, in {time.monotonic() - started:.0f} s")
    click.echo("6/7  it draws the models that were kept from it:")
    drawn = steps.draw_held_out(corpus, tokenizer, out)
    print_figures(drawn.figures)
    click.echo("7/7  larger models, which ship: novel views from one view and its depth, 3D from four views")
    steps.draw_around(corpus, out)
    ok, failed = len(catalog.uids("status = 'ok'")), len(catalog.uids("status = 'failed'"))
    click.echo(
        f"""
{ok} models rendered, {failed} failed. Look at
  {pictures.everything}   all of them
  {pictures.one}   one of them: views, depth, cameras, facts
  {drawn.picture}   the models that were kept from it: true views, and what it drew from the first of them
  {out}/*-novel-views/sheet.png   what the larger one draws of them from one view and its depth
  {out}/*-reconstructed   a 3D model of each from four views: sheet.png, turntable.gif, splats.ply for viewers
  {out}/corpus/views   the shards (WebDataset tars) and their manifests (Parquet)
Go on with{activation()}
  dataengine query {out}/corpus "select uid, title, licence, bytes from assets order by bytes desc"
  dataengine inspect {out}/corpus UID -o sheet.png
  dataengine sample {out}/run --image PICTURE.png -o sample
  dataengine plan my-corpus --source local:FOLDER_OF_MODELS"""
    )
    if failed:
        sys.exit(1)


def activation() -> str:
    """What a shell has to be told before it finds `dataengine`: nothing where it does already."""
    script = Path(sys.prefix, "bin", "activate")
    if shutil.which("dataengine") or not script.exists():
        return ""
    return f", in a shell that has been told `. {os.path.relpath(script)}`:"


COMMANDS = [doctor, demo]
