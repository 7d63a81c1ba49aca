"""Options of the commands that draw with a trained model, and what they name."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dataengine.cli.options import Settings
from dataengine.errors import UsageError

if TYPE_CHECKING:
    from dataengine.training.guided import GuidedDecoding
    from dataengine.training.reconstruct.aware import Reconstruct

SAMPLING = Settings("dataengine.training.config:Sampling")

Command = Callable[..., Any]
WEIGHT = 8.0  # of a reconstruction, as sampler.Guide has it; which would bring torch along

SEED = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the draws.")
DECODER = click.option(
    "--decoder",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="Decode the views of an object together, by a file of `decoder fit` or `small`.",
)
DEVICE = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)


def reconstruct_options(command: Command) -> Command:
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


def reconstruct_of(every: int | None, weight: float, weights: str | None, device: str) -> "Reconstruct | None":
    """What --reconstruct-every asks for."""
    if every is None:
        if weights is not None:
            raise UsageError(
                "--reconstructor goes with --reconstruct-every, with --task interpolate, and with novel-view without "
                "--depth: nothing else is reconstructed"
            )
        return None
    from dataengine.training.reconstruct.aware import Reconstruct
    from dataengine.training.reconstruct.weights import load_reconstructor

    return Reconstruct(every, weight, load_reconstructor(weights, device))


def guided_by(decoder: Path | None, codec: Any, spec: Mapping[str, Any]) -> "GuidedDecoding | None":
    """What --decoder names, for the views of a run."""
    if decoder is None:
        return None
    import torch

    from dataengine.tokenize.decoder_file import load_decoder
    from dataengine.training.guided import GuidedDecoding
    from dataengine.training.sample import background_of

    return GuidedDecoding(codec, load_decoder(decoder, codec), torch.tensor(background_of(spec)) / 255)


def codec_of(name: str, weights: str | None, device: str) -> Any:
    from dataengine.tokenize import load
    from dataengine.tokenize.device_tokenizer import pick_device

    return load(name, weights).to(pick_device(device))
