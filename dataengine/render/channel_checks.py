"""What the channels say about an asset: whether normals and ids agree with the depth.

The depth's normals. On a plane, 1 / z is linear in the image (parallel rays: z is), and the plane's normal is its
gradient. The gradient is fitted to 3 × 3 pixels; where the fit leaves anything, the surface ends, steps or bends, and
nothing is compared. Cycles' first sample, which has the depth, lies at the same place in every pixel.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataengine.geometry import arrays
from dataengine.render.blender.protocol import Camera
from dataengine.render.channels import nonzero
from dataengine.render.checks import FEWEST_POINTS, LEAST_COSINE, POINTS_PER_VIEW, neighbours
from dataengine.render.views import Views

Float = npt.NDArray[np.float32]
Places = npt.NDArray[np.intp]
Bool = npt.NDArray[np.bool_]

MOST_RESIDUAL = 0.03  # root mean square, in footprints: a crease of some 8 degrees between two triangles
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
        both = views.covered & nonzero(shading) & nonzero(flat)
        places = [_some(where) for where in both]
        between = _median([degrees_between(a[p], b[p]) for a, b, p in zip(shading, flat, places, strict=True)])
        from_depth = _median([depth_angles(c, z, f) for c, z, f in zip(views.cameras, views.depth, flat, strict=True)])
    return ChannelChecks(
        normal_depth_angle=from_depth,
        shading_normal_angle=between,
        albedo_clipped=channels.albedo_clipped,
        id_disagreement=None if ids is None else id_disagreement(views.cameras, views.depth, ids),
        ids_seen=None if ids is None else int(np.unique(ids[ids > 0]).size),
    )


def _median(of_views: Sequence[Float]) -> float | None:
    values = np.concatenate(of_views)
    return float(np.median(values)) if values.size >= FEWEST_POINTS else None


def degrees_between(a: Float, b: Float) -> Float:
    """(N,) angles of unit vectors (N, 3)."""
    cosine = np.einsum("ij,ij->i", a, b)
    sine = np.linalg.norm(np.cross(a, b), axis=1)
    return np.asarray(np.degrees(np.arctan2(sine, cosine)), np.float32)


def depth_angles(camera: Camera, depth: Float, normals: Float) -> Float:
    """(N,) degrees between the depth's normals and world-space normals (H, W, 3), at places where both are known."""
    whole = _neighbourhoods(depth > 0)
    v, u = _some(whole & nonzero(normals))
    found, known = depth_normals(camera, depth, u, v)
    return degrees_between(found[known] @ np.array(camera.c2w, np.float32)[:3, :3].T, normals[v, u][known])


def depth_normals(camera: Camera, depth: Float, u: Places, v: Places) -> tuple[Float, Bool]:
    """Normals that planar depth has by itself, in the camera's space, towards the camera.

    Args:
        camera: of the view.
        depth: (H, W).
        u, v: (N,) columns and rows of pixels that have depth, as their eight neighbours have.

    Returns:
        (N, 3) float32 of length 1, and where they may be believed.
    """
    dv, du = np.mgrid[-1:2, -1:2].reshape(2, 9)
    z = depth[v[:, None] + dv, u[:, None] + du].astype(np.float64)
    w = z if camera.orthographic else 1 / z
    plane = np.stack([du, dv, np.ones(9)], 1)
    fit = w @ np.linalg.pinv(plane).T
    left = np.sqrt(((w - fit @ plane.T) ** 2).mean(1))

    (fx, _, cx), (_, fy, cy), _ = camera.K
    along_x, along_y, middle = fit[:, 0] * fx, fit[:, 1] * fy, fit[:, 2]
    if camera.orthographic:
        normal = np.stack([along_x, along_y, np.full_like(middle, -1)], 1)
        towards = np.broadcast_to([0.0, 0.0, -1.0], normal.shape)
    else:
        x, y = (u + 0.5 - cx) / fx, (v + 0.5 - cy) / fy
        normal = -np.stack([along_x, along_y, middle - along_x * x - along_y * y], 1)
        towards = -np.stack([x, y, np.ones_like(x)], 1) / np.sqrt(x**2 + y**2 + 1)[:, None]
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    facing = np.einsum("ij,ij->i", normal, towards) > LEAST_COSINE
    footprint = (1 if camera.orthographic else middle) / fx
    return normal.astype(np.float32), facing & (left < MOST_RESIDUAL * footprint)


def _some(where: Bool) -> tuple[Places, Places]:
    """Rows and columns of POINTS_PER_VIEW of these places (H, W), evenly chosen, or of all."""
    places = np.flatnonzero(where)
    if len(places) > POINTS_PER_VIEW:
        places = places[np.linspace(0, len(places) - 1, POINTS_PER_VIEW).astype(np.intp)]
    v, u = np.divmod(places, where.shape[1])
    return v, u


def _neighbourhoods(known: Bool) -> Bool:
    """(H, W): places that are known, as their eight neighbours are."""
    whole = np.zeros_like(known)
    height, width = known.shape
    parts = [known[y : height - 2 + y, x : width - 2 + x] for y in range(3) for x in range(3)]
    whole[1:-1, 1:-1] = np.logical_and.reduce(parts)
    return whole


def id_disagreement(cameras: Sequence[Camera], depth: Float, ids: npt.NDArray[np.uint16]) -> float | None:
    """Share of the surface points, away from the ids' outlines, that a neighbouring view gives another id.

    Args:
        cameras: of the views.
        depth, ids: (V, H, W), 0 = none.

    Returns:
        None where too few points are seen twice.
    """
    inside = [_alike(view) & (z > 0) for view, z in zip(ids, depth, strict=True)]
    compared = unlike = 0
    for i, j in neighbours(cameras):
        v, u = _some(inside[i])
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
    height, width = ids.shape
    same: Bool = np.zeros(ids.shape, np.bool_)
    parts = [ids[y : height - 2 + y, x : width - 2 + x] == ids[1:-1, 1:-1] for y in range(3) for x in range(3)]
    same[1:-1, 1:-1] = np.logical_and.reduce([ids[1:-1, 1:-1] > 0, *parts])
    return same
