"""Novel views by warping: the reference is carried to the asked cameras by its depth, the model completes the rest.

Where nobody has the depth, the model draws the object from around, and a reconstruction of that says it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dataengine.training.camera_columns import turned
from dataengine.training.config import Sampling
from dataengine.training.contact_sheet import Codec
from dataengine.training.reconstruct.few_views import check_views, reconstruct_few
from dataengine.training.reconstruct.network import Reconstructor
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


def estimate_depth(
    trained: Trained,
    codec: Codec,
    reconstructor: Reconstructor,
    image: Tensor,
    camera: Tensor,
    *,
    prompt: str = "",
    sampling: Sampling,
    seed: int = 0,
) -> Tensor:
    """(H, W) planar depth of an image, world units, 0 where there is no object.

    Args:
        trained: of stage complete.
        codec: its tokenizer.
        reconstructor: in eval mode.
        image: (3, H, W) in [0, 1].
        camera: (30,) its own; the three other views are drawn from 90, 180 and 270 degrees round the world's z axis.
        prompt, sampling, seed: how they are drawn.

    Raises:
        UsageError: if the reconstructor cannot take the views, and as `complete`.
    """
    cameras = turned(camera, torch.tensor([0.0, 90.0, 180.0, 270.0]))
    check_views(background_of(trained.state.tokenizer), cameras)
    images = torch.cat([image[None], torch.zeros(3, *image.shape)])
    given = torch.zeros(4, trained.state.model.view_tokens, dtype=torch.bool)
    given[0] = True
    drawn = complete(
        trained, codec, images[None], given[None], cameras[None], prompts=[prompt], sampling=sampling, seed=seed
    )[0]
    scene = reconstruct_few(reconstructor, torch.cat([image[None], drawn[1:].cpu()]), cameras, drawn=True)
    return scene.depth(cameras[:1])[0].cpu()
