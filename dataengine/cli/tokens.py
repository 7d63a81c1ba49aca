"""Commands about tokens: tokenize, detokenize, and the fit of a tokenizer."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dataengine.cli.arguments import (
    DEVICE,
    WEIGHTS_OUTPUT,
    corpus_and,
    corpus_argument,
    metrics_option,
    parse_shards,
    shard_option,
    split_words,
)
from dataengine.cli.group import Group
from dataengine.errors import UsageError
from dataengine.visible import counted

if TYPE_CHECKING:
    from dataengine.corpus.corpus import Corpus
    from dataengine.report.metrics import Metrics

TOKENS_A_SIDE = 16  # of a picture, where --resolution says nothing
TOKENIZERS = [  # those of `tokenize.model.WIDTHS`, which would bring torch along
    *("small", "small-12", "open-magvit2-256", "open-magvit2-128"),
    *("show-o", "wetok-16", "wetok-8", "llamagen-16", "llamagen-8"),
    *("ibq-16384", "ibq-262144", "emu3.5", "amused"),
]
WEIGHTS = click.option(
    "--weights",
    metavar="PATH",
    help="File, hf://owner/repository/file or small-12.  [default: those of the corpus's tokens, else the published]",
)


@click.command()
@corpus_argument
@shard_option
@click.option(
    "--images",
    multiple=True,
    metavar="TAR|FOLDER",
    help="Plan a corpus of ordinary pictures (jpg, png, webp) with their .txt, and encode it; repeatable.",
)
@click.option("-o", "--output", metavar="CORPUS", help="With --images: where that corpus goes.")
@click.option("--tokenizer", type=click.Choice(TOKENIZERS), default="small", show_default=True)
@click.option("--views", metavar="NAME", help="Of this view set.  [default: the only one]")
@click.option(
    "--name",
    metavar="NAME",
    help="What the tokens are called.  [default: the tokenizer's name; of several sets or sizes SET-TOKENIZER-PIXELS]",
)
@WEIGHTS
@click.option(
    "--use", type=click.Choice(["raw", "ema"]), help="Which of the file's weights.  [default: ema if it has them]"
)
@DEVICE
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True)
@click.option("--background", default="white", show_default=True, metavar="COLOUR", help="white, grey, black or R,G,B.")
@click.option(
    "--resolution", type=click.IntRange(min=1), metavar="PIXELS", help="Scale views down first.  [default: as rendered]"
)
@click.option(
    "--channel", default="rgba", show_default=True, help="What of the views: colour, or another channel such as normal."
)
@click.option("--checks/--no-checks", default=True, help="Measure the round trip of every view.  [default: checks]")
@click.option("--retry", is_flag=True, help="Encode the failed assets of finished shards again, and only those.")
@metrics_option
def tokenize(
    corpus: str,
    shard: str | None,
    images: tuple[str, ...],
    output: str | None,
    tokenizer: str,
    views: str | None,
    name: str | None,
    weights: str | None,
    use: str | None,
    device: str,
    dtype: str,
    background: str,
    resolution: int | None,
    channel: str,
    checks: bool,
    retry: bool,
    metrics: "Metrics | None",
) -> None:
    """Encode rendered shards into discrete tokens. Run it again to go on after any interruption."""
    from dataengine.cli.progress import run_with_progress
    from dataengine.corpus.corpus import Corpus
    from dataengine.corpus.fragments import list_fragments
    from dataengine.report.log import result, say
    from dataengine.stages.open_shard import assets_left
    from dataengine.stages.tokenize import TokenStage
    from dataengine.tokenize import load
    from dataengine.tokenize.detokenize import check_weights, weights_for
    from dataengine.tokenize.device_tokenizer import DeviceTokenizer, pick_device
    from dataengine.tokenize.images import parse_background

    if images or output:
        corpus, shard, resolution = _plan_pictures(images, output, tokenizer, resolution), shard or "all", None
    if shard is None:
        raise click.UsageError("Missing option '--shard'.")
    opened = Corpus.open(corpus)
    opened.store.check_writable()
    colour = parse_background(background)
    made_with = weights or weights_for(opened, tokenizer)
    compute = DeviceTokenizer(load(tokenizer, made_with, use=use), pick_device(device), dtype=dtype)  # type: ignore[arg-type]
    if not weights:
        check_weights(opened, compute.spec)
    plain = TokenStage.on(compute, background=colour, resolution=resolution, channel=channel, checks=checks)
    stage = plain.of(opened, views, name)
    shards = parse_shards(shard, opened.shards())
    if opened.config.of_pictures:
        _prepare_pictures(opened, shards, retry)
    there = list_fragments(opened.store, str(stage.made_from))
    rendered = [n for n in shards if n in there]
    if len(rendered) < len(shards):
        if shard != "all":
            first = next(n for n in shards if n not in there)
            raise UsageError(f"shard {first} has no views; run `dataengine render {corpus} --shard {first}` first")
        say(f"{len(shards) - len(rendered)} shards have no views yet and are left out")
    left = assets_left(opened, stage, rendered, retry=retry)
    if not left:
        result(f"nothing to do: {len(rendered)} shards have their {stage.name}")
        return
    progress = run_with_progress("tokenize", opened, stage, left, retry=retry, metrics=metrics)
    result(
        f"{counted(progress.counts['ok'], 'asset')} encoded, {progress.counts['failed']} without tokens, "
        f"in {progress.elapsed()}"
    )


def _plan_pictures(images: tuple[str, ...], output: str | None, tokenizer: str, resolution: int | None) -> str:
    """Plans the corpus of --images, says what is in it, and names it."""
    from dataengine.report.log import result, say
    from dataengine.stages.pictures import plan_pictures
    from dataengine.tokenize import build

    if not images or not output:
        raise UsageError("--images and -o go together: the pictures, and the corpus that is made of them")
    side = resolution or TOKENS_A_SIDE * build(tokenizer).spec.factor
    plan = plan_pictures(output, images, resolution=side)
    for note in plan.notes:
        say(note)
    copies = f", {plan.duplicates} more are copies" if plan.duplicates else ""
    result(f"{plan.planned} pictures in {plan.shards} shards, {plan.captioned} with a caption{copies}")
    return output


def _prepare_pictures(corpus: "Corpus", shards: list[int], retry: bool) -> None:
    """What `render` is to a corpus of models."""
    from dataengine.cli.progress import run_with_progress
    from dataengine.stages.open_shard import assets_left
    from dataengine.stages.pictures import PictureStage

    stage = PictureStage()
    if left := assets_left(corpus, stage, shards, retry=retry):
        run_with_progress("pictures", corpus, stage, left, retry=retry)


@click.command()
@corpus_and("UID")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="PNG to write.")
@click.option("--tokenizer", metavar="NAME", help="The tokens' name, under tokens/.  [default: the only ones]")
@WEIGHTS
@click.option(
    "--decoder",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Decode the views together too, by a file of `decoder fit` or `small`.",
)
@DEVICE
def detokenize(
    words: tuple[str, ...], output: Path, tokenizer: str | None, weights: str | None, decoder: Path | None, device: str
) -> None:
    """Draw an asset's views, what its tokens give back, and the difference.

    UID may be shortened, as long as one asset alone begins so.
    """
    from dataengine.corpus.corpus import Corpus
    from dataengine.corpus.output import whole_file
    from dataengine.report.asset import find_asset
    from dataengine.tokenize.detokenize import detokenize as draw
    from dataengine.tokenize.detokenize import load_for, tokens_of
    from dataengine.tokenize.device_tokenizer import DeviceTokenizer, pick_device

    corpus, uid = split_words(words, "UID")
    opened = Corpus.open(corpus)
    asset = find_asset(opened, uid)
    fragment = tokens_of(opened, asset.plan["shard"], tokenizer)
    compute = DeviceTokenizer(load_for(fragment, weights), pick_device(device))
    together = None
    if decoder is not None:
        from dataengine.training.tasks.together import decode_together

        together = decode_together(opened, fragment, asset.uid, compute.tokenizer, decoder)
    picture = draw(opened, fragment, asset.uid, compute, together)
    with whole_file(output) as file:
        picture.save(file, "png")
    click.echo(f"wrote {output}")


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


COMMANDS = [tokenize, detokenize, tokenizer, decoder]
