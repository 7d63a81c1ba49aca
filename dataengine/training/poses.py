"""Where views were taken from, as the model is told."""

import torch
from torch import Tensor


def view_angles(cameras: Tensor, views: Tensor | None = None) -> Tensor:
    """(B, V, 2) float32 radians: azimuth relative to the first view, counter-clockwise from above, and elevation.

    Args:
        cameras: (B, available, numbers) as the tokens stage writes them; the first 16 numbers of a view are c2w, row by
            row (OpenCV axes, z-up world, the object at the origin).
        views: (B, V) which of them, in this order; None: all.
    """
    positions = cameras.flatten(2)[..., 3:12:4]
    if views is not None:
        positions = positions.gather(1, views[..., None].expand(-1, -1, 3))
    x, y, z = positions.unbind(-1)
    azimuth = torch.atan2(y, x)
    return torch.stack([azimuth - azimuth[:, :1], torch.atan2(z, torch.hypot(x, y))], -1)


def orbit_angles(views: int, elevation: float = 30.0) -> Tensor:
    """(1, views, 2): evenly spaced around the object, all at one elevation (degrees)."""
    azimuth = torch.arange(views) * (2 * torch.pi / views)
    return torch.stack([azimuth, torch.full((views,), elevation * torch.pi / 180)], -1)[None]
