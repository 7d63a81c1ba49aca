"""How big the visible geometry is, and the one empty that makes it the size we want."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix, Vector

from .failure import Failure
from .instances import gather, shown_objects
from .pieces import corners_of, stray

SHAPES = {"MESH", "CURVE", "SURFACE", "FONT", "META"}
Points = np.ndarray[Any, np.dtype[np.float64]]
# float32 squares must neither vanish nor overflow in Cycles' intersection and Blender's normals
SMALLEST, LARGEST = 1e-15, 1e15


@dataclass(frozen=True)
class Shape:
    """The visible geometry after normalisation: normalised = scale * original + offset."""

    scale: float
    offset: list[float]
    radius: float
    faces: int
    vertices: int
    objects: int


def pose(frame: int | None) -> None:
    """Sets the frame to show: `frame`, else the first of the earliest action, else the file's own."""
    starts = [action.frame_range[0] for action in bpy.data.actions]
    scene = bpy.context.scene
    scene.frame_set(frame if frame is not None else int(min(starts, default=scene.frame_current)))


def normalise(rule: str, turn: Matrix, complaints: list[str]) -> Shape:
    """Scales and centres the visible, evaluated geometry, by the one empty that shows it all.

    sphere: the bounding sphere about the centre of the bounding box gets radius 0.5; cube: the longest side becomes 1;
    diagonal: the box's diagonal becomes 1 (both by `published_box`). `turn` stands the file upright first. Raises
    Failure: EMPTY_SCENE, BAD_GEOMETRY.
    """
    empty = gather(turn)
    clouds, faces, objects = [], 0, 0
    for points, count in visible_points():
        clouds.append(points)
        faces += count
        objects += 1
    vertices = sum(len(c) for c in clouds)
    if not vertices:
        raise Failure("EMPTY_SCENE", empty_message(shown_objects(empty)))
    low = np.min([c.min(axis=0) for c in clouds], axis=0)
    high = np.max([c.max(axis=0) for c in clouds], axis=0)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise Failure("BAD_GEOMETRY", "some vertices are not finite numbers")
    if rule != "sphere":
        low, high = published_box(shown_objects(empty), turn, low, high)
    centre = (low + high) / 2
    reach = float(np.sqrt(max((((c - centre) ** 2).sum(axis=1)).max() for c in clouds)))
    if not SMALLEST < reach < LARGEST:
        raise Failure("BAD_GEOMETRY", f"the visible geometry's bounding sphere has radius {reach:g}")
    if is_a_line(clouds, centre, reach):
        raise Failure("BAD_GEOMETRY", "all visible vertices lie on one line")
    if note := stray(clouds, faces, reach, visible_polygons):
        complaints.append(note)
    size = {"sphere": 2 * reach, "cube": float((high - low).max()), "diagonal": float(np.linalg.norm(high - low))}[rule]
    scale = 1.0 / size
    offset = -scale * centre
    empty.matrix_world = Matrix.LocRotScale(offset.tolist(), None, (scale, scale, scale)) @ turn
    bpy.context.view_layer.update()
    return Shape(scale, offset.tolist(), reach * scale, faces, vertices, objects)


def published_box(shown: list[bpy.types.Object], turn: Matrix, low: Points, high: Points) -> tuple[Points, Points]:
    """The box that the published scripts mean: around the corners of each mesh object's own box, turned as it is.

    Wider than the geometry's (low, high) where an object is turned; data that replaces theirs has to be as small.
    """
    corners = [
        [turn @ thing.matrix_world @ Vector(corner) for corner in thing.bound_box]
        for thing in shown
        if thing.type == "MESH"
    ]
    points = np.array([low, high, *(c for box in corners for c in box)])
    return points.min(axis=0), points.max(axis=0)


def visible_points() -> Iterator[tuple[Points, int]]:
    """World positions (n, 3) float64 of the vertices that faces use, and the triangle count, an instance at a time."""
    known: dict[int, tuple[Points, int]] = {}
    for thing, matrix in visible_instances():
        key = thing.data.as_pointer() if thing.type == "MESH" else thing.as_pointer()
        if key not in known:
            known[key] = face_points(thing)
        points, triangles = known[key]
        if triangles:
            with np.errstate(all="ignore"):  # what is not finite is reported, not warned of
                yield points @ matrix[:3, :3].T + matrix[:3, 3], triangles


def visible_instances() -> Iterator[tuple[bpy.types.Object, Points]]:
    """Each instance of something that can have faces, and its matrix (4, 4) to the world."""
    for instance in bpy.context.evaluated_depsgraph_get().object_instances:
        if instance.object.type in SHAPES and instance.show_self:
            yield instance.object, np.array(instance.matrix_world, dtype=np.float64)


def visible_polygons() -> Iterator[tuple[Points, Points]]:
    """World positions (n, 3) of all corners, and where each polygon begins (m,), an instance at a time."""
    for thing, matrix in visible_instances():
        mesh = thing.to_mesh()
        if mesh is not None and len(mesh.polygons):
            corners, starts = corners_of(mesh)
            yield corners @ matrix[:3, :3].T + matrix[:3, 3], starts
        thing.to_mesh_clear()


def face_points(thing: bpy.types.Object) -> tuple[Points, int]:
    """Local positions of the vertices that faces use. Loose points and edges are not rendered, so do not count."""
    mesh = thing.to_mesh()
    if mesh is None or not len(mesh.polygons):
        thing.to_mesh_clear()
        return np.zeros((0, 3)), 0
    positions = np.empty(len(mesh.vertices) * 3, dtype=np.float32)
    mesh.vertices.foreach_get("co", positions)
    corners = np.empty(len(mesh.loops), dtype=np.int32)
    mesh.loops.foreach_get("vertex_index", corners)
    triangles = len(corners) - 2 * len(mesh.polygons)
    if corners.min() < 0 or corners.max() >= len(mesh.vertices):  # Cycles would read beyond the end
        raise Failure("BAD_GEOMETRY", "faces refer to vertices that do not exist")
    used = np.zeros(len(mesh.vertices), dtype=bool)
    used[corners] = True
    thing.to_mesh_clear()
    return positions.reshape(-1, 3)[used].astype(np.float64), triangles


def is_a_line(clouds: list[Points], centre: Points, reach: float) -> bool:
    spread = np.zeros((3, 3))
    for cloud in clouds:
        unit = (cloud - centre) / reach
        spread += unit.T @ unit
    eigenvalues = np.linalg.eigvalsh(spread)
    return bool(eigenvalues[1] < 1e-14 * eigenvalues[2])


def empty_message(shown: list[bpy.types.Object]) -> str:
    meshes = [o for o in bpy.data.objects if o.type == "MESH"]
    if not meshes:
        kinds = sorted({o.type.lower() for o in shown})
        return f"the import left no mesh ({', '.join(kinds) or 'nothing at all'})"
    points = sum(len(o.data.vertices) for o in meshes)
    return f"no visible faces: {len(meshes)} mesh objects, {points} vertices"
