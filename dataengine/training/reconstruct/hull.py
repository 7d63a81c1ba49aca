"""Where rays enter the hull of the views' silhouettes (Laurentini 1994), as the network itself sees the silhouettes."""

import torch
from torch import Tensor

from dataengine.training.reconstruct.squares import Squares

SAMPLES = 48  # along a ray's chord
HALVINGS = 3  # of the step between two samples, to find where between them the hull begins
SOLID = 0.3  # of opacity


@torch.no_grad()
def entries(opacity: Tensor, squares: Squares) -> Tensor:
    """How far along each ray the first point is that all views call solid.

    Args:
        opacity: (B, V, 1, h, w) of the squares; above SOLID is solid.

    Returns:
        (B, V, R, 1) distances; infinite where there is no such point in the sphere.
    """
    found = []
    for b in range(len(opacity)):
        step = 2 * squares.half[b] / SAMPLES
        part = torch.arange(SAMPLES, device=opacity.device) + 0.5
        along = squares.nearest[b] - squares.half[b] + step * part  # (V, R, S)
        inside = _inside(b, opacity[b], squares, along)
        first = along.gather(-1, inside.float().argmax(-1, keepdim=True))
        for _ in range(HALVINGS):
            step = step / 2
            nearer = first - step
            first = torch.where(_inside(b, opacity[b], squares, nearer), nearer, first)
        found.append(torch.where(inside.any(-1, keepdim=True), first, torch.inf))
    return torch.stack(found)


def _inside(b: int, opacity: Tensor, squares: Squares, along: Tensor) -> Tensor:
    solid = torch.ones(along.shape, dtype=torch.bool, device=along.device)
    views = list(range(len(opacity)))
    for v in views:
        solid &= squares.look(b, v, opacity[v], views, along, "bilinear").values[0] > SOLID
    return solid
