"""How the model is told where each view was taken from.

    none      not at all, as in ViewMask-1-to-3
    azimuth   relative to the first view, counter-clockwise from above, and the elevation: orbits of upright objects
    matrix    the pose relative to the first view, a 4×4 matrix through a small network, one vector per view (VideoMV)
    rays      the Plücker coordinates of the ray through each patch's centre, in the first view's frame: any rig, any
              intrinsics, perspective or orthographic

The networks of `matrix` and `rays` end in zeros at the start of training: cameras then change nothing, and a model that
was trained without them can learn them. To a picture of which no camera is known (`far` is 0) nothing is added.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dataengine.geometry.tensors import pluecker, rays
from dataengine.training.camera_columns import FAR, HEIGHT, ORTHOGRAPHIC, WIDTH, c2w_of, k_of, view_angles
from dataengine.training.model.config import CameraInput


class CameraEmbedding(nn.Module):
    """Cameras (B, V, 30) → what is added to the views' tokens.

    Args:
        kind: matrix or rays.
        width: of the model.
        grid: rows and columns of a view.
    """

    def __init__(self, kind: CameraInput, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.kind, self.grid = kind, grid
        self.enter = nn.Linear(16 if kind == "matrix" else 6, width)
        self.leave = nn.Linear(width, width)

    def forward(self, cameras: Tensor) -> Tensor:
        """(B, V, 1, width) for matrix, (B, V, rows × columns, width) for rays; 0 where no camera is known."""
        unknown = (cameras[..., FAR] <= 0)[..., None, None]
        with torch.autocast(cameras.device.type, enabled=False):  # bfloat16 would bend the rays by a patch
            if self.kind == "matrix":
                numbers = relative_poses(cameras).flatten(-2)[:, :, None]
            else:
                numbers = patch_rays(cameras, self.grid)
        # Of no camera come no numbers, and a gradient would carry them into every weight.
        numbers = numbers.masked_fill(unknown, 0)
        out: Tensor = self.leave(F.silu(self.enter(numbers.to(self.enter.weight.dtype))))
        return out.masked_fill(unknown, 0)


def angle_features(cameras: Tensor) -> Tensor:
    """(B, V, 30) → (B, V, 10): four harmonics of the azimuth relative to the first view, one of the elevation.

    All are 0 where no camera is known.
    """
    azimuth, elevation = view_angles(cameras).unbind(-1)
    waves = azimuth[..., None] * torch.arange(1, 5, device=cameras.device)
    features = torch.cat([waves.cos(), waves.sin(), elevation.cos()[..., None], elevation.sin()[..., None]], -1)
    return features.masked_fill((cameras[..., FAR] <= 0)[..., None], 0)


def relative_poses(cameras: Tensor) -> Tensor:
    """(B, V, 30) → (B, V, 4, 4): camera to the first camera's frame, OpenCV axes. The first is the identity."""
    poses = c2w_of(cameras)
    rotation = poses[:, :1, :3, :3].transpose(-1, -2)
    out = torch.zeros_like(poses)
    out[..., :3, :3] = rotation @ poses[..., :3, :3]
    out[..., :3, 3:] = rotation @ (poses[..., :3, 3:] - poses[:, :1, :3, 3:])
    out[..., 3, 3] = 1
    return out


def patch_rays(cameras: Tensor, grid: tuple[int, int]) -> Tensor:
    """Plücker coordinates (direction, origin × direction) of the rays through the patches' centres.

    Args:
        cameras: (B, V, 30); K may be of any resolution that the row names, and orthographic (then K scales world units
            to pixels and rays are parallel).
        grid: rows and columns of a view.

    Returns:
        (B, V, rows × columns, 6), directions of length 1, in the first camera's frame, world units.
    """
    rows, columns = grid
    y, x = torch.meshgrid(
        (torch.arange(rows, device=cameras.device) + 0.5) / rows,
        (torch.arange(columns, device=cameras.device) + 0.5) / columns,
        indexing="ij",
    )
    size = torch.stack([cameras[..., WIDTH], cameras[..., HEIGHT]], -1)
    pixels = torch.stack([x, y], -1).flatten(0, 1) * size[..., None, :]  # (B, V, L, 2)
    parallel = cameras[..., ORTHOGRAPHIC] > 0.5
    return pluecker(*rays(k_of(cameras), relative_poses(cameras), pixels, orthographic=parallel))
