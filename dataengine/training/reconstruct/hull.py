"""Where rays enter the hull of the views' silhouettes (Laurentini 1994), as the network itself sees the silhouettes."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dataengine.geometry.tensors import project

SAMPLES = 64  # along a ray's chord
SOLID = 0.3  # of opacity


@torch.no_grad()
def entries(opacity: Tensor, K: Tensor, c2w: Tensor, origins: Tensor, directions: Tensor, ends: Tensor) -> Tensor:
    """How far along each ray the first point is that all views call solid.

    Args:
        opacity: (B, V, 1, h, w) of squares of pixels; above SOLID is solid.
        K, c2w: (B, V, 3, 3) for these squares as pixels, and (B, V, 4, 4).
        origins, directions: (B, V, R, 3) rays in the world.
        ends: (B, V, R, 2) where to look, distances along the ray.

    Returns:
        (B, V, R, 1) distances; infinite where there is no such point.
    """
    batch, views, count = origins.shape[:3]
    height, width = opacity.shape[-2:]
    part = (torch.arange(SAMPLES, device=K.device) + 0.5) / SAMPLES
    along = ends[..., :1] + (ends[..., 1:] - ends[..., :1]) * part  # (B, V, R, S)
    found = []
    for b in range(batch):
        points = (origins[b, :, :, None] + along[b, ..., None] * directions[b, :, :, None]).reshape(-1, 3)
        solid = torch.ones(len(points), dtype=torch.bool, device=K.device)
        for v in range(views):
            pixels, _ = project(points, K[b, v], c2w[b, v])
            place = pixels / torch.tensor([width, height], device=K.device) * 2 - 1
            seen = F.grid_sample(opacity[b, v : v + 1], place[None, None], align_corners=False)[0, 0, 0]
            solid &= seen > SOLID
        inside = solid.view(views, count, SAMPLES)
        first = along[b].gather(-1, inside.float().argmax(-1, keepdim=True))
        found.append(torch.where(inside.any(-1, keepdim=True), first, torch.inf))
    return torch.stack(found)
