"""The few shapes that the generated models are built from: boxes, surfaces of revolution, tubes, fans, free grids.

World is z-up. Every shape comes with texture coordinates in [0, 1] over its whole (v = 0 at the bottom of the image),
so a pattern wraps once around it unless `tiled` says otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Shape:
    """Triangles with texture coordinates.

    Attributes:
        points: (n, 3).
        uv: (n, 2), v upwards.
        faces: (m, 3) indices, counter-clockwise seen from outside.
        colours: (n, 3) sRGB in 0…1, or None.
    """

    points: Floats
    uv: Floats
    faces: Ints
    colours: Floats | None = None

    def moved(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> "Shape":
        return replace(self, points=self.points + np.array([x, y, z]))

    def scaled(self, x: float, y: float | None = None, z: float | None = None) -> "Shape":
        return replace(self, points=self.points * [x, x if y is None else y, x if z is None else z])

    def turned(self, axis: str, degrees: float) -> "Shape":
        """Rotated about the x, y or z axis through the origin, counter-clockwise."""
        a, b = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        points = self.points.copy()
        points[:, a], points[:, b] = (
            c * self.points[:, a] - s * self.points[:, b],
            s * self.points[:, a] + c * self.points[:, b],
        )
        return replace(self, points=points)

    def tiled(self, u: float, v: float) -> "Shape":
        """The texture repeated u × v times over the shape."""
        return replace(self, uv=self.uv * [u, v])

    def painted(self, colours: ArrayLike) -> "Shape":
        """With a colour at each vertex (n, 3), or one for all (3,)."""
        return replace(self, colours=np.broadcast_to(np.asarray(colours, float), self.points.shape).copy())

    def flipped(self) -> "Shape":
        """Inside out."""
        return replace(self, faces=self.faces[:, ::-1])


def join(*shapes: Shape) -> Shape:
    """Several shapes as one; all or none of them painted."""
    starts = np.cumsum([0, *(len(s.points) for s in shapes[:-1])])
    painted = [s.colours for s in shapes if s.colours is not None]
    return Shape(
        np.concatenate([s.points for s in shapes]),
        np.concatenate([s.uv for s in shapes]),
        np.concatenate([s.faces + start for s, start in zip(shapes, starts, strict=True)]),
        np.concatenate(painted) if painted else None,
    )


def grid(points: ArrayLike, uv: ArrayLike | None = None) -> Shape:
    """A sheet over a (rows, columns, 3) lattice; its outside is where column × row points."""
    p = np.asarray(points, float)
    rows, columns = p.shape[:2]
    if uv is None:
        uv = np.stack(np.meshgrid(np.linspace(0, 1, columns), np.linspace(0, 1, rows)), -1)
    i = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    faces = np.concatenate([np.stack([i, i + 1, i + columns + 1], -1), np.stack([i, i + columns + 1, i + columns], -1)])
    flat = p.reshape(-1, 3)
    a, b, c = (flat[faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    faces = faces[area > 1e-12 * max(area.max(initial=0.0), 1e-300)]  # poles and collapsed edges make no face
    return Shape(flat, np.asarray(uv, float).reshape(-1, 2), faces)


def lathe(profile: Sequence[tuple[float, float]] | Floats, segments: int = 48, turn: float = 360.0) -> Shape:
    """A surface of revolution about z: profile of (radius, z), seen from outside when it runs upwards.

    u runs around, v along the profile in proportion to its length.
    """
    p = np.asarray(profile, float)
    angle = np.radians(np.linspace(0, turn, segments + 1))
    points = np.stack(
        [p[:, :1] * np.cos(angle), p[:, :1] * np.sin(angle), np.broadcast_to(p[:, 1:], (len(p), len(angle)))], -1
    )
    if turn == 360.0:
        points[:, -1] = points[:, 0]
    v = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(p, axis=0), axis=1))])
    u, v = np.meshgrid(angle / angle[-1], v / v[-1])
    return grid(points, np.stack([u, v], -1))


def smooth(profile: Sequence[tuple[float, ...]], per_span: int = 8) -> Floats:
    """A Catmull-Rom curve through the given points."""
    p = np.asarray(profile, float)
    p = np.concatenate([[2 * p[0] - p[1]], p, [2 * p[-1] - p[-2]]])
    t = np.linspace(0, 1, per_span, endpoint=False)[:, None]
    spans = []
    for a, b, c, d in zip(p[:-3], p[1:-2], p[2:-1], p[3:], strict=True):
        spans.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    return np.concatenate([*spans, p[-2:-1]])


def ball(radius: float = 1.0, segments: int = 40) -> Shape:
    """A sphere about the origin."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, segments // 2 + 1)
    ring = np.stack([radius * np.cos(angle).clip(0), radius * np.sin(angle)], -1)
    ring[[0, -1], 0] = 0
    return lathe(ring, segments)


