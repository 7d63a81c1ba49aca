"""Where views were taken from, as the tokens shards say it and as the model is told."""

import math

import torch
from torch import Tensor

from dataengine.geometry.tensors import scale_intrinsics

# The columns of cameras.npy; dataengine.tokenize.views.CAMERA_COLUMNS names each.
K, C2W, NEAR, FAR, ORTHOGRAPHIC, WIDTH, HEIGHT = slice(0, 9), slice(9, 25), 25, 26, 27, 28, 29


def c2w_of(cameras: Tensor) -> Tensor:
    """(…, 30) → (…, 4, 4) camera to world: OpenCV axes, z-up world, the object at the origin."""
    return cameras[..., C2W].unflatten(-1, (4, 4))  # type: ignore[no-untyped-call, no-any-return]


def k_of(cameras: Tensor) -> Tensor:
    """(…, 30) → (…, 3, 3) intrinsics in pixels, pixel centres at +0.5."""
    return cameras[..., K].unflatten(-1, (3, 3))  # type: ignore[no-untyped-call, no-any-return]


def intrinsics(cameras: Tensor, height: int, width: int) -> Tensor:
    """(…, 30) → (…, 3, 3) K of the same views at that size."""
    return scale_intrinsics(k_of(cameras), width / cameras[..., WIDTH, None], height / cameras[..., HEIGHT, None])


def camera_rows(K: Tensor, c2w: Tensor, near: Tensor, far: Tensor, size: tuple[int, int]) -> Tensor:
    """(…, 3, 3), (…, 4, 4) and (…) twice of perspective views of height and width `size` → (…, 30)."""
    ends = torch.stack([near, far], -1)
    rest = torch.tensor([0.0, size[1], size[0]], device=K.device).expand(*ends.shape[:-1], -1)
    return torch.cat([K.flatten(-2), c2w.flatten(-2), ends, rest], -1)


def view_angles(cameras: Tensor) -> Tensor:
    """(B, V, 30) → (B, V, 2) radians: azimuth relative to the first view, counter-clockwise from above; elevation."""
    x, y, z = c2w_of(cameras)[..., :3, 3].unbind(-1)
    azimuth = torch.atan2(y, x)
    return torch.stack([azimuth - azimuth[:, :1], torch.atan2(z, torch.hypot(x, y))], -1)


def take_views(values: Tensor, views: Tensor) -> Tensor:
    """(B, available, …), (B, V) → (B, V, …): each sample's own choice of views."""
    return values[torch.arange(len(values), device=values.device)[:, None], views]


def turned(camera: Tensor, degrees: Tensor) -> Tensor:
    """A camera (30,) turned round the world's z axis by each of (V,) degrees, counter-clockwise from above: (V, 30)."""
    angle = degrees.float() * (math.pi / 180)
    turn = torch.eye(4).repeat(len(angle), 1, 1)
    turn[:, 0, 0], turn[:, 0, 1] = angle.cos(), -angle.sin()
    turn[:, 1, 0], turn[:, 1, 1] = angle.sin(), angle.cos()
    out = camera.expand(len(angle), -1).clone()
    out[:, C2W] = (turn @ c2w_of(camera)).flatten(1)
    return out
