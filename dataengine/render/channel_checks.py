"""What the channels say about an asset: whether normals and ids agree with the depth.

The depth's normals. On a plane, 1 / z is linear in the image (parallel rays: z is), and the plane's normal is its
gradient. The gradient is fitted to 5 × 5 pixels, since the depth of a pixel is that of a place somewhere in it; where
the fit leaves much, the surface ends, steps or bends, and nothing is compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataengine.geometry import arrays
from dataengine.render.blender.protocol import Camera
from dataengine.render.checks import FEWEST_POINTS, LEAST_COSINE, POINTS_PER_VIEW, neighbours
from dataengine.render.views import Views

Float = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

REACH = 2  # pixels from the window's middle to its side
MOST_RESIDUAL = 0.6
"""Of a fit, in footprints times the slope: a place drawn evenly in its pixel leaves 0.41 (two axes, √(1/12) each)."""
SAME_PLACE = 2.0  # footprints between a point and what another view shows there


@dataclass(frozen=True)
class ChannelChecks:
    """The manifest's columns that are measured on channels; None without the channel. See docs/formats.md."""

    normal_depth_angle: float | None
    shading_normal_angle: float | None
    albedo_clipped: float | None
    id_disagreement: float | None
    ids_seen: int | None


def check_channels(views: Views) -> ChannelChecks:
    """Measures one asset's channels, as they come from `views_of`."""
    channels = views.channels
    shading, ids, flat = channels.arrays.get("normal"), channels.arrays.get("id"), channels.triangle_normals
    from_depth = between = None
    if shading is not None and flat is not None:
        both = views.covered & shading.any(-1) & flat.any(-1)
        between = _median(degrees_between(shading[both], flat[both]))
        triples = zip(views.cameras, views.depth, flat, strict=True)
        from_depth = _median(np.concatenate([depth_angles(*triple) for triple in triples]))
    return ChannelChecks(
        normal_depth_angle=from_depth,
        shading_normal_angle=between,
        albedo_clipped=channels.albedo_clipped,
        id_disagreement=None if ids is None else id_disagreement(views.cameras, views.depth, ids),
        ids_seen=None if ids is None else int(np.unique(ids[ids > 0]).size),
    )


def _median(values: Float) -> float | None:
    return float(np.median(values)) if values.size >= FEWEST_POINTS else None


def degrees_between(a: Float, b: Float) -> Float:
    """(N,) angles of unit vectors (N, 3)."""
    cosine = np.einsum("ij,ij->i", a, b)
    sine = np.linalg.norm(np.cross(a, b), axis=1)
    return np.asarray(np.degrees(np.arctan2(sine, cosine)), np.float32)


def depth_angles(camera: Camera, depth: Float, normals: Float) -> Float:
    """(N,) degrees between the depth's normals and world-space normals (H, W, 3), where both are known."""
    found, known = depth_normals(camera, depth)
    inner = normals[REACH:-REACH, REACH:-REACH]
    known &= inner.any(-1)
    return degrees_between(found[known] @ np.array(camera.c2w, np.float32)[:3, :3].T, inner[known])


def depth_normals(camera: Camera, depth: Float) -> tuple[Float, Bool]:
    """Normals that planar depth has by itself, in the camera's space, towards the camera.

    Args:
        camera: of the view.
        depth: (H, W), 0 = none.

    Returns:
        (H - 4, W - 4, 3) float32 of length 1 for the inner pixels, and where they may be believed.
    """
    whole = _whole(depth > 0)
    z = np.where(depth > 0, depth, 1)
    w = z if camera.orthographic else 1 / z
    offsets = np.arange(-REACH, REACH + 1, dtype=np.float32)
    rising = offsets / np.float32((offsets**2).sum())
    even = np.full_like(offsets, 1 / offsets.size)
    mean = _separable(w, even, even)
    along_u, along_v = _separable(w, rising, even), _separable(w, even, rising)
    left = _separable(w * w, even, even) - mean**2 - (along_u**2 + along_v**2) * np.float32((offsets**2).mean())
    slope = np.sqrt(along_u**2 + along_v**2)

    (fx, _, cx), (_, fy, cy), _ = camera.K
    height, width = mean.shape
    v, u = np.mgrid[:height, :width].astype(np.float32) + np.float32(REACH + 0.5)
    if camera.orthographic:
        normal = np.stack([along_u * fx, along_v * fy, np.full_like(mean, -1)], -1)
        towards = np.broadcast_to(np.array([0, 0, -1], np.float32), normal.shape)
    else:
        x, y = (u - cx) / fx, (v - cy) / fy
        nx, ny = along_u * fx, along_v * fy
        normal = -np.stack([nx, ny, mean - nx * x - ny * y], -1)
        towards = -np.stack([x, y, np.ones_like(x)], -1) / np.sqrt(x**2 + y**2 + 1)[..., None]
    normal = (normal / np.linalg.norm(normal, axis=-1, keepdims=True)).astype(np.float32)
    facing = np.einsum("...i,...i->...", normal, towards) > LEAST_COSINE
    rounding = np.float32(1e-5) * np.abs(mean)
    flat = np.sqrt(np.maximum(left, 0)) < MOST_RESIDUAL * slope + rounding
    return normal, whole & facing & flat


