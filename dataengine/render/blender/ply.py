"""PLY whose colours or textures Blender's importer drops: faces with colours of their own, texture files in comments.

Such a file is rewritten with vertices of its own for each face corner, which then carry what the face or the corner
had. MeshLab and photogrammetry write `comment TextureFile NAME`, with coordinates a vertex or a corner.
"""

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from .failure import Failure
from .ply_file import Array, Header, body_of, header_of
from .references import Files

COORDINATES = (("s", "t"), ("texture_u", "texture_v"), ("u", "v"))  # of vertices; Blender reads the first
INDICES = ("vertex_indices", "vertex_index")


@dataclass
class Ply:
    """A PLY to import.

    Attributes:
        path: the file, or a copy that Blender reads.
        images: the texture files that are there, as the header names them, in order; None where one is missing.
        missing: the names of those.
        numbers: (faces,) which texture each face has; None: all the first.
    """

    path: Path
    images: list[Path | None] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    numbers: Array | None = None


def readable(file: Path, out: Path, known: list[str], complaints: list[str]) -> Ply:
    """A file whose header or body is broken is left to the importer, which says so."""
    try:
        header = header_of(file)
        vertex, face = header.vertex, header.face
        check_finite(file, header)
        named = next((pair for pair in COORDINATES if vertex.has(*pair)), None)
        by_corner = face.has("texcoord")
        painted = face.has("red", "green", "blue")
        if painted and vertex.has("red", "green", "blue"):
            complaints.append("vertices and faces have colours; those of the vertices are shown")
            painted = False
        files = Files(file.parent, known)
        found = [files.find(name) for name in header.textures]
        missing = [name for name, path in zip(header.textures, found, strict=True) if path is None]
        result = Ply(file, found, missing)
        if painted or (header.textures and (by_corner or named not in (None, COORDINATES[0]))):
            body = body_of(file, header)
            (out / "import.ply").write_bytes(by_corners(header, body, painted, named, by_corner))
            result.path = out / "import.ply"
            if len(found) > 1 and face.has("texnumber"):
                result.numbers = body["face"]["texnumber"].astype(np.int32)
        elif header.textures and named is None:
            complaints.append(f"names the texture {header.textures[0]} and has no coordinates for it")
        return result
    except (ValueError, KeyError, IndexError, struct.error, StopIteration):
        return Ply(file)


def check_finite(file: Path, header: Header) -> None:
    """The importer turns what is no number into 0. Raises Failure if a face has such a corner."""
    if header.face.count == 0 or not may_hold_no_numbers(file, header):
        return
    body = body_of(file, header)
    odd = np.flatnonzero(~np.isfinite([body["vertex"][name] for name in "xyz"]).all(axis=0))
    index = next(name for name in INDICES if name in body["face"])
    if odd.size and np.isin(odd, body["face"][index]).any():
        raise Failure("BAD_GEOMETRY", "some vertices are not finite numbers")


def may_hold_no_numbers(file: Path, header: Header) -> bool:
    """Whether a position may be no number, without reading the faces where that can be told from rows alone."""
    element = header.vertex
    if header.kind == "ascii":
        with file.open("rb") as f:
            f.seek(header.size)
            return any(b"nan" in block or b"inf" in block for block in iter(lambda: f.read(8 << 20).lower(), b""))
    if next(iter(header.elements)) != "vertex" or any(counted for _, _, counted in element.properties):
        return True
    order = "<" if header.kind == "binary_little_endian" else ">"
    row = np.dtype([(name, order + kind) for name, kind, _ in element.properties])
    table = np.memmap(file, row, "r", header.size, (element.count,))
    return not all(np.isfinite(table[name]).all() for name in "xyz")


