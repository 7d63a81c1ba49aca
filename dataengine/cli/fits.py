"""Fits of what tokens are made and read with: tokenizers and decoders."""

from pathlib import Path

import click

from dataengine.cli.arguments import DEVICE, WEIGHTS_OUTPUT
from dataengine.cli.group import Group
from dataengine.cli.tokens import TOKENIZERS
from dataengine.errors import UsageError


@click.group(cls=Group)
def tokenizer() -> None:
    """Tokenizers of your own, from nothing or from a published one."""


@tokenizer.command("fit")
@click.argument("views", metavar="CORPUS|FOLDER...", nargs=-1, required=True)
@WEIGHTS_OUTPUT
@click.option("--tokenizer", "name", type=click.Choice(TOKENIZERS), default="small", show_default=True)
@click.option(
    "--width", multiple=True, metavar="NAME=VALUE", help="Of the network, such as bits=16 or ch_mult=1,2; repeatable."
)
@click.option(
    "--from", "start", metavar="CHECKPOINT", help="Weights to begin with: a file, hf://owner/repository/file or a name."
)
@click.option(
    "--use", type=click.Choice(["raw", "ema"]), help="Which of that file's weights.  [default: ema if it has them]"
)
@click.option("--resolution", type=click.IntRange(min=16), default=128, show_default=True, help="Scale views to it.")
@click.option("--steps", type=click.IntRange(min=1), default=10_000, show_default=True)
@click.option("--batch", type=click.IntRange(min=1), default=8, show_default=True, help="Squares of half a view, each.")
@click.option("--lr", type=click.FloatRange(min=0, min_open=True), help="[default: 1e-3, with --from 1e-4]")
@DEVICE
def fit_command(
    views: tuple[str, ...],
    output: Path,
    name: str,
    width: tuple[str, ...],
    start: str | None,
    use: str | None,
    resolution: int,
    steps: int,
    batch: int,
    lr: float | None,
    device: str,
) -> None:
    """Train a tokenizer on the views of corpora, or on FOLDER/<model>/<view>.png. Run it again to go on."""
    from dataengine.cli.progress import StepProgress
    from dataengine.machine import peak_memory
    from dataengine.report.log import result, say
    from dataengine.tokenize.fit import Progress, fit
    from dataengine.tokenize.fit_step import FitSettings

    def show(progress: Progress) -> None:
        view.step({"step": progress.step, "loss": progress.loss, "memory": peak_memory()})
        if progress.quality is not None:
            say(f"  step {progress.step} of {steps}, {progress.seconds:.0f} s: {progress.quality}")

    recipe = FitSettings(
        batch=batch, resolution=resolution, crop=resolution // 2, learning_rate=lr or (1e-4 if start else 1e-3)
    )
    with StepProgress("fit", steps) as view:
        fitted = fit(
            views,
            output,
            tokenizer=name,
            widths=_widths(width),
            start=start,
            use=use,  # type: ignore[arg-type]
            steps=steps,
            device=device,
            recipe=recipe,
            on_step=show,
        )
    result(f"wrote {output}: {fitted.quality}; {fitted.verdict}")


def _widths(options: tuple[str, ...]) -> dict[str, int | tuple[int, ...]]:
    """`bits=16`, `ch_mult=1,2` → numbers and tuples of them. Raises UsageError for anything else."""
    found: dict[str, int | tuple[int, ...]] = {}
    for option in options:
        name, equals, value = option.partition("=")
        numbers = value.split(",")
        if not equals or not all(n.isascii() and n.isdecimal() and int(n) for n in numbers):
            raise UsageError(f"--width {option} is not NAME=NUMBER or NAME=NUMBER,NUMBER…")
        found[name] = int(value) if len(numbers) == 1 else tuple(int(n) for n in numbers)
    return found


@click.group(cls=Group)
def decoder() -> None:
    """Decoders that see all views of an object at once, guided by depth (docs/decoder.md)."""


@decoder.command("fit")
@click.argument("corpora", metavar="CORPUS...", nargs=-1, required=True)
@WEIGHTS_OUTPUT
@click.option("--tokenizer", "name", type=click.Choice(TOKENIZERS), default="small", show_default=True)
@click.option("--weights", metavar="PATH", help="The tokenizer's: a file or hf://owner/repository/file.")
@click.option("--view-set", multiple=True, metavar="NAME", help="Repeatable.  [default: all with colour]")
@click.option("--where", metavar="SQL", help="Only assets for which this is true.")
@click.option("--resolution", type=click.IntRange(min=16), help="Scale views to it.  [default: as rendered]")
@click.option("--views", type=click.IntRange(min=2), default=6, show_default=True, help="Of a sample, at most.")
@click.option("--steps", type=click.IntRange(min=1), default=4000, show_default=True)
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Objects per step.")
@click.option("--lr", type=click.FloatRange(min=0, min_open=True), default=1e-3, show_default=True)
@click.option(
    "--attention/--no-attention",
    "attend",
    default=True,
    show_default=True,
    help="Let views attend to each other at every level of the decoder; or add only what comes after it.",
)
@click.option(
    "--from",
    "start",
    type=click.Path(path_type=Path),
    metavar="DECODER",
    help="Begin with these weights: a file, or `small`.  [default: anew]",
)
@DEVICE
def decoder_fit(
    corpora: tuple[str, ...],
    output: Path,
    name: str,
    weights: str | None,
    view_set: tuple[str, ...],
    where: str | None,
    resolution: int | None,
    views: int,
    steps: int,
    batch: int,
    lr: float,
    attend: bool,
    start: Path | None,
    device: str,
) -> None:
    """Train a depth-guided decoder for the tokens of a tokenizer. Run it again to go on."""
    from dataengine.cli.progress import StepProgress
    from dataengine.machine import peak_memory
    from dataengine.report.log import result, say
    from dataengine.tokenize import load
    from dataengine.tokenize.decoder_file import load_decoder
    from dataengine.tokenize.decoder_fit import DecoderProgress, fit_decoder
    from dataengine.tokenize.decoder_step import DecoderSettings
    from dataengine.tokenize.device_tokenizer import pick_device
    from dataengine.training.decoder_corpora import open_streams

    def show(progress: DecoderProgress) -> None:
        view.step({"step": progress.step, "loss": progress.loss, "memory": peak_memory()})
        if progress.quality is not None:
            say(f"  step {progress.step} of {steps}, {progress.seconds:.0f} s: {progress.quality}")

    tokenizer = load(name, weights).to(pick_device(device))
    streams = open_streams(corpora, view_set, where=where, resolution=resolution, batch=batch)
    recipe = DecoderSettings(views=views, learning_rate=lr)
    with StepProgress("fit", steps) as view:
        quality = fit_decoder(
            tokenizer,
            streams.batches,
            streams.held_out(),
            output,
            steps=steps,
            recipe=recipe,
            attend=attend,
            start=load_decoder(start, tokenizer) if start else None,
            on_step=show,
        )
    result(f"wrote {output}: {quality}")


COMMANDS = [tokenizer, decoder]
