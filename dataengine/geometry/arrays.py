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


def point_map(depth: Float, K: Matrix, c2w: Matrix, *, orthographic: bool = False) -> Float:
    """World points (H, W, 3) of the pixels' centres at planar depth (H, W); 0 where the depth is 0, which is none."""
    height, width = depth.shape
    v, u = np.mgrid[:height, :width].reshape(2, -1)
    points = to_world(unproject(K, u, v, depth.reshape(-1), orthographic=orthographic, centre=0), c2w)
    return np.where(depth[..., None] > 0, points.reshape(height, width, 3), np.float32(0))


def normals_in_camera(normals: Float, c2w: Matrix, *, opengl: bool = False) -> Float:
    """World-space normals (…, 3) in the camera's axes: x right, y down, z forward as in OpenCV, so that those of
    surfaces that are seen have z below 0; or x right, y up, z backward as in OpenGL."""
    turned = normals @ np.array(c2w, np.float32)[:3, :3]
    return np.asarray(turned * np.array([1, -1, -1], np.float32) if opengl else turned)


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
