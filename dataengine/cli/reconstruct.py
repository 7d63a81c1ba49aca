"""Commands about 3D reconstruction: reconstruct, and the fit of a reconstructor."""

from pathlib import Path

import click

from dataengine.cli.arguments import DEVICE, WEIGHTS_OUTPUT, corpus_and, split_words
from dataengine.cli.group import Group


@click.command()
@corpus_and("UID")
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("reconstruction"), show_default=True)
@click.option("--view-set", default=None, metavar="NAME", help="Of which views.  [default: the only]")
@click.option("--first", type=click.IntRange(min=0), default=0, show_default=True, help="The first of the four views.")
@click.option("--weights", default=None, metavar="PATH", help="The reconstructor's.  [default: those that ship]")
@DEVICE
def reconstruct(
    words: tuple[str, ...], out: Path, view_set: str | None, first: int, weights: str | None, device: str
) -> None:
    """Reconstruct an object in 3D from four of its rendered views, and compare it with the others.

    Writes splats.ply, points.ply, turntable.gif, the renderings at all cameras, and sheet.png beside the true views.
    UID may be shortened, as long as one asset alone begins so.
    """
    from dataengine.tokenize.device_tokenizer import pick_device
    from dataengine.training.reconstruct.outputs import write_object
    from dataengine.training.reconstruct.true_views import reconstruct_object
    from dataengine.training.reconstruct.weights import load_reconstructor

    corpus, uid = split_words(words, "UID")
    model = load_reconstructor(weights, pick_device(device))
    for line in write_object(out, reconstruct_object(corpus, uid, model, view_set=view_set, first=first)):
        click.echo(line)


@click.group(cls=Group)
def reconstructor() -> None:
    """Reconstructors of your own."""


@reconstructor.command("fit")
@click.argument("corpora", metavar="CORPUS...", nargs=-1, required=True)
@WEIGHTS_OUTPUT
@click.option("--view-set", default=None, metavar="NAME", help="Of each corpus.  [default: the only]")
@click.option("--where", metavar="SQL", help="Only assets for which this is true.")
@click.option("--from", "start", metavar="WEIGHTS", help="Begin with these: a file, or `small`.  [default: anew]")
@click.option("--resolution", type=click.IntRange(min=16), help="Scale views down to it.  [default: as rendered]")
@click.option("--steps", type=click.IntRange(min=1), default=5000, show_default=True)
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="Stop after these.  [default: never]")
@click.option("--batch", type=click.IntRange(min=1), default=4, show_default=True, help="Objects a step.")
@click.option("--lr", type=click.FloatRange(min=0, min_open=True), default=1e-3, show_default=True)
@click.option("--seed", type=click.IntRange(min=0, max=2**31 - 1), default=0, show_default=True)
@DEVICE
def fit_command(
    corpora: tuple[str, ...],
    output: Path,
    view_set: str | None,
    where: str | None,
    start: str | None,
    resolution: int | None,
    steps: int,
    seconds: float | None,
    batch: int,
    lr: float,
    seed: int,
    device: str,
) -> None:
    """Train a reconstructor on the views of corpora, with depth. Run it again to go on."""
    from dataengine.cli.progress import StepProgress
    from dataengine.machine import peak_memory
    from dataengine.report.log import result, say
    from dataengine.training.reconstruct.fit import fit
    from dataengine.training.reconstruct.fit_step import FitRecipe, Step
    from dataengine.training.reconstruct.weights import load_reconstructor

    def show(step: int, found: Step, passed: float) -> None:
        if step % 50 == 0 or step == steps:  # reading the loss waits for the device
            view.step({"step": step, "loss": float(found.loss), "memory": peak_memory()})
            say(f"  step {step} of {steps}, {passed:.0f} s: rendered views {float(found.psnr):.2f} dB")

    with StepProgress("fit", steps) as view:
        found = fit(
            corpora,
            output,
            view_set=view_set,
            where=where,
            start=load_reconstructor(start) if start else None,
            resolution=resolution,
            steps=steps,
            seconds=seconds,
            batch=batch,
            recipe=FitRecipe(learning_rate=lr, seed=seed),
            device=device,
            on_step=show,
        )
    quality = "no views are held out to measure it on" if found is None else found.line()
    result(f"wrote {output}: {quality}")


COMMANDS = (reconstruct, reconstructor)
