"""The JSON of a glTF, and what every check of it asks: items by index, primitives, the ranges of buffer views."""

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dataengine.corpus.config import Limits
from dataengine.model_files.model_info import malformed, show
from dataengine.model_files.references import References

# What the Blender process undoes before it imports (render/blender/compressed.py), where the decoder is installed.
MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")


class Document:
    """The parsed JSON and where its bytes are. Methods raise AssetFailure (MALFORMED) for what is not as it must be.

    Args:
        path: of the .gltf or .glb.
        references: finds the files that it names.
        limits: of the corpus.
        data: the JSON.
        binary: (offset, size) of a GLB's binary chunk.
    """

    def __init__(
        self, path: Path, references: References, limits: Limits, data: dict[str, Any], binary: tuple[int, int] | None
    ) -> None:
        self.path, self.references, self.limits, self.data, self.binary = path, references, limits, data, binary
        names = ("scenes", "nodes", "meshes", "skins", "animations", "materials", "textures", "images")
        self.lists = {name: self._list(name) for name in (*names, "accessors", "bufferViews", "buffers")}
        self.buffer_bytes: dict[int, int] = {}  # of the buffers that are there

    def _list(self, name: str) -> list[dict[str, Any]]:
        items = self.data.get(name) or []
        if not isinstance(items, list) or not all(isinstance(i, dict) for i in items):
            malformed(f"{name} is not a list of objects")
        return items

    def item(self, name: str, index: Any) -> dict[str, Any]:
        """`name[index]`, which must be there."""
        items = self.lists[name]
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(items):
            malformed(f"refers to {name}[{show(str(index), 20)}] of {len(items)}")
        return items[index]

    def primitives(self) -> Iterator[dict[str, Any]]:
        """Of all meshes."""
        for mesh in self.lists["meshes"]:
            items = mesh.get("primitives") or []
            if not isinstance(items, list):
                malformed("primitives is not a list")
            for primitive in items:
                if not isinstance(primitive, dict) or not isinstance(primitive.get("attributes") or {}, dict):
                    malformed("a mesh primitive is not an object with attributes")
                yield primitive

    def packed(self, view: dict[str, Any]) -> dict[str, Any] | None:
        """How a buffer view is compressed, if it is: its own range is then what comes out."""
        extensions = view.get("extensions")
        found = [extensions[n] for n in MESHOPT if n in extensions] if isinstance(extensions, dict) else []
        return found[0] if found and isinstance(found[0], dict) else None

    def view_range(self, view: dict[str, Any]) -> tuple[int, int]:
        """(offset in its buffer, bytes) of a buffer view."""
        self.item("buffers", view.get("buffer"))
        return whole(view.get("byteOffset") or 0, "a byteOffset"), whole(view.get("byteLength"), "a byteLength")


def whole(value: Any, what: str) -> int:
    """A value that must be a whole number, not negative; `what` it is, for the message."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        malformed(f"{what} is {show(str(value), 20)}")
    return int(value)


def indices(value: Any, what: str) -> list[int]:
    """A value that must be a list, or be left out."""
    if value is None:
        return []
    if not isinstance(value, list):
        malformed(f"{what} is not a list")
    return value


def data_bytes(uri: str) -> int:
    """How many bytes a data URI holds."""
    _, _, payload = uri.partition(";base64,")
    return (len(payload) - payload.count("=", max(len(payload) - 2, 0))) * 3 // 4


def data_head(uri: str) -> bytes:
    """The first MiB of a data URI; enough for any image header."""
    _, _, payload = uri[: 3 << 20].partition(";base64,")
    try:
        return base64.b64decode(payload[: 1 << 20])
    except binascii.Error:
        return b""
