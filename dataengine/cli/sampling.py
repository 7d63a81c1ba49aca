"""`dataengine sample`."""

from pathlib import Path
from typing import Any

import click

from dataengine.cli.drawing import DECODER, DEVICE, SAMPLING, SEED, reconstruct_options
from dataengine.cli.options import SettingsCommand, settings_options
from dataengine.cli.training import RUN, WEIGHTS


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
@click.option(
    "--depth",
    type=click.Path(path_type=Path),
    default=None,
    help="novel-view: the image's, PNG or npy.  [default: estimated]",
)
@click.option("--cameras", type=click.Path(path_type=Path), default=None, help="novel-view: JSON, the image's first.")
@click.option("--corpus", default=None, help="novel-view, edit: where the object and its depth are.")
@click.option("--uid", default=None, help="novel-view, edit: which object; may be shortened.")
@click.option("--view-set", default=None, metavar="NAME", help="novel-view, edit: of which views.  [default: the only]")
@click.option("--estimated", is_flag=True, help="novel-view: the depth is an estimate; see --doubt.")
@reconstruct_options
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("sample"), show_default=True)
@settings_options(SAMPLING)
@SEED
@WEIGHTS
@DECODER
@DEVICE
def sample(run: Path, out: Path, **given: Any) -> None:
    """Draw views of an object, and write them with their cameras.

    RUN is a run's folder, or nano or slim: models that ship. slim brings settings of the sampler that suit it. i2mv
    draws views from an image, t2mv from a prompt, interpolate between two images, novel-view by warping an image with
    its depth, edit after one view of an object was edited.
    What the two images of interpolate show in common is reconstructed; so is the depth of novel-view where none is
    given. With --reconstruct-every, splats.ply, points.ply and turntable.gif are written too.
    """
    from dataengine.api.learning import sample as draw

    for line in draw(run, out, **given):
        click.echo(line)


COMMANDS = (sample,)