def _whole(known: Bool) -> Bool:
    """(H, W) → (H - 4, W - 4): whether all of a window is known."""
    size = 2 * REACH + 1
    rows = np.logical_and.reduce([known[i : known.shape[0] - size + 1 + i] for i in range(size)])
    return np.asarray(np.logical_and.reduce([rows[:, i : rows.shape[1] - size + 1 + i] for i in range(size)]))


def _separable(values: Float, across: Float, down: Float) -> Float:
    """(H, W) → (H - 4, W - 4): weighted sums over windows, the weights a product of two rows of five."""
    size = 2 * REACH + 1
    width, height = values.shape[1] - size + 1, values.shape[0] - size + 1
    rows = sum(across[i] * values[:, i : i + width] for i in range(size))
    return np.asarray(sum(down[i] * rows[i : i + height] for i in range(size)), np.float32)


def id_disagreement(cameras: Sequence[Camera], depth: Float, ids: npt.NDArray[np.uint16]) -> float | None:
    """Share of the surface points, away from the ids' outlines, that a neighbouring view gives another id.

    Args:
        cameras: of the views.
        depth, ids: (V, H, W), 0 = none.

    Returns:
        None where too few points are seen twice.
    """
    inside = [_alike(view) for view in ids]
    compared = unlike = 0
    for i, j in neighbours(cameras):
        pixels = np.flatnonzero(inside[i] & (depth[i] > 0))
        if len(pixels) > POINTS_PER_VIEW:
            pixels = pixels[np.linspace(0, len(pixels) - 1, POINTS_PER_VIEW).astype(np.intp)]
        v, u = np.divmod(pixels, depth.shape[2])
        points = arrays.unproject(cameras[i].K, u, v, depth[i, v, u], orthographic=cameras[i].orthographic, centre=0)
        world = arrays.to_world(points, cameras[i].c2w)
        there = cameras[j]
        column, row, z = arrays.project(world, there.K, there.c2w, orthographic=there.orthographic, centre=0)
        x, y = np.rint(column).astype(np.intp), np.rint(row).astype(np.intp)
        near = (x >= 0) & (y >= 0) & (x < depth.shape[2]) & (y < depth.shape[1]) & (z > 0)
        x, y, z, own = x[near], y[near], z[near], ids[i, v, u][near]
        close = np.abs(depth[j, y, x] - z) < SAME_PLACE * arrays.footprint(there.K, z, orthographic=there.orthographic)
        use = close & inside[j][y, x]
        compared += int(use.sum())
        unlike += int((ids[j, y, x][use] != own[use]).sum())
    return unlike / compared if compared >= FEWEST_POINTS else None


def _alike(ids: npt.NDArray[np.uint16]) -> Bool:
    """(H, W): pixels of an object whose eight neighbours are of it too."""
    same: Bool = ids > 0
    same[[0, -1]] = same[:, [0, -1]] = False
    height, width = ids.shape
    for dy in range(3):
        for dx in range(3):
            same[1:-1, 1:-1] &= ids[dy : height - 2 + dy, dx : width - 2 + dx] == ids[1:-1, 1:-1]
    return same
