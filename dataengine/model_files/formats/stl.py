"""STL, binary and text. Blender takes a file for binary only if its length is exactly what its header declares."""

import re
import struct
from pathlib import Path

import numpy as np

from dataengine.corpus.config import Limits
from dataengine.model_files.model_info import ModelInfo, malformed, not_finite, too_large
from dataengine.model_files.references import References

BLOCK = 8 << 20
LINE = 1000  # bytes that a line of text is no longer than
_TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_NO_NUMBER = re.compile(rb"vertex[^\n]*[\s+-](?:nan|inf)")


def read(path: Path, _: References, limits: Limits, info: ModelInfo) -> None:
    """Reads an .stl. Fills `info`; raises AssetFailure."""
    size = path.stat().st_size
    with path.open("rb") as f:
        head = f.read(1 << 16)
    info.material_count = info.texture_count = info.animation_count = 0
    declared = struct.unpack_from("<I", head, 80)[0] if len(head) >= 84 else -1
    if declared >= 0 and size == 84 + 50 * declared:
        info.face_count = declared
        _check_finite(path, declared)
    elif b"facet" in head.lower() and b"\0" not in head[84:]:
        info.face_count = _count_facets(path)
    elif declared >= 0:
        malformed(f"binary STL declares {declared} triangles, which is {84 + 50 * declared} bytes, and has {size}")
    else:
        malformed("no STL")
    info.vertex_count = 3 * info.face_count
    if info.face_count > limits.elements:
        too_large(f"{info.face_count} triangles (limit {limits.elements})")


def _check_finite(path: Path, triangles: int) -> None:
    with path.open("rb") as f:
        f.seek(84)
        while triangles > 0:
            rows = np.frombuffer(f.read(50 * min(triangles, BLOCK // 50)), _TRIANGLE)
            if not np.isfinite(rows["corners"]).all():
                not_finite()
            triangles -= len(rows) or triangles


def _count_facets(path: Path) -> int:
    count, tail = 0, b""
    with path.open("rb") as f:
        while data := f.read(BLOCK):
            block = (tail + data).lower()  # programs of CAD write FACET NORMAL
            if _NO_NUMBER.search(block):
                not_finite()
            count += block.count(b"facet normal") - tail.lower().count(b"facet normal")
            tail = block[block.rfind(b"\n") + 1 :][-LINE:]
    return count
