"""STL, binary and text. Blender takes a file for binary only if its length is exactly what its header declares."""

import struct
from pathlib import Path

from dataengine.corpus.config import Limits
from dataengine.model_files.model_info import ModelInfo, malformed, too_large
from dataengine.model_files.references import References

BLOCK = 8 << 20


def read(path: Path, _: References, limits: Limits, info: ModelInfo) -> None:
    """Reads an .stl. Fills `info`; raises AssetFailure."""
    size = path.stat().st_size
    with path.open("rb") as f:
        head = f.read(1 << 16)
    info.material_count = info.texture_count = info.animation_count = 0
    declared = struct.unpack_from("<I", head, 80)[0] if len(head) >= 84 else -1
    if declared >= 0 and size == 84 + 50 * declared:
        info.face_count = declared
    elif b"facet" in head.lower() and b"\0" not in head[84:]:
        info.face_count = _count_facets(path)
    elif declared >= 0:
        malformed(f"binary STL declares {declared} triangles, which is {84 + 50 * declared} bytes, and has {size}")
    else:
        malformed("no STL")
    info.vertex_count = 3 * info.face_count
    if info.face_count > limits.elements:
        too_large(f"{info.face_count} triangles (limit {limits.elements})")


def _count_facets(path: Path) -> int:
    count, tail = 0, b""
    with path.open("rb") as f:
        while data := f.read(BLOCK):
            block = (tail + data).lower()  # programs of CAD write FACET NORMAL
            count += block.count(b"facet normal") - tail.count(b"facet normal")
            tail = block[-11:]
    return count
