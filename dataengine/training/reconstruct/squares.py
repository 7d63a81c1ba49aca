"""The squares of pixels that a network answers for: their rays, and what other views have along these."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dataengine.geometry.tensors import pixel_rays


class Seen(NamedTuple):
    """What a view has at places.

    Attributes:
        values: (C, …).
        z: (…) planar depth of the places in it.
    """

    values: Tensor
    z: Tensor


class Squares(NamedTuple):
    """Squares of pixels of perspective views, R = h × w per view, row by row. Lengths in world units.

    Attributes:
        K, c2w: (B, V, 3, 3) for squares as pixels, (B, V, 4, 4).
        origins, directions: (B, V, R, 3) of the rays through their middles.
        nearest: (B, V, R, 1) along the ray to the point nearest the world's origin.
        half: (B, V, R, 1) of the chord that the ray cuts from the object's sphere; 0: it passes by.
        along: (B, V, R, 1) planar depth per unit along the ray.
        size: h and w.
    """

    K: Tensor
    c2w: Tensor
    origins: Tensor
    directions: Tensor
    nearest: Tensor
    half: Tensor
    along: Tensor
    size: tuple[int, int]

    @classmethod
    def of(cls, K: Tensor, c2w: Tensor, size: tuple[int, int], step: int, radius: float) -> "Squares":
        """Of `step` × `step` pixels each, `size` of them in rows and columns; K (B, V, 3, 3) is for the pixels."""
        origins, directions = pixel_rays(K, c2w, size, step)
        nearest = -(origins * directions).sum(-1, keepdim=True)
        past = (origins + nearest * directions).square().sum(-1, keepdim=True)
        half = (radius**2 - past).clamp(min=0).sqrt()
        along = (directions * c2w[..., None, :3, 2]).sum(-1, keepdim=True)
        whole = K.clone()
        whole[..., :2, :] /= step
        return cls(whole, c2w, origins, directions, nearest, half, along, size)

    def look(self, b: int, view: int, source: Tensor, others: list[int], distances: Tensor, mode: str) -> Seen:
        """What one view of an object has where places on the rays of others fall.

        Args:
            b, view: which object, which view is looked into.
            source: (C, h, w) of that view.
            others: the views whose rays they are.
            distances: (len(others), R, S) along them.
            mode: `bilinear` or `nearest`; outside the picture there is 0.
        """
        height, width = self.size
        onto = self.K[b, view] @ self.c2w[b, view, :3, :3].T  # a place on a ray is linear in the distance: so is this
        start = (self.origins[b, others] - self.c2w[b, view, :3, 3]) @ onto.T
        change = self.directions[b, others] @ onto.T
        z = start[..., 2:] + distances * change[..., 2:]
        column = (start[..., :1] + distances * change[..., :1]) / z * (2 / width) - 1
        row = (start[..., 1:2] + distances * change[..., 1:2]) / z * (2 / height) - 1
        place = torch.stack([column, row], -1).view(1, 1, -1, 2)
        values = F.grid_sample(source[None], place, mode=mode, align_corners=False)[0, :, 0]
        return Seen(values.view(-1, *distances.shape), z)

    def picture(self, values: Tensor) -> Tensor:
        """(B, V, R, C) → (B, V, C, h, w)."""
        return values.transpose(2, 3).reshape(*values.shape[:2], values.shape[3], *self.size)
