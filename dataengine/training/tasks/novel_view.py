"""Novel views by warping: the reference is carried to the asked cameras by its depth, the model completes the rest."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dataengine.training.config import Sampling
from dataengine.training.contact_sheet import Codec
from dataengine.training.sample import Trained, background_of
from dataengine.training.tasks.complete import complete
from dataengine.training.tasks.warp import Warped, patches_covered, warp


@dataclass(frozen=True)
class NovelViews:
    """What was drawn, and from what.

    Attributes:
        images: (V, 3, H, W) in [0, 1], the reference first.
        warped: the V - 1 others, as far as the warp goes.
        given: (V, rows × columns) bool: patches that the model was given.
    """

    images: Tensor
    warped: Warped
    given: Tensor


def novel_views(
    trained: Trained,
    codec: Codec,
    image: Tensor,
    depth: Tensor,
    cameras: Tensor,
    *,
    prompt: str = "",
    estimated: bool = False,
    sampling: Sampling,
    seed: int = 0,
) -> NovelViews:
    """Draws an object from other cameras.

    Args:
        trained: of stage complete.
        codec: its tokenizer.
        image: (3, H, W) in [0, 1].
        depth: (H, W) planar, world units, 0 = none.
        cameras: (V, 30), the first one the image's.
        prompt: a caption.
        estimated: whether the depth is an estimate: warped patches that the model finds improbable are then decided
            anew (stochastic conditioning; `sampling` says when, and how improbable).
        sampling, seed: how.

    Raises:
        UsageError: as `warp` and `complete`.
    """
    grid = trained.state.model.grid
    background = torch.tensor(background_of(trained.state.tokenizer)) / 255
    warped = warp(image, depth, cameras[0], cameras[1:], background)
    given = torch.cat([torch.ones(1, grid[0] * grid[1], dtype=torch.bool), patches_covered(warped.known, grid)])
    doubtful = given.clone()
    doubtful[0] = False
    images = complete(
        trained,
        codec,
        torch.cat([image[None], warped.images])[None],
        given[None],
        cameras[None],
        prompts=[prompt],
        doubtful=doubtful[None] if estimated else None,
        sampling=sampling,
        seed=seed,
    )[0]
    return NovelViews(images, warped, given)
