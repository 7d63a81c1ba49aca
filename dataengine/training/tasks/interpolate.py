"""The views between two that are given."""

import torch
from torch import Tensor

from dataengine.errors import UsageError
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
        cameras: (V, 30) from the first view's to the last one's, see `camera_columns.turned`.
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
