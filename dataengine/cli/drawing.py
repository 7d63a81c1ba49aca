"""Options of the commands that draw with a trained model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from dataengine.cli.options import Settings

SAMPLING = Settings("dataengine.training.config:Sampling")

Command = Callable[..., Any]

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
            default=None,
            help="What a reconstruction counts: the log-odds that a bit of its tokens is right, where it covers the "
            "patch.  [default: 8]",
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
