"""Commands that draw with a trained model: sample, eval."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dataengine.cli.arguments import corpus_argument
from dataengine.cli.options import Settings, SettingsCommand, settings_options
from dataengine.cli.summarized import summarized
from dataengine.cli.training import RUN, WEIGHTS
from dataengine.errors import UsageError

if TYPE_CHECKING:
    from dataengine.training.guided import GuidedDecoding
    from dataengine.training.reconstruct.aware import Reconstruct

SAMPLING = Settings("dataengine.training.config:Sampling")

Command = Callable[..., Any]
WEIGHT = 8.0  # of a reconstruction, as sampler.Guide has it; which would bring torch along

_SEED = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the draws.")
_DECODER = click.option(
    "--decoder",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="Decode the views of an object together, by a file of `decoder fit` or `small`.",
)
_DEVICE = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)


def _reconstruct_options(command: Command) -> Command:
    for option in (
        click.option("--reconstructor", metavar="PATH", help="Its weights.  [default: those that ship]"),
        click.option(
            "--reconstruct-weight",
            type=click.FloatRange(min=0),
            default=WEIGHT,
            show_default=True,
            help="What a reconstruction counts: the log-odds that a bit of its tokens is right, where it covers the "
            "patch.",
        ),
        click.option(
            "--reconstruct-every",
            type=click.IntRange(min=1),
            metavar="STEPS",
            help="i2mv, t2mv: make the views agree by reconstructing them in 3D that often.",
        ),
    ):
        command = option(command)
    return command


@click.command(cls=SettingsCommand)
@RUN
@click.option(
    "--task",
    type=click.Choice(["i2mv", "t2mv", "interpolate", "novel-view", "edit"]),
    default=None,
    help="[default: i2mv with --image, else t2mv]",
)
@click.option("--image", type=click.Path(path_type=Path), default=None, help="What the first view shows; edit: edited.")
@click.option("--last", type=click.Path(path_type=Path), default=None, help="interpolate: what the last view shows.")
@click.option("--prompt", default="", help="What the object is.")
@click.option("--views", type=click.IntRange(min=1), default=4, show_default=True, help="Given ones included.")
@click.option("--turn", type=float, default=90.0, show_default=True, help="interpolate: degrees from first to last.")
@click.option("--depth", type=click.Path(path_type=Path), default=None, help="novel-view: the image's, PNG or npy.")
@click.option("--cameras", type=click.Path(path_type=Path), default=None, help="novel-view: JSON, the image's first.")
@click.option("--corpus", default=None, help="novel-view, edit: where the object and its depth are.")
@click.option("--uid", default=None, help="novel-view, edit: which object; may be shortened.")
@click.option("--view-set", default=None, metavar="NAME", help="novel-view, edit: of which views.  [default: the only]")
@click.option("--estimated", is_flag=True, help="novel-view: the depth is an estimate; see --doubt.")
@_reconstruct_options
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("sample"), show_default=True)
@settings_options(SAMPLING)
@_SEED
@WEIGHTS
@_DECODER
@_DEVICE
def sample(
    run: Path,
    task: Any,
    out: Path,
    weights: str | None,
    device: str,
    seed: int,
    reconstruct_every: int | None,
    reconstruct_weight: float,
    reconstructor: str | None,
    decoder: Path | None,
    **given: Any,
) -> None:
    """Draw views of an object, and write them with their cameras.

    RUN is a run's folder, or nano: the model that ships. i2mv draws them from an image, t2mv from a prompt, interpolate
    between two images, novel-view by warping an image with its depth, edit after one view of an object was edited. With
    --reconstruct-every, splats.ply, points.ply and turntable.gif are written too.
    """
    from dataengine.tokenize.checkpoint import shipped_as
    from dataengine.tokenize.device_tokenizer import pick_device
    from dataengine.training.checkpoints import newest_stage, read_state
    from dataengine.training.config import Sampling
    from dataengine.training.tasks.draw import Request, draw
    from dataengine.training.tasks.requirements import STAGES_OF

    if task is None:
        if given["image"] is None and not given["prompt"]:
            raise UsageError("give --image, --prompt or both, or a --task")
        task = "i2mv" if given["image"] is not None else "t2mv"
    request = Request(
        task, **{f.name: given.pop(f.name) for f in fields(Request) if f.name in given and f.name != "task"}
    )
    spec = read_state(newest_stage(run, STAGES_OF[request.task])).tokenizer
    codec = _codec(spec["name"], weights or shipped_as(spec["weights_sha256"]), device)
    chosen = str(pick_device(device))
    lines = draw(
        run,
        out,
        codec,
        request,
        sampling=Sampling(**given),
        seed=seed,
        device=chosen,
        reconstruct=_reconstruct(reconstruct_every, reconstruct_weight, reconstructor, chosen),
        decoder=_guided(decoder, codec, spec),
    )
    for line in lines:
        click.echo(line)


@click.command("eval", cls=SettingsCommand)
@RUN
@corpus_argument
@click.option(
    "--stage", type=click.Choice(["i2mv", "t2mv", "complete"]), default=None, help="[default: the run's last]"
)
@click.option(
    "--task",
    type=click.Choice(["i2mv", "t2mv"]),
    default=None,
    help="From the first view, or from the caption.  [default: what the stage was trained for; complete: i2mv]",
)
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test", "all"]),
    default="test",
    show_default=True,
    help="all: a corpus that no training saw.",
)
@click.option("--where", default=None, metavar="SQL", help="Only samples for which this is true.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=None, help="Objects at most.  [default: 64; protocols: all]"
)
@click.option(
    "--protocol",
    type=click.Choice(["gso", "3d-future"]),
    default=None,
    help="CORPUS is a folder of that set's models: render and measure them as the paper does.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    help="[default: RUN/<stage>/eval.parquet; of nano, eval-nano/eval.parquet]",
)
@click.option(
    "--resolution",
    type=click.IntRange(min=8),
    metavar="PIXELS",
    help="Scale all views down to it before they are measured.  [default: the run's own]",
)
@_reconstruct_options
@settings_options(SAMPLING)
@_SEED
@WEIGHTS
@_DECODER
@_DEVICE
def evaluate(
    run: Path,
    corpus: str,
    stage: str | None,
    task: Any,
    split: str,
    where: str | None,
    limit: int | None,
    protocol: Any,
    out: Path | None,
    weights: str | None,
    resolution: int | None,
    reconstruct_every: int | None,
    reconstruct_weight: float,
    reconstructor: str | None,
    decoder: Path | None,
    device: str,
    seed: int,
    **how: Any,
) -> None:
    """Evaluate a run on held-out objects, beside the copied reference, the training mean and the tokenizer.

    RUN is a run's folder, or nano: the model that ships.
    """
    from dataengine.corpus.corpus import CONFIG, Corpus
    from dataengine.corpus.storage import Store
    from dataengine.report.log import result, say
    from dataengine.report.progress import Counted
    from dataengine.tokenize.checkpoint import shipped_as
    from dataengine.tokenize.device_tokenizer import pick_device
    from dataengine.training.checkpoints import is_shipped
    from dataengine.training.config import STAGES, Sampling
    from dataengine.training.contact_sheet import Comparison, write_picture
    from dataengine.training.evaluation import evaluate as evaluation
    from dataengine.training.evaluation.means import means
    from dataengine.training.evaluation.metrics import find_lpips
    from dataengine.training.sample import load_run
    from dataengine.training.tokens_spec import tokens_for

    stages: Any = (stage,) if stage else STAGES[::-1]
    chosen = str(pick_device(device))
    trained = load_run(run, stages, chosen)
    spec = trained.state.tokenizer
    codec = _codec(spec["name"], weights or shipped_as(spec["weights_sha256"]), device)
    seen = Comparison()
    results = Path(f"eval-{run}") if is_shipped(run) else run
    known: Corpus | None
    if protocol:
        opened = _protocol(protocol, results, corpus, trained, codec, device)
        trained_on = trained.state.settings.get("corpus")  # the model that ships does not carry its corpus
        known = Corpus.open(trained_on) if trained_on and Store(trained_on).exists(CONFIG) else None
        if known is None:
            why = f"{trained_on} is not there any more" if trained_on else f"{run} comes without its corpus"
            say(f"the training mean is left out: {why}")
    else:
        known = opened = Corpus.open(corpus)
    with Counted("eval", 0, "objects") as view, summarized(results) as summary:

        def measured(*views: Any) -> None:
            seen.add(*views)
            view.advance()

        rows = evaluation.evaluate(
            trained,
            opened,
            codec,
            tokenizer=tokens_for(opened, trained.state),
            task=task,
            split=None if protocol or split == "all" else split,
            where=where,
            limit=limit if protocol else limit or 64,
            sampling=Sampling(**how),
            seed=seed,
            train=known,
            reconstruct=_reconstruct(reconstruct_every, reconstruct_weight, reconstructor, chosen),
            resolution=resolution,
            decoder=_guided(decoder, codec, spec),
            shapes=bool(protocol),
            on_start=lambda objects: view.advance(0, total=objects),
            on_object=measured,
        )
        figures = means(rows)
        summary.more = {"figures": figures}
    own = results if is_shipped(run) else run / trained.state.stage
    path = out or own / (f"eval-{protocol}.parquet" if protocol else "eval.parquet")
    evaluation.write(rows, path)
    write_picture(seen.sheet(), path.with_suffix(".png"))
    print_figures(figures)
    if isinstance(missing := find_lpips(), str):
        result(missing)
    result(f"one row per object and method: {path}\ntrue and drawn views: {path.with_suffix('.png')}")


def print_figures(rows: list[dict[str, Any]]) -> None:
    """A table of what `means` returns."""
    from rich.console import Console
    from rich.table import Table

    from dataengine.report.log import FILE_ONLY, LOG
    from dataengine.training.evaluation.means import METRICS

    measures = [m for m in METRICS if any(row[m] is not None for row in rows)]
    for row in rows:
        found = ", ".join(f"{m} {row[m]:.3f}" for m in measures if row[m] is not None)
        LOG.info("%s of %d objects: %s", row["method"], row["objects"], found, extra=FILE_ONLY)
    table = Table("method", "objects", *measures)
    for row in rows:
        half = row["half_widths"]
        values = (
            "–" if row[m] is None else f"{row[m]:.3f}" + ("" if half[m] is None else f" ± {half[m]:.3f}")
            for m in measures
        )
        table.add_row(row["method"], str(row["objects"]), *values)
    Console().print(table)


def _protocol(protocol: Any, results: Path, models: str, trained: Any, codec: Any, device: str) -> Any:
    from dataengine.protocol import protocol_corpus
    from dataengine.report.log import say
    from dataengine.tokenize.device_tokenizer import DeviceTokenizer, pick_device

    return protocol_corpus(
        protocol,
        models,
        results / "protocols" / protocol,
        DeviceTokenizer(codec, pick_device(device)),
        trained.state.tokenizer,
        trained.state.model.grid,
        say=say,
    )


def _reconstruct(every: int | None, weight: float, weights: str | None, device: str) -> "Reconstruct | None":
    """What --reconstruct-every asks for."""
    if every is None:
        if weights is not None:
            raise UsageError("--reconstructor goes with --reconstruct-every")
        return None
    from dataengine.training.reconstruct.aware import Reconstruct
    from dataengine.training.reconstruct.weights import load_reconstructor

    return Reconstruct(every, weight, load_reconstructor(weights, device))


def _guided(decoder: Path | None, codec: Any, spec: Mapping[str, Any]) -> "GuidedDecoding | None":
    """What --decoder names, for the views of a run."""
    if decoder is None:
        return None
    import torch

    from dataengine.tokenize.decoder_file import load_decoder
    from dataengine.training.guided import GuidedDecoding
    from dataengine.training.sample import background_of

    return GuidedDecoding(codec, load_decoder(decoder, codec), torch.tensor(background_of(spec)) / 255)


def _codec(name: str, weights: str | None, device: str) -> Any:
    from dataengine.tokenize import load
    from dataengine.tokenize.device_tokenizer import pick_device

    return load(name, weights).to(pick_device(device))


COMMANDS = (sample, evaluate)
