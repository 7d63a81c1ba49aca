"""Faces of an OBJ that lie on one another, back to back, in two materials: the inside and the outside of a box.

Blender's importer keeps the one that comes first and drops the other, whatever side is which. Both are kept where each
has vertices of its own, and each shows on its own side where its material is single-sided. They must not stay in one
plane: a ray that passes one of two surfaces at the same distance has passed both.
"""

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import bpy
import numpy as np

from . import wavefront

ONE_SIDED = " (one-sided)"
LIFT = 1e-4  # of the model's extent
MOST_FACES = 2_000_000  # more are not looked through: it takes Python some seconds a million


@dataclass
class Twins:
    """What one pass over an OBJ finds.

    Attributes:
        vertices: the `v` lines, in order.
        apart: numbers of the faces (from 0) that need vertices of their own and a single-sided material.
        faces: how many there are.
    """

    vertices: list[bytes] = field(default_factory=list)
    apart: set[int] = field(default_factory=set)
    faces: int = 0


def declared_faces(file: Path) -> int:
    """`f` lines, as the importer counts faces."""
    count, tail = 0, b"\n"
    with file.open("rb") as f:
        while block := f.read(8 << 20):
            text = tail + block
            count += text.count(b"\nf ") + text.count(b"\nf\t")
            tail = text[-2:]
    return count


def imported_faces() -> int:
    return sum(len(mesh.polygons) for mesh in bpy.data.meshes if mesh.users)


def apart(file: Path, out: Path, known: list[str]) -> Path | None:
    """A copy under `out` in which such faces are kept apart; None where there are none."""
    if len(bpy.data.materials) < 2 or declared_faces(file) > MOST_FACES:
        return None
    try:
        twins = find(file)
    except (ValueError, IndexError):  # not what an OBJ's faces are: the importer has made of it what it could
        return None
    if not twins.apart:
        return None
    target = out / "import.twins.obj"
    with target.open("wb") as copy:
        copy.writelines(rewritten(file, twins))
    libraries = [file.parent / name for name in libraries_of(file)]
    text = b"".join(wavefront.plain(library, known, out) for library in libraries if library.is_file())
    target.with_suffix(".mtl").write_bytes(text + b"\n" + doubled(text))
    return target


def find(file: Path) -> Twins:
    twins, seen, material = Twins(), dict[tuple[int, ...], list[tuple[int, bool, bytes]]](), b""
    for word, rest, line in statements(file):
        if word == b"v":
            twins.vertices.append(line)
        elif word == b"usemtl":
            material = rest
        elif word == b"f":
            corners = corners_of(rest, len(twins.vertices))
            around = direction(corners)
            others = seen.setdefault(tuple(sorted(corners)), [])
            for number, turned, other in others:
                if turned != around and other != material:
                    twins.apart |= {number, twins.faces}
            others.append((twins.faces, around, material))
            twins.faces += 1
    return twins


def rewritten(file: Path, twins: Twins) -> Iterator[bytes]:
    """All vertices first, then those of the faces that are kept apart, then the rest with absolute numbers."""
    yield b"mtllib import.twins.mtl\n"
    own: dict[int, int] = {}  # face → its first vertex, from 1
    extra: list[bytes] = []
    counts, number, material, here = {b"v": 0, b"vt": 0, b"vn": 0}, 0, b"", b""
    lines: list[bytes] = []
    lift = LIFT * extent(twins.vertices)
    for word, rest, line in statements(file):
        if word == b"v":
            counts[b"v"] += 1
        elif word == b"usemtl":
            material = rest
        elif word == b"f":
            tokens = [absolute(token, counts) for token in rest.split()]
            wanted = material + ONE_SIDED.encode() if number in twins.apart else material
            if number in twins.apart:
                own[number] = len(twins.vertices) + len(extra) + 1
                extra += lifted([twins.vertices[int(token.split(b"/")[0]) - 1] for token in tokens], lift)
                tokens = [b"/".join([b"%d" % (own[number] + i), *t.split(b"/")[1:]]) for i, t in enumerate(tokens)]
            if wanted != here:
                lines.append(b"usemtl " + wanted + b"\n")
                here = wanted
            lines.append(b"f " + b" ".join(tokens) + b"\n")
            number += 1
        elif word != b"mtllib":
            counts[word] = counts.get(word, 0) + 1
            lines.append(line)
    yield from twins.vertices
    yield from extra
    yield from lines


def extent(vertices: list[bytes]) -> float:
    points = np.array([line.split()[1:4] for line in vertices], np.float64)
    return float(np.linalg.norm(np.ptp(points, axis=0)))


def lifted(corners: list[bytes], by: float) -> list[bytes]:
    """A face's `v` lines, moved by that length along its normal (Newell's)."""
    rows = [line.split() for line in corners]
    points = np.array([row[1:4] for row in rows], np.float64)
    normal = np.cross(points, np.roll(points, -1, axis=0)).sum(axis=0)
    points += by * normal / max(float(np.linalg.norm(normal)), 1e-300)
    return [
        b" ".join([b"v", *(b"%.9g" % c for c in point), *row[4:]]) + b"\n"
        for point, row in zip(points.tolist(), rows, strict=True)
    ]


def absolute(token: bytes, counts: dict[bytes, int]) -> bytes:
    """A corner with its numbers counted from the first, not from the last."""
    parts = token.split(b"/")
    for i, (part, kind) in enumerate(zip(parts, (b"v", b"vt", b"vn"), strict=False)):
        if part.startswith(b"-"):
            parts[i] = b"%d" % (counts[kind] + 1 + int(part))
    return b"/".join(parts)


def corners_of(rest: bytes, vertices: int) -> tuple[int, ...]:
    numbers = (int(token.split(b"/")[0]) for token in rest.split())
    return tuple(n if n > 0 else vertices + 1 + n for n in numbers)


def direction(corners: tuple[int, ...]) -> bool:
    """Which way round a face goes: equal for the same corners from another start, unequal for the reverse."""
    at = corners.index(min(corners))
    return corners[at - 1] < corners[(at + 1) % len(corners)]


def doubled(mtl: bytes) -> bytes:
    """Every material once more, under the name of its single-sided twin."""
    named = (line.lstrip().startswith(b"newmtl ") for line in mtl.split(b"\n"))
    twin = ONE_SIDED.encode()
    return b"\n".join(line + twin if is_name else line for line, is_name in zip(mtl.split(b"\n"), named, strict=True))


def libraries_of(file: Path) -> list[str]:
    return [os.fsdecode(rest) for word, rest, _ in statements(file) if word == b"mtllib"]


def statements(file: Path) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Keyword, rest and whole line; continued lines in one."""
    with file.open("rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as text:
        held = b""
        while line := text.readline():
            if line.rstrip(b"\r\n").endswith(b"\\"):
                held += line.rstrip(b"\r\n")[:-1] + b" "
                continue
            line = held + line.rstrip(b"\r\n") + b"\n"
            held = b""
            word, *rest = line.split(None, 1)[:2] or [b""]
            yield word, rest[0].strip() if rest else b"", line


def cull() -> None:
    """Makes the materials of faces that were kept apart single-sided."""
    for material in bpy.data.materials:
        if ONE_SIDED in material.name:
            material.use_backface_culling = True
