"""A solid whose corners can be found in an image: six plane faces, nothing symmetric, each its own colour of a texture.

Faces that face ±x are red, ±y green, ±z blue, brighter on the positive side. Two faces
that meet never share a channel, so a face's coverage of a pixel is one channel of it, and its outline is sharp to a
small part of a pixel. The corners are found as the meeting points of lines fitted to the outline.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import trimesh
from PIL import Image

from dataengine.render.blender.protocol import Camera
from dataengine.render.colour import linear_of_srgb

Array = npt.NDArray[np.float64]

LEVELS = (0.8, 0.3)


@dataclass(frozen=True)
class Face:
    corners: Array  # (4, 3), counter-clockwise seen from outside, z-up world of the file
    channel: int
    level: float


def faces() -> list[Face]:
    """A cube seen through a projective map, which keeps planes plane and convex things convex."""
    result = []
    for axis in range(3):
        for side, level in zip((1.0, -1.0), LEVELS, strict=True):
            a, b = (axis + 1) % 3, (axis + 2) % 3
            square = np.zeros((4, 3))
            square[:, axis] = side
            square[:, a] = [-1, 1, 1, -1]
            square[:, b] = [-1, -1, 1, 1]
            corners = _warp(square if side > 0 else square[::-1])
            result.append(Face(corners, axis, level))
    return result


def _warp(points: Array) -> Array:
    stretched = points * [1.0, 0.8, 0.6]
    return np.asarray(3 * stretched / (1 + stretched @ [0.18, -0.12, 0.25])[:, None] + [5.0, -2.0, 1.0])


def write_glb(path: Path) -> Path:
    """glTF is y-up: (x, y, z) of our world is (x, z, -y) there."""
    sides = faces()
    texture = np.zeros((1, 6, 3), np.uint8)
    vertices, triangles, uv = [], [], []
    for i, face in enumerate(sides):
        texture[0, i, face.channel] = round(255 * _srgb(face.level))
        x, y, z = face.corners.T
        vertices.append(np.stack([x, z, -y], 1))
        triangles += [[4 * i, 4 * i + 1, 4 * i + 2], [4 * i, 4 * i + 2, 4 * i + 3]]
        uv += [[(i + 0.5) / 6, 0.5]] * 4
    material = trimesh.visual.material.PBRMaterial(
        metallicFactor=0.0, roughnessFactor=1.0, baseColorTexture=Image.fromarray(texture)
    )
    mesh = trimesh.Trimesh(np.concatenate(vertices), triangles, process=False)
    mesh.visual = trimesh.visual.TextureVisuals(uv=np.array(uv), material=material)
    path.write_bytes(trimesh.Scene(mesh).export(file_type="glb"))
    return path


def _srgb(linear: float) -> float:
    return 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055


def project(camera: Camera, points: Array) -> tuple[Array, Array]:
    """World points (N, 3) → pixels (N, 2) and planar depths (N,), by cameras.json's conventions and nothing else."""
    k, w2c = np.array(camera.K), np.linalg.inv(camera.c2w)
    inside = points @ w2c[:3, :3].T + w2c[:3, 3]
    z = inside[:, 2]
    flat = inside[:, :2] / (1 if camera.orthographic else z[:, None])
    return flat * [k[0, 0], k[1, 1]] + k[:2, 2], z


def coverage(rgba: npt.NDArray[np.uint8], face: Face, centre: Array) -> Array:
    """(H, W): how much of each pixel a face covers, given that it faces the camera and where its centre is seen."""
    linear = linear_of_srgb()[rgba[..., :3]]
    # what all channels share is the white highlight of whichever face it is
    light = (linear[..., face.channel] - linear.min(-1)) * (rgba[..., 3] / 255)
    column, row = centre.astype(int)
    return np.asarray(light / np.median(light[row - 1 : row + 2, column - 1 : column + 2]))


@dataclass(frozen=True)
class Found:
    error: float  # pixels between the corner's projection and where the image has it
    depth_error: float  # world units, at the pixel two pixels inside the face
    face: Face


