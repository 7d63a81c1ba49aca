"""Unproject, project, z-buffer, coverage and rays with torch. See the package for the conventions.

Pixels are in K's coordinates: the first pixel's centre is at (0.5, 0.5). Cameras are (3, 3) K and (4, 4) c2w.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def scale_intrinsics(K: Tensor, width: float | Tensor, height: float | Tensor) -> Tensor:
    """(…, 3, 3) K of the same views at `width` and `height` times as many pixels."""
    scaled = K.clone()
    scaled[..., 0, :] *= width
    scaled[..., 1, :] *= height
    return scaled


def lift(depth: Tensor, K: Tensor, c2w: Tensor, *, orthographic: bool = False) -> tuple[Tensor, Tensor]:
    """World points of the pixels that have depth, at their centres.

    Args:
        depth: (H, W) planar, world units, 0 = none.
        K, c2w: of the view, K for H × W pixels.
        orthographic: whether its rays are parallel.

    Returns:
        (N, 3) points and (N,) the pixel of each, row-major.
    """
    width = depth.shape[1]
    pixels = depth.flatten().nonzero()[:, 0]
    z = depth.flatten()[pixels]
    row = torch.div(pixels, width, rounding_mode="floor")
    flat = torch.stack([pixels % width + 0.5, row + 0.5, torch.ones_like(z)], 1) @ torch.linalg.inv(K).T
    xyz = torch.cat([flat[:, :2], z[:, None]], 1) if orthographic else flat * z[:, None]
    return xyz @ c2w[:3, :3].T + c2w[:3, 3], pixels


def project(points: Tensor, K: Tensor, c2w: Tensor, *, orthographic: bool = False) -> tuple[Tensor, Tensor]:
    """World points (N, 3) → pixels (N, 2) and planar depth (N,). Behind the camera the depth is not positive."""
    xyz = (points - c2w[:3, 3]) @ c2w[:3, :3]
    z = xyz[:, 2]
    flat = torch.cat([xyz[:, :2], torch.ones_like(z)[:, None]], 1) if orthographic else xyz / z[:, None]
    return (flat @ K.T)[:, :2], z


def z_buffer(pixels: Tensor, z: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Which points of a cloud land in an image, and how near the nearest of each pixel is.

    Args:
        pixels, z: (N, 2) and (N,), as `project` gives them.
        height, width: of the image.

    Returns:
        (N,) the row-major pixel of each point, -1 where it is outside or behind the camera; (H, W) planar depth of the
        nearest point, infinite where there is none.
    """
    column, row = pixels.floor().long().unbind(1)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (z > 0)
    place = torch.where(inside, row * width + column, -1)
    nearest = torch.full((height * width,), torch.inf, dtype=z.dtype, device=z.device)
    nearest.scatter_reduce_(0, place[inside], z[inside], "amin")
    return place, nearest.view(height, width)


def inverse_pose(pose: Tensor) -> Tensor:
    """(…, 4, 4) rotation and shift → its inverse, such as world to camera: exact where a general inverse is not."""
    rotation = pose[..., :3, :3].mT
    inverse = torch.eye(4, dtype=pose.dtype, device=pose.device).expand(pose.shape).clone()
    inverse[..., :3, :3] = rotation
    inverse[..., :3, 3:] = -rotation @ pose[..., :3, 3:]
    return inverse


def coverage(mask: Tensor, grid: tuple[int, int]) -> Tensor:
    """(…, H, W) bool, or alpha → (…, rows, columns) share of each cell that is covered; H and W are multiples of the
    grid's."""
    rows, columns = grid
    cells = mask.float().unflatten(-1, (columns, -1)).unflatten(-3, (rows, -1))  # type: ignore[no-untyped-call]
    out: Tensor = cells.mean((-3, -1))
    return out


def rays(K: Tensor, c2w: Tensor, pixels: Tensor, *, orthographic: bool | Tensor = False) -> tuple[Tensor, Tensor]:
    """Rays through pixels.

    Args:
        K, c2w: (…, 3, 3) and (…, 4, 4).
        pixels: (…, N, 2) column and row.
        orthographic: whether the rays are parallel; one for all cameras, or (…) bool.

    Returns:
        Origins and directions (…, N, 3) in the world; directions have length 1. Orthographic rays begin in the
        camera's plane.
    """
    k, pose = K[..., None, :, :], c2w[..., None, :, :]
    y = (pixels[..., 1] - k[..., 1, 2]) / k[..., 1, 1]
    x = (pixels[..., 0] - k[..., 0, 2] - k[..., 0, 1] * y) / k[..., 0, 0]
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    parallel = torch.as_tensor(orthographic, device=K.device)[..., None, None]
    direction = torch.where(parallel, torch.stack([zero, zero, one], -1), torch.stack([x, y, one], -1))
    start = torch.where(parallel, torch.stack([x, y, zero], -1), torch.zeros_like(direction))
    rotation = pose[..., :3, :3].squeeze(-3).transpose(-1, -2)
    return start @ rotation + pose[..., :3, 3], F.normalize(direction, dim=-1) @ rotation


def pixel_rays(
    K: Tensor, c2w: Tensor, size: tuple[int, int], step: int = 1, *, orthographic: bool | Tensor = False
) -> tuple[Tensor, Tensor]:
    """Rays through the middle of each square of `step` × `step` pixels.

    Args:
        K, c2w, orthographic: as for `rays`.
        size: rows and columns of such squares.

    Returns:
        Origins and unit directions in the world, (…, rows × columns, 3), row by row.
    """
    rows, columns = size
    y, x = torch.meshgrid(torch.arange(rows, device=K.device), torch.arange(columns, device=K.device), indexing="ij")
    pixels = (torch.stack([x, y], -1).flatten(0, 1) + 0.5) * step
    return rays(K, c2w, pixels.to(K.dtype).expand(*K.shape[:-2], -1, -1), orthographic=orthographic)


def pluecker(origins: Tensor, directions: Tensor) -> Tensor:
    """(…, 3) twice → (…, 6): direction and moment, origin × direction, the same for every origin on the ray.

    The coordinates of a line (Plücker 1865) as light field networks take them (Sitzmann et al. 2021).
    """
    return torch.cat([directions, torch.linalg.cross(origins, directions, dim=-1)], -1)
