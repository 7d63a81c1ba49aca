"""A stray piece that sets the frame: a triangle left far away makes the object itself a speck."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import bpy
import numpy as np

Points = np.ndarray[Any, np.dtype[np.float64]]

MOST = 0.001  # of all faces: a stray piece has no more
LEFT_OUT = 0.01  # of the vertices: the farthest, among which the stray piece is
BULK = 0.5  # of the bounding sphere's radius: what the others must fit in
GAP = 1.2  # times the others' radius: no face may cross a sphere of this size


def stray(
    clouds: Sequence[Points], faces: int, reach: float, polygons: Callable[[], Iterator[tuple[Points, Any]]]
) -> str | None:
    """What to say of pieces with under 0.1 % of the faces that set the frame; None where there are none.

    Args:
        clouds: the vertices (n, 3) of each visible instance, in the world.
        faces: all visible triangles.
        reach: the bounding sphere's radius.
        polygons: gives each instance's corners (n, 3) in the world and where its polygons begin among them (m,). Asked
            for only where something may be astray.
    """
    middle = np.median(np.concatenate([cloud[:: max(len(cloud) // 10_000, 1)] for cloud in clouds]), axis=0)
    far = np.concatenate([np.linalg.norm(cloud - middle, axis=1) for cloud in clouds])
    bulk = float(np.quantile(far, 1 - LEFT_OUT)) * GAP
    if bulk > BULK * reach:
        return None
    lost = 0
    for corners, starts in polygons():
        outside = np.linalg.norm(corners - middle, axis=1) > bulk
        any_corner, every_corner = np.logical_or.reduceat(outside, starts), np.logical_and.reduceat(outside, starts)
        if (any_corner != every_corner).any():  # it hangs together with the rest
            return None
        lost += int(outside.sum()) - 2 * int(every_corner.sum())
    if not 0 < lost <= MOST * faces:
        return None
    times = reach / max(bulk / GAP, 1e-9 * reach)
    return f"{lost} of {faces} faces lie far from all others and set the frame: the rest would be {times:.0f}× as large"


def corners_of(mesh: bpy.types.Mesh) -> tuple[Points, Any]:
    """The positions of all polygons' corners (n, 3), and where each polygon begins (m,)."""
    positions = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.vertices.foreach_get("co", positions)
    index, starts = np.empty(len(mesh.loops), np.int32), np.empty(len(mesh.polygons), np.int32)
    mesh.loops.foreach_get("vertex_index", index)
    mesh.polygons.foreach_get("loop_start", starts)
    return positions.reshape(-1, 3).astype(np.float64)[index], starts