def by_corners(
    header: Header, body: dict[str, dict[str, Array]], painted: bool, named: tuple[str, str] | None, by_corner: bool
) -> bytes:
    """The same faces, each with vertices of its own."""
    vertices, faces = body["vertex"], body["face"]
    index = next(name for name in INDICES if name in faces)
    corners, counts = faces[index].astype(np.int64), faces[f"{index}#"].astype(np.int64)
    if corners.size and not 0 <= corners.min() <= corners.max() < header.vertex.count:
        raise ValueError("faces refer to vertices that do not exist")
    columns: dict[str, tuple[str, Array]] = {}
    for name in ("x", "y", "z", "nx", "ny", "nz"):
        if name in vertices:
            columns[name] = ("<f4", vertices[name][corners])
    for name in ("red", "green", "blue", "alpha"):
        if painted and name in faces:
            columns[name] = ("u1", bytes_of(np.repeat(faces[name], counts), header.face.properties, name))
        elif not painted and name in vertices:
            columns[name] = ("u1", bytes_of(vertices[name][corners], header.vertex.properties, name))
    if by_corner and faces["texcoord"].size == 2 * corners.size:
        columns["s"], columns["t"] = ("<f4", faces["texcoord"][0::2]), ("<f4", faces["texcoord"][1::2])
    elif named:
        columns["s"], columns["t"] = (("<f4", vertices[name][corners]) for name in named)
    table = np.empty(len(corners), np.dtype([(name, kind) for name, (kind, _) in columns.items()]))
    for name, (_, values) in columns.items():
        table[name] = values
    words = {"<f4": "float", "u1": "uchar"}
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(corners)}"]
    head += [f"property {words[kind]} {name}" for name, (kind, _) in columns.items()]
    head += [f"element face {len(counts)}", "property list uint int vertex_indices", "end_header", ""]
    return "\n".join(head).encode() + table.tobytes() + faces_of(counts)


def bytes_of(values: Array, properties: list[tuple[str, str, str | None]], name: str) -> Array:
    """Colours as 0 … 255: those that are declared as fractions are 0 … 1."""
    kind = next(kind for given, kind, _ in properties if given == name)
    scaled = values * 255 if kind.startswith("f") else values / 257 if kind == "u2" else values
    return np.clip(np.round(scaled.astype(np.float64)), 0, 255).astype(np.uint8)


def faces_of(counts: Array) -> bytes:
    """The list of each face: its count, and its corners, which follow one another."""
    table = np.empty(len(counts) + int(counts.sum()), "<i4")
    starts = np.concatenate([[0], np.cumsum(counts + 1)])[:-1]
    is_count = np.zeros(len(table), bool)
    is_count[starts] = True
    table[is_count] = counts
    table[~is_count] = np.arange(int(counts.sum()))
    return table.tobytes()


def dress(ply: Ply, complaints: list[str]) -> None:
    """Gives what was imported the materials that the texture files stand for."""
    meshes = [mesh for mesh in bpy.data.meshes if mesh.users and mesh.uv_layers]
    if not ply.images or not meshes:
        return
    mesh = meshes[0]
    for image in ply.images if ply.numbers is not None else ply.images[:1]:
        mesh.materials.append(painted_with(image) if image else None)
    if ply.numbers is not None:
        if len(ply.numbers) == len(mesh.polygons):
            mesh.polygons.foreach_set("material_index", np.clip(ply.numbers, 0, len(ply.images) - 1))
        else:
            complaints.append("not every face was imported: textures may be on the wrong ones")
    elif len(ply.images) > 1:
        complaints.append(f"names {len(ply.images)} textures and does not say which face has which: the first is shown")


def painted_with(image: Path) -> Any:
    """A matt material of that image."""
    material = bpy.data.materials.new(image.name)
    material.use_nodes = True
    tree = material.node_tree
    surface = next(n for n in tree.nodes if n.type == "BSDF_PRINCIPLED")
    surface.inputs["Specular IOR Level"].default_value = 0.0
    texture = tree.nodes.new("ShaderNodeTexImage")
    texture.image = bpy.data.images.load(str(image))
    tree.links.new(texture.outputs["Color"], surface.inputs["Base Color"])
    return material
