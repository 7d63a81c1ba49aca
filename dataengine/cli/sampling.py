"""`dataengine sample`."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from dataengine.cli.drawing import (
    DECODER,
    DEVICE,
    SAMPLING,
    SEED,
    codec_of,
    guided_by,
    reconstruct_of,
    reconstruct_options,
)
from dataengine.cli.options import SettingsCommand, settings_options
from dataengine.cli.training import RUN, WEIGHTS
from dataengine.errors import UsageError


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
    between two images, novel-view by warping an image with its depth, edit after one view of an object was edited.
    What the two images of interpolate show in common is reconstructed; so is the depth of novel-view where none is
    given. With --reconstruct-every, splats.ply, points.ply and turntable.gif are written too.
    """
    from dataengine.tokenize.checkpoint import shipped_as
    from dataengine.tokenize.device_tokenizer import pick_device
    from dataengine.training.checkpoints import newest_stage, read_state
    from dataengine.training.config import Sampling
    from dataengine.training.reconstruct.weights import load_reconstructor
    from dataengine.training.tasks.draw import Request, draw
    from dataengine.training.tasks.requirements import STAGES_OF

    if task is None:
        if given["image"] is None and not given["prompt"]:
            raise UsageError("give --image, --prompt or both, or a --task")
        task = "i2mv" if given["image"] is not None else "t2mv"
    request = Request(
        task, **{f.name: given.pop(f.name) for f in fields(Request) if f.name in given and f.name != "task"}
    )
    geometry = task == "interpolate" or (task == "novel-view" and not request.depth and not request.corpus)
    spec = read_state(newest_stage(run, STAGES_OF[request.task])).tokenizer
    codec = codec_of(spec["name"], weights or shipped_as(spec["weights_sha256"]), device)
    chosen = str(pick_device(device))
    reconstruct = None
    if reconstruct_every is not None or not geometry:
        reconstruct = reconstruct_of(reconstruct_every, reconstruct_weight, reconstructor, chosen)
    lines = draw(
        run,
        out,
        codec,
        request,
        sampling=Sampling(**given),
        seed=seed,
        device=chosen,
        reconstruct=reconstruct,
        reconstructor=load_reconstructor(reconstructor, chosen) if geometry else None,
        decoder=guided_by(decoder, codec, spec),
    )
    for line in lines:
        click.echo(line)


COMMANDS = (sample,)