def cylinder(radius: float, height: float, segments: int = 40, top: float | None = None) -> Shape:
    """A capped cylinder (or cone: `top` is the upper radius) standing on z = 0."""
    upper = radius if top is None else top
    side = lathe([(radius, 0.0), (upper, height)], segments)
    caps = [disc(radius, segments).turned("x", 180)]
    if upper > 0:
        caps.append(disc(upper, segments).moved(z=height))
    return join(side, *caps)


def disc(radius: float, segments: int = 40) -> Shape:
    """A flat disc at z = 0 facing up, the texture laid over it."""
    angle = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    return fan(radius * np.stack([np.cos(angle), np.sin(angle)], -1))


def fan(outline: ArrayLike) -> Shape:
    """A flat outline (k, 2) in the xy plane facing up, star-shaped about the mean of its points."""
    o = np.asarray(outline, float)
    flat = np.concatenate([o.mean(axis=0, keepdims=True), o])
    low, high = flat.min(axis=0), flat.max(axis=0)
    i = np.arange(len(o))
    faces = np.stack([np.zeros_like(i), i + 1, (i + 1) % len(o) + 1], -1)
    return Shape(np.pad(flat, ((0, 0), (0, 1))), (flat - low) / (high - low), faces)


def slab(outline: ArrayLike, thickness: float) -> Shape:
    """A flat outline (k, 2), counter-clockwise, star-shaped, made thick: from z = -thickness/2 to +thickness/2."""
    o = np.asarray(outline, float)
    closed = np.concatenate([o, o[:1]])
    rim = np.stack([np.pad(closed, ((0, 0), (0, 1)), constant_values=s * thickness / 2) for s in (-1, 1)])
    top = fan(o)
    bottom = replace(top, faces=top.faces[:, ::-1])
    return join(grid(rim), top.moved(z=thickness / 2), bottom.moved(z=-thickness / 2))


def box(x: float, y: float, z: float, rounding: float = 0.0, steps: int = 3) -> Shape:
    """A box about the origin, its edges rounded by a radius; the texture once on each face, sides upright."""
    half = np.array([x, y, z]) / 2
    r = min(rounding, *half)
    e = np.eye(3)
    sides = ((e[0], e[2]), (-e[0], e[2]), (e[1], e[2]), (-e[1], e[2]), (e[0], e[1]), (e[0], -e[1]))
    return join(*(_side(right, up, half, r, steps) for right, up in sides))


def _side(right: Floats, up: Floats, half: Floats, r: float, steps: int) -> Shape:
    def ticks(extent: Any) -> Floats:
        if r == 0:
            return np.array([-extent, extent])
        edge = extent - r + r * np.tan(np.linspace(0, np.pi / 4, steps + 1))  # even angles once on the rounding
        return np.concatenate([-edge[::-1], edge])

    width, height = abs(right) @ half, abs(up) @ half
    a, b = np.meshgrid(ticks(width), ticks(height))
    points = a[..., None] * right + b[..., None] * up + np.cross(right, up) * half
    if r > 0:
        core = points.clip(-(half - r), half - r)
        away = points - core
        points = core + r * away / np.linalg.norm(away, axis=-1, keepdims=True)
    return grid(points, np.stack([a / width, b / height], -1) / 2 + 0.5)


