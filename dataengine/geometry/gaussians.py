"""3D Gaussians: what a splat scene is made of."""

from typing import NamedTuple

import torch
from torch import Tensor


class Gaussians(NamedTuple):
    """N Gaussians of one scene, or of several with leading dimensions. World, axes and units: docs/formats.md.

    Attributes:
        centres: (…, N, 3).
        scales: (…, N, 3) standard deviations along their own axes, above 0.
        rotations: (…, N, 4) unit quaternions w, x, y, z, from their own axes to the world's.
        opacities: (…, N) in [0, 1]: of the centre.
        colours: (…, N, 3) sRGB in [0, 1], the same from everywhere.
    """

    centres: Tensor
    scales: Tensor
    rotations: Tensor
    opacities: Tensor
    colours: Tensor

    def covariances(self) -> Tensor:
        """(…, N, 3, 3): R S Sᵀ Rᵀ (Kerbl et al. 2023, equation 6)."""
        half = rotation_matrices(self.rotations) * self.scales[..., None, :]
        return half @ half.transpose(-1, -2)


def rotation_matrices(quaternions: Tensor) -> Tensor:
    """(…, 4) w, x, y, z of length 1 → (…, 3, 3)."""
    w, x, y, z = quaternions.unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
    ]
    return torch.stack(rows, -2)
