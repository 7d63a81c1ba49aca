"""Edit propagation: one view was edited, the others follow.

What another view shows of a surface that the edited view shows too is known: it takes the edited colour, or stays. Of
a surface that only the other view shows, the nearest that the edited view shows, by place, by direction and by colour
before the edit, tells whether it belongs to what was edited. Patches with such pixels are hidden, and the model
completes them; it sees the edited view and all the rest. Of what it draws those pixels are taken, the others are known.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dataengine.errors import UsageError
from dataengine.training.config import Sampling
from dataengine.training.contact_sheet import Codec
from dataengine.training.sample import Trained
from dataengine.training.tasks.complete import complete
from dataengine.training.tasks.warp import lift_view, patches_covered, project_view

_CHANGED = 0.04  # of the range of a channel: more than rounding and a picture format's loss
_CLOSE = 0.02  # of the depth: how far apart two surfaces are one
_PLACE, _NORMAL, _COLOUR = 0.3, 0.5, 0.1  # world units, length, share of a range: what counts as equally far
_NEAREST = 9  # that are asked; most of them decide
_TOLD = 2048  # pixels of the edited view that are looked among, at most
_AT_ONCE = 4096  # pixels of another view that ask together: what memory they take


@dataclass(frozen=True)
class Edited:
    """What was drawn, and from what.

    Attributes:
        images: (V, 3, H, W) in [0, 1], the edited view first; what is known is as it was, or as it was carried.
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
    told = _Told(images[0], depth[0], cameras[0], edited, changed)
    carried, unknown = [edited], [torch.zeros_like(changed)]
    for image, own, camera in zip(images[1:], depth[1:], cameras[1:], strict=True):
        new, others = told.carry(image, own, camera)
        carried.append(new)
        unknown.append(others)
    views, hidden = torch.stack(carried), torch.stack(unknown)
    given = patches_covered(~hidden, grid, least=1.0)
    drawn = complete(trained, codec, views[None], given[None], cameras[None], sampling=sampling, seed=seed)[0].cpu()
    return Edited(torch.where(hidden[:, None], drawn, views), views, given)


class _Told:
    """What the edited view tells: of each of its surfaces, whether and how it was edited."""

    def __init__(self, before: Tensor, depth: Tensor, camera: Tensor, edited: Tensor, changed: Tensor) -> None:
        self.depth, self.camera = depth, camera
        # A pixel at the object's edge shows its background, too: of the edit, only the difference belongs to a surface.
        self.planes = torch.cat([edited - before, torch.ones_like(edited[:1])]) * changed
        points, normals, pixels = _surface(depth, camera)
        some = torch.linspace(0, len(points) - 1, min(_TOLD, len(points))).long()
        self.features = _features(points[some], normals[some], before.flatten(1)[:, pixels[some]])
        self.changed = changed.flatten()[pixels[some]].float()

    def carry(self, image: Tensor, depth: Tensor, camera: Tensor) -> tuple[Tensor, Tensor]:
        """Another view (3, H, W) with the edited colours where they are known, and which pixels (H, W) have others that
        are not."""
        height, width = depth.shape
        points, normals, pixels = _surface(depth, camera)
        uv, z = project_view(points, self.camera, height, width)
        at = (uv / torch.tensor([width, height]) * 2 - 1)[None, None]
        there = _sample(self.depth[None], at, "nearest")[0]
        shown = (there > 0) & ((z - there).abs() < _CLOSE * there)
        known = shown & (_sample(self.planes[3:], at, "nearest")[0] > 0.5)
        colours = image.flatten(1).clone()
        *change, share = _sample(self.planes, at, "bilinear")[:, known]  # of neighbours that were edited
        colours[:, pixels[known]] += torch.stack(change) / share
        hidden = pixels[~shown]
        features = _features(points[~shown], normals[~shown], image.flatten(1)[:, hidden])
        unknown = torch.zeros(height * width, dtype=torch.bool)
        unknown[hidden] = torch.cat([self._edited(part) for part in torch.split(features, _AT_ONCE)])
        return colours.clamp(0, 1).view_as(image), unknown.view(height, width)

    def _edited(self, features: Tensor) -> Tensor:
        """(N,) bool: whether most of the nearest surfaces were edited."""
        count = min(_NEAREST, len(self.features))
        nearest = torch.cdist(features, self.features).topk(count, largest=False).indices
        return self.changed[nearest].mean(1) > 0.5


def _surface(depth: Tensor, camera: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Points (N, 3) of the pixels that have depth, the normals (N, 3) of the surface through their neighbours, towards
    the camera or away from it as these lie, and which pixels they are."""
    points, pixels = lift_view(depth, camera)
    height, width = depth.shape
    all_points = points.new_zeros(height * width, 3)
    all_points[pixels] = points
    padded = F.pad(all_points.T.view(1, 3, height, width), (1, 1, 1, 1), mode="replicate")[0]
    across, down = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2], padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    normals = F.normalize(torch.linalg.cross(down, across, dim=0), dim=0)
    return points, normals.flatten(1).T[pixels], pixels


def _features(points: Tensor, normals: Tensor, colours: Tensor) -> Tensor:
    return torch.cat([points / _PLACE, normals / _NORMAL, colours.T / _COLOUR], 1)


def _sample(planes: Tensor, at: Tensor, mode: str) -> Tensor:
    """(C, H, W) at places (1, 1, N, 2) in [-1, 1] → (C, N); 0 outside."""
    return F.grid_sample(planes[None], at, mode=mode, align_corners=False)[0, :, 0]
