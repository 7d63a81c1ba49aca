"""What a run must be fit for before a task can be asked of it: said in one line, before anything is drawn."""

from typing import Literal, get_args

import torch
from torch import Tensor

from dataengine.errors import UsageError
from dataengine.training.camera_columns import HEIGHT, ORTHOGRAPHIC, WIDTH, K, c2w_of
from dataengine.training.checkpoints import RunState
from dataengine.training.config import TrainStage
from dataengine.training.contact_sheet import Codec

Task = Literal["i2mv", "t2mv", "interpolate", "novel-view", "edit"]
TASKS: tuple[Task, ...] = get_args(Task)

STAGES_OF: dict[Task, tuple[TrainStage, ...]] = {
    "i2mv": ("complete", "i2mv", "t2mv"),
    "t2mv": ("complete", "t2mv"),
    "interpolate": ("complete",),
    "novel-view": ("complete",),
    "edit": ("complete",),
}
"""The stages that make a run fit for each task, the most fitting first. t2mv's model takes a first view too."""


def check_codec(state: RunState, codec: Codec) -> None:
    """Raises UsageError if a tokenizer's codes mean nothing to the run."""
    spec = getattr(codec, "spec", None)
    if spec is None:
        return
    for key in ("bits", "weights_sha256"):  # a name may stand for other weights in another version
        if state.tokenizer.get(key) != getattr(spec, key):
            raise UsageError(
                f"the run knows tokens of {state.tokenizer['name']} ({key} {state.tokenizer.get(key)}), not "
                f"{spec.name} ({key} {getattr(spec, key)}): give its own weights with --weights"
            )


def check_cameras(state: RunState, cameras: Tensor) -> None:
    """Raises UsageError if the model cannot be told of these cameras (V, 30), and says of which it can.

    `rays` takes any. `matrix` is not told of intrinsics, `azimuth` of nothing but the direction to the camera, `none`
    of nothing: what they are not told of has to be as in training.
    """
    kind, known = state.model.camera, torch.tensor(state.cameras)
    if kind == "rays":
        return
    if kind == "none":
        if not any(_same(cameras, known[:: len(known) // n][: len(cameras)]) for n in range(1, len(known) + 1)):
            raise UsageError(
                f"the run is not told of cameras: it draws evenly spaced ones of the {len(known)} it was trained on"
            )
        return
    own, asked = (c[:, [*range(K.start, K.stop)]].clone() for c in (known, cameras))
    for numbers, rows in ((own, known), (asked, cameras)):
        numbers[:, :3] /= rows[:, WIDTH, None]
        numbers[:, 3:6] /= rows[:, HEIGHT, None]
    orthographic = cameras[:, ORTHOGRAPHIC] != known[0, ORTHOGRAPHIC]
    if orthographic.any() or not torch.allclose(asked, own[:1].expand_as(asked), atol=1e-3):
        raise UsageError(
            f"the run is told of cameras by {kind}: it takes the intrinsics and projection that it was trained on, and "
            "no others (one trained with --camera rays takes any)"
        )
    if kind == "azimuth":
        distance, usual = (c2w_of(c)[:, :3, 3].norm(dim=1) for c in (cameras, known))
        towards = -torch.nn.functional.normalize(c2w_of(cameras)[:, :3, 3], dim=1)
        looks = (towards * c2w_of(cameras)[:, :3, 2]).sum(1)
        if (looks < 0.999).any() or (distance - usual.mean()).abs().max() > 0.05 * usual.mean():
            raise UsageError(
                f"the run is told of cameras by azimuth: it takes upright cameras that look at the origin from "
                f"{usual.mean():.2f} away, and no others (one trained with --camera rays takes any)"
            )


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(c2w_of(a), c2w_of(b), atol=1e-3)