def find_corners(
    camera: Camera, rgba: npt.NDArray[np.uint8], depth: npt.NDArray[np.float32], scale: float, offset: Array
) -> list[Found]:
    """All corners of faces that the camera sees well enough, wholly inside the image."""
    size = rgba.shape[0]
    position, forward = np.array(camera.c2w)[:3, 3], np.array(camera.c2w)[:3, 2]
    found = []
    for face in faces():
        world = scale * face.corners + offset
        normal = np.cross(world[1] - world[0], world[2] - world[1])
        normal /= np.linalg.norm(normal)
        centre = world.mean(0)
        towards = -forward if camera.orthographic else (position - centre) / np.linalg.norm(position - centre)
        if normal @ towards < 0.3:
            continue
        pixels, _ = project(camera, world)
        image = coverage(rgba, face, pixels.mean(0))
        lines = [_fit_edge(image, pixels[i], pixels[(i + 1) % 4]) for i in range(4)]
        for i in range(4):
            before, after = lines[i - 1], lines[i]
            if before is None or after is None or abs(np.cross(before[1], after[1])) < 0.5:
                continue
            if pixels[i].min() < 4 or pixels[i].max() > size - 4:
                continue
            corner = _meet(before, after)
            inward = pixels.mean(0) - pixels[i]
            column, row = (pixels[i] + 4 * inward / np.linalg.norm(inward)).astype(int)
            true = _plane_depth(camera, column + 0.5, row + 0.5, centre, normal)
            error = float(np.linalg.norm(corner - pixels[i]))
            found.append(Found(error, abs(float(depth[row, column]) - true), face))
    return found


def _fit_edge(image: Array, start: Array, end: Array) -> tuple[Array, Array] | None:
    """A line (point, direction) through where the coverage crosses one half, near a predicted edge; None: too short."""
    length = float(np.linalg.norm(end - start))
    if length < 24:
        return None
    direction = (end - start) / length
    normal = np.array([-direction[1], direction[0]])
    # away from the ends, where the other edges are
    along = start + np.linspace(6, length - 6, 48)[:, None] * direction
    reach = np.linspace(-3, 3, 49)  # steps of an eighth
    samples = along[:, None] + reach[:, None] * normal
    if samples.min() < 1 or samples.max() > image.shape[0] - 1:
        return None
    values = _bilinear(image, samples) - 0.5
    crosses = values[:, 1:] * values[:, :-1] <= 0
    rows = np.flatnonzero(crosses.any(1))
    if len(rows) < 0.75 * len(along):
        return start + 1e3 * normal, direction  # not there: an error, not an excuse
    # a noisy profile may cross twice: the crossing with the greatest contrast across a pixel is the edge
    padded = np.pad(values, ((0, 0), (8, 8)), "edge")
    contrast = np.abs(padded[:, 16:] - padded[:, :-16])[:, :-1]
    at = np.where(crosses, contrast, -1).argmax(1)[rows]
    v0, v1 = values[rows, at], values[rows, at + 1]
    crossing = along[rows] + (reach[at] - v0 / (v1 - v0) * (reach[1] - reach[0]))[:, None] * normal
    middle = crossing.mean(0)
    return middle, np.linalg.svd(crossing - middle)[2][0]


def _bilinear(image: Array, points: Array) -> Array:
    u, v = points[..., 0] - 0.5, points[..., 1] - 0.5
    column, row = np.floor(u).astype(int), np.floor(v).astype(int)
    s, t = u - column, v - row
    top = (1 - s) * image[row, column] + s * image[row, column + 1]
    bottom = (1 - s) * image[row + 1, column] + s * image[row + 1, column + 1]
    return np.asarray((1 - t) * top + t * bottom)


def _meet(a: tuple[Array, Array], b: tuple[Array, Array]) -> Array:
    t = np.linalg.solve(np.stack([a[1], -b[1]], 1), b[0] - a[0])
    return np.asarray(a[0] + t[0] * a[1])


def _plane_depth(camera: Camera, u: float, v: float, point: Array, normal: Array) -> float:
    """Planar depth at which a pixel's ray meets a plane."""
    k, c2w = np.array(camera.K), np.array(camera.c2w)
    x, y = (u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1]
    if camera.orthographic:
        origin, ray = c2w[:3, :3] @ [x, y, 0] + c2w[:3, 3], c2w[:3, 2]
    else:
        origin, ray = c2w[:3, 3], c2w[:3, :3] @ [x, y, 1]
    return float((point - origin) @ normal / (ray @ normal))


def write_rotated_glb(path: Path) -> Path:
    """One root with two turned ellipsoids below it: their own bounding boxes, turned, are wider than the geometry."""
    scene = trimesh.Scene()
    scene.graph.update("group", matrix=trimesh.transformations.rotation_matrix(0.4, [0, 1, 0]))
    for i, (angle, extents) in enumerate([(0.6, (1.0, 0.3, 0.5)), (-0.9, (0.2, 0.9, 0.4))]):
        turn = trimesh.transformations.rotation_matrix(angle, [1, 2 - 3 * i, 3], [0.2, 0.1 * i, 0.3])
        sphere = trimesh.creation.icosphere(subdivisions=2)
        sphere.apply_scale(extents)
        scene.add_geometry(sphere, f"part{i}", f"part{i}", parent_node_name="group", transform=turn)
    path.write_bytes(scene.export(file_type="glb"))
    return path
