"""Edit propagation: one view was edited, the others follow.

What another view shows of a surface that the edited view shows too takes the difference that the edit made there, which
is none where nothing was edited: by a linear regression of the differences around on the colours before the edit, so
that what is half one part and half another takes half. A surface that only the other view shows takes the difference of
the nearest ones that the edited view shows, by place, by direction and by colour before the edit, in the same way.
Where none of these is much alike and they tell different things, the patch is hidden, and the model completes it; it
sees the edited view and all the rest. Of what it draws those pixels are taken.
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
_AROUND = 3  # pixels to each side of a place that are looked at
_ALIKE, _BESIDE = 0.4, 1.5  # share of a range, pixels: deviations from which on a pixel around counts for little
_PLACE, _NORMAL, _COLOUR = 0.3, 0.5, 0.05  # world units, length, share of a range: what counts as equally far
_NEAREST, _NEAR = 9, 1.5  # surfaces that are asked; a distance from which on one counts for little
_RIDGE = 0.001  # variance of colour, in squares of its range, that is too little to tell a difference by
_DIVIDED = 0.4  # of them that were edited, and of them that were not, tell different things
_UNLIKE = 3.0  # of what counts as equally far: from where on nothing that is seen is alike
_TOLD = 2048  # pixels of the edited view that are looked among, at most
_AT_ONCE = 4096  # pixels of another view that ask together: what memory they take


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
    told = _Told(images[0], depth[0], cameras[0], edited, changed)
    carried, spread, unknown = [edited], [edited], [torch.zeros_like(changed)]
    for image, own, camera in zip(images[1:], depth[1:], cameras[1:], strict=True):
        for values, value in zip((carried, spread, unknown), told.carry(image, own, camera), strict=True):
            values.append(value)
    views, hidden = torch.stack(spread), torch.stack(unknown)
    given = patches_covered(~hidden, grid, least=1.0)
    drawn = complete(trained, codec, views[None], given[None], cameras[None], sampling=sampling, seed=seed)[0].cpu()
    return Edited(torch.where(hidden[:, None], drawn, views), torch.stack(carried), given)


class _Told:
    """What the edited view tells: of each of its surfaces, how it was edited."""

    def __init__(self, before: Tensor, depth: Tensor, camera: Tensor, edited: Tensor, changed: Tensor) -> None:
        self.depth, self.camera = depth, camera
        change = (edited - before) * changed
        self.planes = torch.cat([before, change, (depth > 0)[None].float()])
        points, normals, pixels = _surface(depth, camera)
        some = torch.linspace(0, len(points) - 1, min(_TOLD, len(points))).long()
        self.told = torch.cat([before, change, changed[None].float()]).flatten(1)[:, pixels[some]]
        self.features = _features(points[some], normals[some], self.told[:3])

    def carry(self, image: Tensor, depth: Tensor, camera: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Another view (3, H, W) with the edit on surfaces that both show, with the edit on the others too, and of
        which pixels (H, W) of these it is not clear."""
        height, width = depth.shape
        points, normals, pixels = _surface(depth, camera)
        uv, z = project_view(points, self.camera, height, width)
        there = _pixels(self.depth[None], uv)[0]
        shown = (there > 0) & ((z - there).abs() < _CLOSE * there)
        carried = image.flatten(1).clone()
        carried[:, pixels[shown]] += self._seen(uv[shown], carried[:, pixels[shown]])
        hidden, spread, unknown = pixels[~shown], carried.clone(), torch.zeros(height * width, dtype=torch.bool)
        colours = carried[:, hidden]
        asked = torch.split(_features(points[~shown], normals[~shown], colours), _AT_ONCE)
        parts = zip(asked, torch.split(colours, _AT_ONCE, 1), strict=True)
        *change, share, away = torch.cat([self._nearest(*part) for part in parts], 1)
        spread[:, hidden] += torch.stack(change)
        unknown[hidden] = (share > _DIVIDED) & (share < 1 - _DIVIDED) & (away > _UNLIKE)
        carried, spread = (each.clamp(0, 1).view_as(image) for each in (carried, spread))
        return carried, spread, unknown.view(height, width)

    def _seen(self, uv: Tensor, colours: Tensor) -> Tensor:
        """(3, N) how the edit changed places (N, 2) of the edited view, of pixels that had colours (3, N)."""
        found = []
        steps = torch.arange(-_AROUND, _AROUND + 1)
        for step in torch.cartesian_prod(steps, steps):
            near = uv.floor() + 0.5 + step
            before, change, surface = torch.split(_pixels(self.planes, near), [3, 3, 1])
            unlike = (before - colours).square().sum(0) / (2 * _ALIKE**2)
            weight = surface[0] * torch.exp(-unlike - (near - uv).square().sum(1) / (2 * _BESIDE**2)).clamp(min=1e-9)
            found.append((weight, before, change))
        weights, befores, changes = (torch.stack(values) for values in zip(*found, strict=True))
        return _regressed(weights, befores, changes, colours)

    def _nearest(self, features: Tensor, colours: Tensor) -> Tensor:
        """(5, N) of pixels that had colours (3, N): how the edit changed the nearest surfaces, the share of these that
        was edited, how far the first is."""
        found = torch.cdist(features, self.features).topk(min(_NEAREST, len(self.features)), largest=False)
        weights = torch.exp(-found.values.square() / (2 * _NEAR**2)).clamp(min=1e-9).T
        before, change, edited = torch.split(self.told[:, found.indices].permute(2, 0, 1), [3, 3, 1], 1)
        share = (weights * edited[:, 0]).sum(0) / weights.sum(0)
        return torch.cat([_regressed(weights, before, change, colours), share[None], found.values[None, :, 0]])


def _regressed(weights: Tensor, before: Tensor, change: Tensor, colours: Tensor) -> Tensor:
    """How an edit changes colours (3, N): a weighted linear regression (ridge) of how it changed K others of each on
    what these were before, no more than the most and no less than the least of them changed.

    A pixel that mixes two materials has a mean of their colours, and changes by the same mean of their changes.

    Args:
        weights: (K, N), not all 0.
        before, change: (K, 3, N).
    """
    weights = weights / weights.sum(0)
    middle, usual = ((weights[:, None] * values).sum(0) for values in (before, change))
    apart, differs = before - middle, change - usual
    spread = torch.einsum("kn,kin,kjn->nij", weights, apart, apart) + _RIDGE * torch.eye(3)
    slope = torch.linalg.solve(spread, torch.einsum("kn,kin,kjn->nij", weights, apart, differs))
    found = usual + torch.einsum("in,nij->jn", colours - middle, slope)
    return found.clamp(change.amin(0), change.amax(0))


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


def _pixels(planes: Tensor, uv: Tensor) -> Tensor:
    """(C, H, W) at the pixels that hold places (N, 2) → (C, N); 0 outside."""
    at = (uv / torch.tensor([planes.shape[2], planes.shape[1]]) * 2 - 1)[None, None]
    return F.grid_sample(planes[None], at, mode="nearest", align_corners=False)[0, :, 0]
