"""A small ray tracer for tests: depth maps of scenes whose geometry is known in closed form."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dataengine.render.blender.protocol import Camera

Array = npt.NDArray[np.float64]


def ellipsoid(centre: Sequence[float], radii: Sequence[float]) -> tuple[str, Array, Array]:
    return "ellipsoid", np.array(centre, float), np.array(radii, float)


def box(centre: Sequence[float], half: Sequence[float]) -> tuple[str, Array, Array]:
    return "box", np.array(centre, float), np.array(half, float)


# Nothing about it is symmetric, it is concave, and it has a thin plate; all within radius 0.5.
SCENE = [
    ellipsoid((-0.1, 0.05, 0.1), (0.3, 0.16, 0.22)),
    box((0.2, -0.12, -0.15), (0.12, 0.2, 0.08)),
    box((0.1, 0.28, 0.0), (0.15, 0.004, 0.25)),
    ellipsoid((0.3, -0.15, 0.1), (0.05, 0.05, 0.15)),
]


def rays(camera: Camera, height: int, width: int) -> tuple[Array, Array]:
    """Origins and directions (H, W, 3) in the world; directions have a planar depth of 1."""
    v, u = np.mgrid[:height, :width] + 0.5
    k, c2w = np.array(camera.K), np.array(camera.c2w)
    x, y = (u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1]
    zero, one = np.zeros_like(x), np.ones_like(x)
    if camera.orthographic:
        return np.stack([x, y, zero], -1) @ c2w[:3, :3].T + c2w[:3, 3], np.broadcast_to(c2w[:3, 2], (*x.shape, 3))
    directions = np.stack([x, y, one], -1) @ c2w[:3, :3].T
    return np.broadcast_to(c2w[:3, 3], directions.shape), directions


def depth_map(
    camera: Camera, size: int, scene: Sequence[tuple[str, Array, Array]] = tuple(SCENE)
) -> npt.NDArray[np.float32]:
    """(size, size) planar depth, 0 = none."""
    origin, direction = rays(camera, size, size)
    nearest = np.full((size, size), np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        for kind, centre, extent in scene:
            o, d = (origin - centre) / extent, direction / extent
            if kind == "ellipsoid":
                a, b, c = (d * d).sum(-1), (o * d).sum(-1), (o * o).sum(-1) - 1
                t = (-b - np.sqrt(b * b - a * c)) / a
            else:
                t0, t1 = (-1 - o) / d, (1 - o) / d
                enter, leave = np.minimum(t0, t1).max(-1), np.maximum(t0, t1).min(-1)
                t = np.where(enter < leave, enter, np.nan)
            nearest = np.fmin(nearest, np.where(t > 0, t, np.nan))
    return np.where(np.isfinite(nearest), nearest, 0).astype(np.float32)
