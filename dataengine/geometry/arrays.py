"""Unproject and project with numpy, in float32. See the package for the conventions.

`centre` says where the first pixel's centre is: 0.5 gives K's own coordinates, 0 gives array indices (depth[v, u]).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
Matrix = Sequence[Sequence[float]]


def unproject(
    K: Matrix, u: npt.NDArray[Any], v: npt.NDArray[Any], z: Float, *, orthographic: bool = False, centre: float = 0.5
) -> Float:
    """Camera-space points (N, 3) of places (column u, row v) in the image at planar depth z, each (N,)."""
    (fx, _, cx), (_, fy, cy), _ = K
    scale = 1 if orthographic else z
    x = (u + ((0.5 - centre) - cx)).astype(np.float32) / np.float32(fx) * scale
    y = (v + ((0.5 - centre) - cy)).astype(np.float32) / np.float32(fy) * scale
    return np.stack([x, y, z], 1)


def to_world(points: Float, c2w: Matrix) -> Float:
    """Camera-space points (N, 3) in the world."""
    pose = np.array(c2w, np.float32)
    return np.asarray(points @ pose[:3, :3].T + pose[:3, 3])


def project(
    points: Float, K: Matrix, c2w: Matrix, *, orthographic: bool = False, centre: float = 0.5
) -> tuple[Float, Float, Float]:
    """World points (N, 3) → column u, row v and planar depth z, each (N,). Behind the camera z is not positive."""
    pose = np.array(c2w, np.float32)
    x, y, z = ((points - pose[:3, 3]) @ pose[:3, :3]).T
    (fx, _, cx), (_, fy, cy), _ = K
    scale = np.ones_like(z) if orthographic else z
    return fx * x / scale + (cx + (centre - 0.5)), fy * y / scale + (cy + (centre - 0.5)), z


def footprint(K: Matrix, z: Float, *, orthographic: bool = False) -> Float:
    """(N,) world units that a pixel is wide at planar depth z (N,)."""
    return np.asarray((np.ones_like(z) if orthographic else z) / K[0][0])


def towards_camera(points: Float, c2w: Matrix, *, orthographic: bool = False) -> Float:
    """(N, 3) unit vectors from world points (N, 3) to the camera: against the rays that meet them."""
    pose = np.array(c2w, np.float32)
    if orthographic:
        return np.broadcast_to(-pose[:3, 2], points.shape)
    towards = pose[:3, 3] - points
    return np.asarray(towards / np.sqrt(np.einsum("ij,ij->i", towards, towards))[:, None])
