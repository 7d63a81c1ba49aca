"""Edit propagation: one view was edited, the others follow.

The edited pixels are carried to the other views by depth. Every patch there that shows a part of the box round the
edited surface is hidden; those that the edit covers wholly are given as they were carried, the model completes the
others. It sees the edited view, and all of the other views that lies outside of the box.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dataengine.errors import UsageError
from dataengine.geometry.tensors import z_buffer
from dataengine.training.config import Sampling
from dataengine.training.contact_sheet import Codec
from dataengine.training.sample import Trained
from dataengine.training.tasks.complete import complete
from dataengine.training.tasks.warp import dense_surface, lift_view, patches_covered, project_view

_CHANGED = 0.04  # of the range of a channel: more than rounding and a picture format's loss
_MARGIN = 0.15  # of the box's longest side, on every side: the sides of the part that the edited view does not show
_CLOSE = 0.02  # of the depth: a carried pixel further behind a surface than this is hidden by it


@dataclass(frozen=True)
class Edited:
    """What was drawn, and from what.

    Attributes:
        images: (V, 3, H, W) in [0, 1], the edited view first.
        carried: (V, 3, H, W): the views with the edit carried over by depth alone.
        given: (V, rows × columns) bool: patches that the model was given.
    """

    images: Tensor
    carried: Tensor
    given: Tensor


def propagate_edit(
    trained: Trained,
    codec: Codec,
    images: Tensor,
    depth: Tensor,
    cameras: Tensor,
    edited: Tensor,
    *,
    sampling: Sampling,
    seed: int = 0,
) -> Edited:
    """Changes the other views as the first one was.

    Args:
        trained: of stage complete.
        codec: its tokenizer.
        images: (V, 3, H, W) in [0, 1], before the edit.
        depth: (V, H, W) planar, world units, 0 = none.
        cameras: (V, 30).
        edited: (3, H, W) the first view, edited.
        sampling, seed: how.

    Raises:
        UsageError: if nothing of the object was edited, and as `complete`.
    """
    if edited.shape != images.shape[1:]:
        raise UsageError(
            f"the edited view has {edited.shape[2]}×{edited.shape[1]} pixels, the object's have "
            f"{images.shape[3]}×{images.shape[2]}"
        )
    changed = (edited - images[0]).abs().amax(0) > _CHANGED
    if not changed.any():
        raise UsageError("the edited view is the object's own: nothing was edited")
    if not (changed & (depth[0] > 0)).any():
        raise UsageError("the edit lies outside the object: no edited pixel has depth to carry it by")
    grid = trained.state.model.grid
    where, colours = dense_surface(torch.where(changed, depth[0], torch.zeros(())), cameras[0], edited)
    low, high = where.amin(0), where.amax(0)
    margin = _MARGIN * (high - low).max()
    carried, given = [edited], [torch.ones(grid[0] * grid[1], dtype=torch.bool)]
    for image, own, camera in zip(images[1:], depth[1:], cameras[1:], strict=True):
        new, hit = _carry(image, own, camera, where, colours)
        inside = _in_box(own, camera, low - margin, high + margin)
        touched = patches_covered((inside | hit)[None], grid, least=1e-6)[0]
        whole = patches_covered((hit | ~inside)[None], grid)[0] & patches_covered(hit[None], grid, least=0.5)[0]
        carried.append(new)
        given.append(~touched | whole)
    kept = torch.stack(given)
    views = torch.stack(carried)
    drawn = complete(trained, codec, views[None], kept[None], cameras[None], sampling=sampling, seed=seed)[0]
    return Edited(drawn, views, kept)


def _carry(image: Tensor, depth: Tensor, camera: Tensor, points: Tensor, colours: Tensor) -> tuple[Tensor, Tensor]:
    """The image with the points that are visible in it painted over, and which pixels those are."""
    height, width = depth.shape
    uv, z = project_view(points, camera, height, width)
    place, _ = z_buffer(uv, z, height, width)
    z, colours, place = z[place >= 0], colours[:, place >= 0], place[place >= 0]
    there = depth.flatten()[place]
    seen = (there > 0) & ((z - there).abs() < _CLOSE * there)
    count = torch.zeros(height * width).index_add_(0, place[seen], torch.ones_like(z[seen]))
    total = torch.zeros(3, height * width).index_add_(1, place[seen], colours[:, seen])
    hit = count > 0
    out = torch.where(hit, total / count.clamp(min=1), image.flatten(1))
    return out.view_as(image), hit.view(height, width)


def _in_box(depth: Tensor, camera: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """(H, W) bool: pixels whose surface lies in an axis-aligned box of the world."""
    points, pixels = lift_view(depth, camera)
    out = torch.zeros(depth.numel(), dtype=torch.bool)
    out[pixels] = ((points >= low) & (points <= high)).all(1)
    return out.view_as(depth)
