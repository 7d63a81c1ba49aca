"""Binary FBX: a walk over its records. Compressed arrays are inflated against the length they declare, and dropped.

Blender's parser trusts every length: a few garbage bytes made it allocate 6 GB.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dataengine.corpus.config import Limits
from dataengine.model_files.formats.images import PixelBudget
from dataengine.model_files.model_info import ModelInfo, malformed, not_finite, too_large, unsupported
from dataengine.model_files.references import References

MAGIC = b"Kaydara FBX Binary  \x00\x1a\x00"
DEPTH = 64
RECORDS = 5_000_000
STRING_BYTES = 4096
BOMB_BYTES, BOMB_RATIO = 64 << 20, 200  # meshes compress by two to ten
_SCALARS = {b"Z": 1, b"B": 1, b"C": 1, b"Y": 2, b"I": 4, b"F": 4, b"D": 8, b"L": 8}
_ARRAYS = {b"b": 1, b"c": 1, b"i": 4, b"f": 4, b"d": 8, b"l": 8}


@dataclass
class _Found:
    faces: int = 0
    vertices: int = 0
    models: int = 0
    materials: int = 0
    stacks: int = 0
    inflated: int = 0
    videos: dict[str, None] = field(default_factory=dict)
    textures: int = 0
    has_objects: bool = False


def read(path: Path, references: References, limits: Limits, info: ModelInfo) -> None:
    """Reads an .fbx. Fills `info`; raises AssetFailure."""
    size = path.stat().st_size
    found = _Found()
    with path.open("rb") as f:
        head = f.read(27)
        if not head.startswith(MAGIC):
            if head.lstrip().startswith(b";") or b"FBX" in head:
                unsupported("text FBX; Blender reads binary FBX only")
            malformed("no FBX")
        version = struct.unpack_from("<I", head, 23)[0] if len(head) == 27 else 0
        if 0 < version < 7100:
            unsupported(f"FBX version {version}; Blender reads 7100 and later")
        if not 7100 <= version < 10_000:
            malformed(f"FBX version {version}")
        try:
            _Walker(f, size, version >= 7500, limits, found).records(27, size, [])
            if not found.has_objects:
                malformed("FBX without objects")
        except struct.error:
            malformed("FBX cut short")
        finally:
            info.face_count, info.vertex_count = found.faces, found.vertices
            info.material_count, info.texture_count = found.materials, found.textures
            info.animation_count = found.stacks
    for what, count, limit in (
        ("vertices", found.vertices, limits.elements),
        ("faces", found.faces, limits.elements),
        ("objects", found.models, limits.objects),
        ("materials", found.materials, limits.materials),
    ):
        if count > limit:
            too_large(f"{count} {what} (limit {limit})")
    pixels = PixelBudget(limits)
    for name in found.videos:
        texture = references.find_path(name, path.parent, strict=False)
        if texture is not None and texture not in info.dependencies:
            info.dependencies.add(texture)
            pixels.add_file(texture)


class _Walker:
    def __init__(self, f: BinaryIO, size: int, wide: bool, limits: Limits, found: _Found) -> None:
        self.f, self.size, self.limits, self.found = f, size, limits, found
        self.head = struct.Struct("<QQQB" if wide else "<IIIB")
        self.seen = 0

    def take(self, count: int, end: int) -> bytes:
        if self.f.tell() + count > end:
            malformed("an FBX record runs over its end")
        return self.f.read(count)

    def records(self, at: int, end: int, above: list[bytes]) -> None:
        """All records from `at` to the empty record or `end`."""
        if len(above) > DEPTH:
            malformed(f"FBX records nested over {DEPTH} deep")
        while at < end:
            self.f.seek(at)
            stop, properties, property_bytes, name_bytes = self.head.unpack(self.take(self.head.size, end))
            if stop == 0:
                return
            self.seen += 1
            if self.seen > RECORDS:
                too_large(f"over {RECORDS} FBX records")
            body = at + self.head.size + name_bytes
            if not body + property_bytes <= stop <= end:
                malformed("an FBX record ends outside its parent")
            name = self.take(name_bytes, stop)
            first = self.properties(name, properties, body + property_bytes, above)
            if self.f.tell() != body + property_bytes:
                malformed("an FBX record's properties have another length than it says")
            self.note(name, first, above)
            if body + property_bytes < stop:
                self.records(body + property_bytes, stop, [*above, name])
            at = stop

    def properties(self, name: bytes, count: int, end: int, above: list[bytes]) -> bytes:
        """Checks a record's properties; returns the first one if it is a string."""
        if count > end - self.f.tell():
            malformed("an FBX record declares more properties than it has bytes")
        first = b""
        for number in range(count):
            kind = self.take(1, end)
            if kind in _SCALARS:
                self.take(_SCALARS[kind], end)
            elif kind in (b"S", b"R"):
                length = struct.unpack("<I", self.take(4, end))[0]
                if self.f.tell() + length > end:
                    malformed("an FBX string runs over its end")
                kept = self.f.read(min(length, STRING_BYTES))
                self.f.seek(length - len(kept), 1)
                first = kept if number == 0 and kind == b"S" else first
            elif kind in _ARRAYS:
                self.array(name, kind, end, above)
            else:
                malformed(f"FBX property type {kind!r}")
        return first

    def array(self, name: bytes, kind: bytes, end: int, above: list[bytes]) -> None:
        length, encoding, stored = struct.unpack("<III", self.take(12, end))
        declared = length * _ARRAYS[kind]
        start = self.f.tell()
        if start + stored > end:
            malformed("an FBX array runs over its end")
        if encoding not in (0, 1):
            malformed(f"FBX array encoding {encoding}")
        if encoding == 0 and stored != declared:
            malformed("an FBX array has another length than it says")
        if length > 4 * self.limits.elements:
            too_large(f"an FBX array declares {length} values (limit {4 * self.limits.elements})")
        in_mesh = above[-1:] == [b"Geometry"]
        if name == b"Vertices" and in_mesh:
            self.found.vertices += length // 3
        look: Callable[[bytes], int] | None = None
        if name == b"PolygonVertexIndex" and in_mesh and kind == b"i":
            look = _ends
        elif name == b"Vertices" and in_mesh and kind in (b"d", b"f"):
            look = partial(_check_finite, kind)
        if encoding == 1:
            self.found.inflated += declared
            if declared > BOMB_BYTES and declared > BOMB_RATIO * stored:
                too_large(f"an FBX array of {stored} bytes that inflates to {declared}")
            if self.found.inflated > self.limits.memory_bytes // 2:
                too_large(f"FBX arrays that inflate to over {self.limits.memory_bytes // 2} bytes")
            self.found.faces += self.inflate(stored, declared, look)
        elif look:
            self.found.faces += look(self.f.read(stored))
        self.f.seek(start + stored)

    def inflate(self, stored: int, declared: int, look: Callable[[bytes], int] | None) -> int:
        """Inflates an array a block at a time; returns the sum of what `look` says of each block of whole items."""
        inflater = zlib.decompressobj()
        total = found = 0
        odd = b""
        pending = b""
        left = stored
        try:
            while not inflater.eof:
                if not pending:
                    pending = self.f.read(min(left, 1 << 16))
                    left -= len(pending)
                data = inflater.decompress(pending, 1 << 20)
                if not data and not pending:
                    break  # the file ends before its array does
                total += len(data)
                if total > declared:
                    malformed(f"an FBX array inflates to more than the {declared} bytes it declares")
                if look:
                    data = odd + data
                    odd = data[len(data) & ~7 :]
                    found += look(data[: len(data) & ~7])
                pending = inflater.unconsumed_tail
        except zlib.error as e:
            malformed(f"an FBX array does not inflate: {e}")
        if total != declared:
            malformed(f"an FBX array inflates to {total} bytes and declares {declared}")
        return found + (look(odd) if look else 0)

    def note(self, name: bytes, first: bytes, above: list[bytes]) -> None:
        if not above:
            self.found.has_objects |= name == b"Objects"
        elif above == [b"Objects"]:
            self.found.models += name == b"Model"
            self.found.materials += name == b"Material"
            self.found.textures += name == b"Texture"
            self.found.stacks += name == b"AnimationStack"
        elif name in (b"RelativeFilename", b"Filename", b"FileName") and above[-1:] in ([b"Video"], [b"Texture"]):
            text = first.decode("utf-8", "surrogateescape")
            if text and len(self.found.videos) < 10_000:
                self.found.videos[text] = None


def _check_finite(kind: bytes, data: bytes) -> int:
    if not np.isfinite(np.frombuffer(data, "<f8" if kind == b"d" else "<f4")).all():
        not_finite()
    return 0


def _ends(data: bytes) -> int:
    """Polygons: FBX marks the last corner of each by a negative index."""
    return int((np.frombuffer(data, "<i4") < 0).sum())