def tube(path: ArrayLike, radius: ArrayLike, segments: int = 16, flat: float = 1.0, capped: bool = True) -> Shape:
    """A round tube along a (k, 3) path; `radius` one or k values, `flat` squeezes it across the path's plane.

    u runs around, v along.
    """
    p = np.asarray(path, float)
    r = np.broadcast_to(np.asarray(radius, float), len(p))
    tangent = np.gradient(p, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    # Parallel transport: the section never spins about the path.
    side = np.cross(tangent[0], [0.0, 1.0, 0.0] if abs(tangent[0][1]) < 0.9 else [1.0, 0.0, 0.0])
    sides = []
    for t in tangent:
        side = side - t * (side @ t)
        side = side / np.linalg.norm(side)
        sides.append(side)
    n = np.array(sides)
    b = np.cross(tangent, n)
    angle = np.linspace(0, 2 * np.pi, segments + 1)[None, :, None]
    ring = np.cos(angle) * n[:, None] + np.sin(angle) * b[:, None] * flat
    ring[:, -1] = ring[:, 0]
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(p, axis=0), axis=1))])
    u, v = np.meshgrid(np.linspace(0, 1, segments + 1), length / length[-1])
    body = grid(p[:, None] + r[:, None, None] * ring, np.stack([u, v], -1))
    if not capped:
        return body
    caps = []
    for end, sign in ((0, -1), (-1, 1)):
        if r[end] > 0:
            rim = p[end] + r[end] * ring[end]
            middle = np.broadcast_to(p[end], rim.shape)
            caps.append(grid(np.stack([rim, middle] if sign > 0 else [middle, rim])))
    return join(body, *caps)


def normals(shape: Shape, crease: float = 40.0) -> tuple[Shape, Floats]:
    """Vertex normals, smooth where faces meet at less than `crease` degrees and sharp elsewhere.

    Seams of the texture do not show, because vertices at one position are taken together.

    Returns:
        The shape with its vertices split where needed, and (n, 3) unit normals.
    """
    corner_vertex = shape.faces.ravel()
    a, b, c = (shape.points[shape.faces[:, k]] for k in range(3))
    cross = np.cross(b - a, c - a)  # length = twice the area: the weight
    unit = cross / np.maximum(np.linalg.norm(cross, axis=1, keepdims=True), 1e-300)
    face = np.repeat(np.arange(len(shape.faces)), 3)

    # Keys are packed into one integer each: sorting those is ten times faster than sorting rows.
    extent = np.ptp(shape.points, axis=0).max()
    cells = np.round((shape.points - shape.points.min(axis=0)) / extent * 1e6).astype(np.int64)
    place = np.unique(cells @ [1 << 42, 1 << 21, 1], return_inverse=True)[1][corner_vertex]
    order = np.argsort(place, kind="stable")
    start, count = np.unique(place[order], return_index=True, return_counts=True)[1:]
    # Every pair (i, j) of corners at one place.
    each = np.repeat(count, count)
    i = np.repeat(order, each)
    j = order[
        np.repeat(np.repeat(start, count), each) + (np.arange(each.sum()) - np.repeat(np.cumsum(each) - each, each))
    ]
    near = np.einsum("nk,nk->n", unit[face[i]], unit[face[j]]) > np.cos(np.radians(crease))
    total: Floats = np.stack(
        [np.bincount(i[near], cross[face[j[near]], k], len(face)).astype(float) for k in range(3)], -1
    )
    total /= np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-300)

    rounded = np.round(total * 1000).astype(np.int64) + 1000
    key = (corner_vertex << 33) + rounded @ [1 << 22, 1 << 11, 1]
    first, index = np.unique(key, return_index=True, return_inverse=True)[1:]
    keep = corner_vertex[first]
    colours = None if shape.colours is None else shape.colours[keep]
    return Shape(shape.points[keep], shape.uv[keep], index.reshape(-1, 3), colours), total[first]
