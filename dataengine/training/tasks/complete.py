"""Completion under any mask: what all tasks come down to."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dataengine.errors import UsageError
from dataengine.training.config import Sampling
from dataengine.training.contact_sheet import Codec, decode_views
from dataengine.training.guided import GuidedDecoding
from dataengine.training.sample import Trained
from dataengine.training.sampler import Guide, generate
from dataengine.training.tasks.requirements import check_cameras, check_codec
from dataengine.training.text import text_tokenizer


def complete(
    trained: Trained,
    codec: Codec,
    images: Tensor,
    given: Tensor,
    cameras: Tensor,
    *,
    prompts: Sequence[str] | None = None,
    doubtful: Tensor | None = None,
    sampling: Sampling,
    seed: int = 0,
    guide: Guide | None = None,
    decoder: GuidedDecoding | None = None,
) -> Tensor:
    """Draws what is not given.

    Args:
        trained: of stage complete.
        codec: the run's tokenizer.
        images: (B, V, 3, H, W) in [0, 1]; what is not given is not looked at, but for the tokenizer's margin round a
            given patch.
        given: (B, V, rows × columns) bool: patches that are kept.
        cameras: (B, V, 30), see camera_columns.py.
        prompts: captions; None: none.
        doubtful: (B, V, rows × columns) bool: given patches that may be wrong, see `generate`.
        sampling, seed: how.
        guide: what makes the views agree, such as `reconstruct.guide.ReconstructionGuide`; None: nothing.
        decoder: decodes the views of each object together, those that are given whole being known; None: one by one.

    Returns:
        (B, V, 3, H, W) in [0, 1], given patches included, up to the tokenizer's loss.

    Raises:
        UsageError: if a mask or the images are not of the run's grid, the tokenizer is another one, or the model cannot
            take the cameras.
    """
    state, grid = trained.state, trained.state.model.grid
    check_codec(state, codec)
    for some in cameras:
        check_cameras(state, some)
    batch, views = images.shape[:2]
    for name, mask in (("mask", given), ("mask of doubtful patches", doubtful)):
        if mask is not None and mask.shape != (batch, views, grid[0] * grid[1]):
            raise UsageError(
                f"a {name} of {'×'.join(map(str, mask.shape))}, the run needs {batch}×{views}×{grid[0] * grid[1]}: "
                f"objects, views, and patches of its {grid[0]}×{grid[1]} grid"
            )
    codes = encode_views(trained, codec, images).masked_fill(~given.to(trained.device), state.model.mask)
    text = text_tokenizer().encode(prompts or [""] * batch)
    drawn = generate(trained.model, text, codes, cameras, sampling, seed, doubtful, guide)
    if decoder is not None:
        return decoder(drawn, grid, cameras, given=images, known=given.all(-1))
    return decode_views(codec, drawn, grid)


@torch.no_grad()
def encode_views(trained: Trained, codec: Codec, images: Tensor) -> Tensor:
    """(B, V, 3, H, W) in [0, 1] → (B, V, L) codes on the run's device.

    Raises:
        UsageError: if the images are not of the run's grid.
    """
    grid, factor = trained.state.model.grid, trained.state.tokenizer["factor"]
    height, width = images.shape[-2:]
    if (height, width) != (grid[0] * factor, grid[1] * factor):
        raise UsageError(f"views of {width}×{height} pixels, the run knows {grid[1] * factor}×{grid[0] * factor}")
    codes = codec.encode(images.flatten(0, 1).to(trained.device) * 2 - 1)
    return codes.long().view(*images.shape[:2], -1)
