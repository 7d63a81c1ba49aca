"""Commands about tokens: tokenize, detokenize."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dataengine.cli.arguments import (
    DEVICE,
    corpus_and,
    corpus_argument,
    metrics_option,
    parse_shards,
    shard_option,
    split_words,
)
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


COMMANDS = [tokenize, detokenize]
