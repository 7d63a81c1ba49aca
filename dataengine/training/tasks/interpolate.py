"""The views between two that are given.

By their tokens alone, or with a reconstructor: what the two views show in common is reconstructed and rendered between
them, the model is given that, and decides anew what it finds improbable. Where each view is closer to the other as it
is than carried over by its surface, the object looks alike from both sides, as vases do; what is given is then a
cross-fade. Between views far apart the middle one, once drawn, is a third to reconstruct from. Round the back, which
neither shows, the tokens alone say what is there.
"""

import math

import torch
from torch import Tensor

from dataengine.errors import UsageError
from dataengine.training.camera_columns import view_angles
from dataengine.training.config import Sampling
from dataengine.training.contact_sheet import Codec
from dataengine.training.reconstruct.few_views import Scene, check_views, reconstruct_few
from dataengine.training.reconstruct.network import Reconstructor
from dataengine.training.sample import Trained, background_of
from dataengine.training.tasks.complete import complete
from dataengine.training.tasks.warp import warp

FAR, BEHIND = math.pi / 2, math.pi * 1.01
"""Radians round the object between the endpoints: from where on a view between them is reconstructed from too, and from
where on there are views that show what neither of them does."""


def interpolate(
    trained: Trained,
    codec: Codec,
    first: Tensor,
    last: Tensor,
    cameras: Tensor,
    *,
    sampling: Sampling,
    seed: int = 0,
    reconstructor: Reconstructor | None = None,
) -> Tensor:
    """Draws the views between.

    Args:
        trained: of stage complete.
        codec: its tokenizer.
        first, last: (3, H, W) in [0, 1].
        cameras: (V, 30) from the first view's to the last one's, see `camera_columns.turned`.
        sampling, seed: how.
        reconstructor: in eval mode, for views over white by perspective cameras; None, or for more than half a turn: by
            the tokens alone.

    Returns:
        (V, 3, H, W), the endpoints included.

    Raises:
        UsageError: if there is no view between, the reconstructor cannot take the views, and as `complete`.
    """
    views, tokens = len(cameras), trained.state.model.view_tokens
    if views < 3:
        raise UsageError(f"{views} views, of which two are given, leave none between: ask for 3 or more")
    given = torch.zeros(1, views, tokens, dtype=torch.bool)
    given[:, [0, -1]] = True
    if reconstructor is None or goes_behind(cameras):
        images = torch.stack([first, *[torch.zeros_like(first)] * (views - 2), last])
        return complete(trained, codec, images[None], given, cameras[None], sampling=sampling, seed=seed)[0]
    check_views(background_of(trained.state.tokenizer), cameras)
    ends = torch.stack([first, last])

    def completed(between: Tensor) -> Tensor:
        images = torch.cat([ends[:1], between, ends[1:]])
        everything = torch.ones_like(given)
        return complete(
            trained, codec, images[None], everything, cameras[None], doubtful=~given, sampling=sampling, seed=seed
        )[0]

    scene = reconstruct_few(reconstructor, ends, cameras[[0, -1]])
    if looks_alike(scene, ends, cameras[[0, -1]]):
        return completed(cross_fade(first, last, views - 2))
    drawn = completed(scene.render(cameras[1:-1]).colour.cpu())
    if _turn(cameras) <= FAR:
        return drawn
    three = [0, views // 2, views - 1]
    images = torch.stack([first, drawn[views // 2].cpu(), last])
    scene = reconstruct_few(reconstructor, images, cameras[three])
    return completed(scene.render(cameras[1:-1]).colour.cpu())


def cross_fade(first: Tensor, last: Tensor, between: int) -> Tensor:
    """(between, 3, H, W): two views (3, H, W) mixed, evenly from the first to the last."""
    share = (torch.arange(1, between + 1) / (between + 1))[:, None, None, None]
    return first * (1 - share) + last * share


def goes_behind(cameras: Tensor) -> bool:
    """Whether views (V, 30) lead round more than half of the object: some show what neither endpoint does."""
    return _turn(cameras) > BEHIND


def _turn(cameras: Tensor) -> float:
    """Radians round the world's z axis along (V, 30), from view to view the shorter way."""
    step = view_angles(cameras[None])[0, :, 0].diff()
    return float(torch.atan2(step.sin(), step.cos()).sum().abs())


def looks_alike(scene: Scene, ends: Tensor, cameras: Tensor) -> bool:
    """Whether two views (2, 3, H, W) are closer to each other as they are than carried over by their surfaces, on the
    pixels where that says anything."""
    depth, white = scene.depth(cameras).cpu(), torch.ones(3)
    carried, kept = 0.0, 0.0
    for one, other in ((0, 1), (1, 0)):
        try:
            found = warp(ends[one], depth[one], cameras[one], cameras[[other]], white)
        except UsageError:  # nothing of one lands in the other
            return True
        known, true = found.known[0], ends[other]
        carried += float((found.images[0] - true)[:, known].square().mean())
        kept += float((ends[one] - true)[:, known].square().mean())
    return carried > kept
