"""PLY: the header declares everything; the body must be able to hold it."""

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dataengine.corpus.config import Limits
from dataengine.model_files.formats.images import PixelBudget
from dataengine.model_files.model_info import ModelInfo, malformed, show, too_large
from dataengine.model_files.references import References

HEADER_BYTES = 1 << 20
TEXTURES = 1000
WALKED_LISTS = 2_000_000  # mixed polygons are walked one by one; more are left to the Blender process and its deadline
WALKED_BYTES = 128 << 20

_SIZES = {
    **dict.fromkeys(("char", "uchar", "int8", "uint8"), 1),
    **dict.fromkeys(("short", "ushort", "int16", "uint16"), 2),
    **dict.fromkeys(("int", "uint", "float", "int32", "uint32", "float32"), 4),
    **dict.fromkeys(("double", "float64"), 8),
}
_UNSIGNED = {1: "u1", 2: "u2", 4: "u4"}


@dataclass
class Element:
    name: str
    count: int
    scalars: int = 0  # bytes of the properties that are no lists
    lists: list[tuple[int, int]] = field(default_factory=list)  # bytes of the count, bytes of an item
    first_is_list: bool = False


def read(path: Path, references: References, limits: Limits, info: ModelInfo) -> None:
    """Reads a .ply. Fills `info`; raises AssetFailure."""
    size = path.stat().st_size
    info.material_count = info.animation_count = 0
    with path.open("rb") as f:
        kind, elements, textures = _header(f)
        info.texture_count = len(textures)
        _find_textures(textures, path.parent, references, limits, info)
        counts = {e.name: e.count for e in elements}
        info.vertex_count, info.face_count = counts.get("vertex"), counts.get("face", 0)
        for element in elements:
            if element.count > limits.elements:
                too_large(f"declares {element.count} of {show(element.name, 20)} (limit {limits.elements})")
        if not info.vertex_count:
            malformed("declares no vertices")
        body = size - f.tell()
        if kind == "ascii":
            if sum(e.count for e in elements) * 2 > body + 2:
                malformed(f"declares {sum(counts.values())} rows of text in {body} bytes")
            return
        if sum(e.count * (e.scalars + sum(c for c, _ in e.lists)) for e in elements) > body:
            malformed(f"declares more than the {body} bytes that follow its header")
        _check_lists(f, elements, "<" if kind == "binary_little_endian" else ">", size)


def _find_textures(names: list[str], folder: Path, references: References, limits: Limits, info: ModelInfo) -> None:
    pixels = PixelBudget(limits)
    for name in names:
        image = references.find_path(name, folder)
        if image is not None:
            info.dependencies.add(image)
            pixels.add_file(image)


def _header(f: BinaryIO) -> tuple[str, list[Element], list[str]]:
    text = f.read(HEADER_BYTES)
    end = text.find(b"end_header")
    if not text.startswith(b"ply") or end < 0:
        malformed("no PLY header")
    line_end = text.find(b"\n", end)
    f.seek(line_end + 1 if line_end >= 0 else len(text))
    kind, elements = "", []
    textures: list[str] = []
    for line in text[:end].decode("utf-8", "surrogateescape").splitlines()[1:]:
        words = line.split()
        match words:
            case ["format", name, *_]:
                kind = name
            case ["comment", "TextureFile", _, *_] if len(textures) < TEXTURES:
                textures.append(line.split(None, 2)[2].strip().strip('"'))
            case ["element", name, count]:
                if not count.isdigit() or len(count) > 18:
                    malformed(f"declares {show(count, 20)} of {show(name, 20)}")
                elements.append(Element(name, int(count)))
            case ["property", "list", count_type, item_type, _] if elements:
                elements[-1].first_is_list |= not elements[-1].scalars and not elements[-1].lists
                elements[-1].lists.append((_size(count_type), _size(item_type)))
            case ["property", scalar, _] if elements:
                elements[-1].scalars += _size(scalar)
            case _:
                pass
    if kind not in ("ascii", "binary_little_endian", "binary_big_endian"):
        malformed(f"PLY format {show(kind, 30)}")
    return kind, elements, textures


def _size(name: str) -> int:
    if name not in _SIZES:
        malformed(f"PLY type {show(name, 30)}")
    return _SIZES[name]


def _check_lists(f: BinaryIO, elements: list[Element], order: str, size: int) -> None:
    """Walks the binary body as far as it is simple: fixed rows, and rows that are one list first."""
    for element in elements:
        if not element.lists:
            f.seek(element.count * element.scalars, 1)
            continue
        if len(element.lists) > 1 or not element.first_is_list or element.lists[0][0] not in _UNSIGNED:
            return
        count_bytes, item_bytes = element.lists[0]
        dtype = np.dtype(order + _UNSIGNED[count_bytes])
        start = f.tell()
        first = f.read(count_bytes)
        if element.count and len(first) < count_bytes:
            malformed("cut short in its faces")
        row = count_bytes + int(np.frombuffer(first, dtype)[0]) * item_bytes + element.scalars if element.count else 0
        if start + row > size:
            malformed("a face of more corners than the file has bytes")
        if start + row * element.count <= size and _same(f, start, row, element.count, dtype):
            f.seek(start + row * element.count)
            continue
        if element.count > WALKED_LISTS or size - start > WALKED_BYTES:
            return
        f.seek(start)
        _walk(f, element, order, size)


def _same(f: BinaryIO, start: int, row: int, count: int, dtype: np.dtype) -> bool:  # type: ignore[type-arg]
    """Whether all rows have as many items as the first."""
    step = max((4 << 20) // max(row, 1), 1)
    f.seek(start)
    value = None
    for done in range(0, count, step):
        rows = min(step, count - done)
        block = np.frombuffer(f.read(rows * row), np.uint8).reshape(rows, row)
        sizes = block[:, : dtype.itemsize].copy().view(dtype)[:, 0]
        value = sizes[0] if value is None else value
        if (sizes != value).any():
            return False
    return True


def _walk(f: BinaryIO, element: Element, order: str, size: int) -> None:
    count_bytes, item_bytes = element.lists[0]
    number = struct.Struct(order + {1: "B", 2: "H", 4: "I"}[count_bytes])
    at = f.tell()
    data = f.read(size - at)
    here = 0
    for _ in range(element.count):
        if here + count_bytes > len(data):
            malformed("cut short in its faces")
        here += count_bytes + number.unpack_from(data, here)[0] * item_bytes + element.scalars
        if here > len(data):
            malformed("a face of more corners than the file has bytes")
    f.seek(at + here)
