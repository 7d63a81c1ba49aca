"""Are a glTF's positions finite? Blender's importer turns NaN into 0, and a face with such a corner into a spike."""

import base64
import binascii
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dataengine.model_files.formats.gltf_document import Document
from dataengine.model_files.model_info import not_finite

FLOAT = 5126
_INDEX = {5121: "u1", 5123: "<u2", 5125: "<u4"}


def check_positions(document: Document) -> None:
    """Raises AssetFailure BAD_GEOMETRY if a face has a corner that is not finite. What Draco, meshopt or sparse
    accessors hold is left to the Blender process. The document's ranges have been checked."""
    known: dict[int, npt.NDArray[np.intp]] = {}
    for primitive in document.primitives():
        index = (primitive.get("attributes") or {}).get("POSITION")
        if index is None or primitive.get("mode", 4) not in (4, 5, 6) or is_draco(primitive):
            continue
        if index not in known:
            values = read(document, document.item("accessors", index), "<f4", 3)
            known[index] = np.flatnonzero(~np.isfinite(values).all(1)) if values is not None else np.empty(0, np.intp)
        if not known[index].size:
            continue
        corners = None
        if primitive.get("indices") is not None:
            accessor = document.item("accessors", primitive["indices"])
            corners = read(document, accessor, _INDEX.get(accessor.get("componentType", 0), ""), 1)
            if corners is None or not np.isin(known[index], corners).any():
                continue
        not_finite()


def is_draco(primitive: dict[str, Any]) -> bool:
    extensions = primitive.get("extensions")
    return isinstance(extensions, dict) and "KHR_draco_mesh_compression" in extensions


def read(document: Document, accessor: dict[str, Any], kind: str, width: int) -> npt.NDArray[Any] | None:
    """The accessor's rows (n, width); None for what is not plainly there."""
    expected = FLOAT if kind == "<f4" else accessor.get("componentType")
    if not kind or accessor.get("componentType") != expected or accessor.get("sparse") or "bufferView" not in accessor:
        return None
    view = document.item("bufferViews", accessor["bufferView"])
    if document.packed(view) is not None:
        return None
    element = np.dtype(kind).itemsize * width
    stride, count = int(view.get("byteStride") or element), int(accessor["count"])
    start = int(view.get("byteOffset") or 0) + int(accessor.get("byteOffset") or 0)
    data = bytes_of(document, view["buffer"], start, (count - 1) * stride + element if count else 0)
    if data is None or not count:
        return None
    return np.ndarray((count, width), np.dtype(kind), data, 0, (stride, np.dtype(kind).itemsize))


def bytes_of(document: Document, number: int, start: int, size: int) -> bytes | None:
    """Part of a buffer; None if it is not all there."""
    uri = document.item("buffers", number).get("uri")
    if isinstance(uri, str) and uri.startswith("data:"):
        try:
            data = base64.b64decode(uri.partition(";base64,")[2])[start : start + size]
        except binascii.Error:
            return None
    else:
        if uri is None and document.binary is None:
            return None
        file: Path | None = document.path
        if uri is None:
            start += document.binary[0] if document.binary else 0
        else:
            file = document.references.find_uri(str(uri), document.path.parent)
        if file is None:
            return None
        with file.open("rb") as f:
            f.seek(start)
            data = f.read(size)
    return data if len(data) == size else None
