"""The views between two that are given."""

import math

import torch
from torch import Tensor

from dataengine.errors import UsageError
from dataengine.training.camera_columns import C2W, c2w_of
from dataengine.training.config import Sampling
from dataengine.training.contact_sheet import Codec
from dataengine.training.sample import Trained
from dataengine.training.tasks.complete import complete


def interpolate(
    trained: Trained, codec: Codec, first: Tensor, last: Tensor, cameras: Tensor, *, sampling: Sampling, seed: int = 0
) -> Tensor:
    """Draws the views between.

    Args:
        trained: of stage complete.
        codec: its tokenizer.
        first, last: (3, H, W) in [0, 1].
        cameras: (V, 30) from the first view's to the last one's, see `turned`.
        sampling, seed: how.

    Returns:
        (V, 3, H, W), the endpoints included.

    Raises:
        UsageError: if there is no view between, and as `complete`.
    """
    views = len(cameras)
    if views < 3:
        raise UsageError(f"{views} views, of which two are given, leave none between: ask for 3 or more")
    images = torch.stack([first, *[torch.zeros_like(first)] * (views - 2), last])
    given = torch.zeros(views, trained.state.model.view_tokens, dtype=torch.bool)
    given[[0, -1]] = True
    return complete(trained, codec, images[None], given[None], cameras[None], sampling=sampling, seed=seed)[0]


def turned(camera: Tensor, degrees: Tensor) -> Tensor:
    """A camera (30,) turned round the world's z axis by each of (V,) degrees, counter-clockwise from above: (V, 30)."""
    angle = degrees.float() * (math.pi / 180)
    turn = torch.eye(4).repeat(len(angle), 1, 1)
    turn[:, 0, 0], turn[:, 0, 1] = angle.cos(), -angle.sin()
    turn[:, 1, 0], turn[:, 1, 1] = angle.sin(), angle.cos()
    out = camera.expand(len(angle), -1).clone()
    out[:, C2W] = (turn @ c2w_of(camera)).flatten(1)
    return out
