"""Which Gaussians of a reconstruction float where other views see that nothing is.

The network places each Gaussian at the mean of the distances that it weighs. At a rim these are far apart, a near
surface's and a far one's, and their mean lies in the air between.
"""

import torch
from torch import Tensor

from dataengine.geometry.gaussians import Gaussians
from dataengine.training.reconstruct.network import Reconstruction

SOLID = 0.5  # of opacity
BEFORE = 0.03  # world units before another view's surface, from which on a Gaussian hides what that view sees


@torch.no_grad()
def without_floaters(made: Reconstruction) -> Gaussians:
    """The Gaussians (B, N, …), those that float with opacity 0.

    One floats if another view has no object where it would be seen, or sees through it to a surface at least BEFORE
    behind, whose distance is more certain than its own.
    """
    squares, opacities = made.squares, made.gaussians.opacities
    batch, views = squares.along.shape[:2]
    opacity = opacities.view(squares.along.shape)
    spread = torch.zeros_like(opacity) if made.carved is None else made.carved.spread()
    planes = torch.cat([squares.picture(values) for values in (made.distance * squares.along, spread, opacity)], 2)
    floats = torch.zeros_like(opacity, dtype=torch.bool)
    for b in range(batch):
        for v in range(views):
            for u in range(views):
                if u != v:
                    floats[b, v] |= _unseen(made, b, v, u, planes[b, u], spread[b, v])
    return made.gaussians._replace(opacities=torch.where(floats.view(opacities.shape), 0.0, opacities))


def _unseen(made: Reconstruction, b: int, v: int, u: int, planes: Tensor, spread: Tensor) -> Tensor:
    """(R, 1) bool: which Gaussians of view v view u sees through, by its planes (3, h, w) of depth, spread, opacity."""
    places = made.distance[b, v : v + 1]
    nearest = made.squares.look(b, u, planes, [v], places, "nearest")
    depth, certain, opacity = (values[0] for values in nearest.values)
    hides = (depth - nearest.z[0] > BEFORE) & (opacity > SOLID) & (certain < spread)
    empty = made.squares.look(b, u, planes[2:], [v], places, "bilinear").values[0, 0] < SOLID
    return torch.logical_or(hides, empty)
