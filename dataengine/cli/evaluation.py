"""`dataengine eval`."""

import sys
from pathlib import Path
from typing import Any

import click

from dataengine.cli.arguments import corpus_argument
from dataengine.cli.drawing import DECODER, DEVICE, SAMPLING, SEED, reconstruct_options
from dataengine.cli.options import SettingsCommand, settings_options
from dataengine.cli.summarized import summarized
from dataengine.cli.training import RUN, WEIGHTS

WIDTH = 150  # that a table may have where there is no terminal


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
    help="all: the corpus is of a source that no training saw.",
)
@click.option("--tokenizer", metavar="NAME", help="Of the corpus's tokens.  [default: those that fit the run]")
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
@reconstruct_options
@settings_options(SAMPLING)
@SEED
@WEIGHTS
@DECODER
@DEVICE
def evaluate(
    run: Path,
    corpus: str,
    stage: str | None,
    task: Any,
    split: str,
    tokenizer: str | None,
    where: str | None,
    limit: int | None,
    protocol: Any,
    out: Path | None,
    weights: str | None,
    resolution: int | None,
    reconstruct_every: int | None,
    reconstruct_weight: float | None,
    reconstructor: str | None,
    decoder: Path | None,
    device: str,
    seed: int,
    **how: Any,
) -> None:
    """Evaluate a run on held-out objects, beside the copied reference, the training mean and the tokenizer.

    RUN is a run's folder, or nano or slim: models that ship. slim brings settings of the sampler that suit it.
    """
    from dataengine.corpus.corpus import Corpus
    from dataengine.report.log import result, say
    from dataengine.report.progress import Counted
    from dataengine.tokenize.device_tokenizer import pick_device
    from dataengine.training.checkpoints import is_shipped
    from dataengine.training.components import decoder_for, reconstruct_for, tokenizer_for
    from dataengine.training.config import STAGES, sampling_of, sampling_said
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
    codec = tokenizer_for(spec, weights, device)
    asked = evaluation.task_of(trained, task)
    for line in sampling_said(run, trained.state.sampling, asked, how):
        say(line)
    seen = Comparison()
    results = Path(f"eval-{run}") if is_shipped(run) else run
    opened = _protocol(protocol, results, corpus, trained, codec, device) if protocol else Corpus.open(corpus)
    held_out_whole = protocol is not None or split == "all"
    known = _trained_on(run, trained) if held_out_whole else opened
    with Counted("eval", 0, "objects") as view, summarized(results) as summary:

        def measured(*views: Any) -> None:
            seen.add(*views)
            view.advance()

        rows = evaluation.evaluate(
            trained,
            opened,
            codec,
            tokenizer=tokens_for(opened, trained.state, tokenizer),
            task=asked,
            split=None if held_out_whole else split,
            where=where,
            limit=limit if protocol else limit or 64,
            sampling=sampling_of(trained.state.sampling, asked, **how),
            seed=seed,
            train=known,
            reconstruct=reconstruct_for(reconstruct_every, reconstruct_weight, reconstructor, chosen),
            resolution=resolution,
            decoder=decoder_for(decoder, codec, spec),
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
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)


def _trained_on(run: Path, trained: Any) -> Any:
    """The corpus that a run has learned from; None, which is said, if it is not there."""
    from dataengine.corpus.corpus import CONFIG, Corpus
    from dataengine.corpus.storage import Store
    from dataengine.report.log import say

    if (url := trained.state.settings.get("corpus")) and Store(url).exists(CONFIG):
        return Corpus.open(url)
    why = f"{url} is not there any more" if url else f"{run} comes without its corpus"  # as a model that ships does
    say(f"the training mean is left out: {why}")
    return None


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


COMMANDS = (evaluate,)
