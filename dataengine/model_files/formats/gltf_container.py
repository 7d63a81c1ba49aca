"""glTF 2.0's two containers, JSON and GLB. Blender tells the two apart by content, not by name, and so does this."""

import json
import struct
from pathlib import Path
from typing import Any

from dataengine.model_files.model_info import malformed, show, too_large, unsupported

JSON_BYTES = 512 << 20  # a .gltf may hold its buffers as base64
JSON_VALUES = 10_000_000


def open_container(path: Path) -> tuple[dict[str, Any], tuple[int, int] | None]:
    """The JSON of a .gltf or .glb, and (offset, size) of its binary chunk, if it has one.

    Raises:
        AssetFailure: MALFORMED, TOO_LARGE or UNSUPPORTED.
    """
    size = path.stat().st_size
    with path.open("rb") as f:
        head = f.read(20)
        if head[:4] == b"glTF":
            text, binary = _split_glb(f, head, size)
        else:
            if size > JSON_BYTES:
                too_large(f"{size} bytes of JSON (limit {JSON_BYTES})")
            text, binary = head + f.read(), None
    return _parse(text), binary


def _split_glb(f: Any, head: bytes, size: int) -> tuple[bytes, tuple[int, int] | None]:
    """The JSON chunk, and (offset, size) of the binary chunk."""
    if len(head) < 20:
        malformed("GLB shorter than its header")
    version, length, json_size, kind = struct.unpack_from("<III4s", head, 4)
    if version != 2:
        unsupported(f"GLB version {version}; Blender reads 2")
    if length != size:
        malformed(f"GLB says it has {length} bytes and has {size}" + (": it is cut short" if size < length else ""))
    if kind != b"JSON" or 20 + json_size > size:
        malformed("GLB without a whole JSON chunk at its start")
    if json_size > JSON_BYTES:
        too_large(f"{json_size} bytes of JSON (limit {JSON_BYTES})")
    text = f.read(json_size)
    at = 20 + json_size
    header = f.read(8)
    if not header:
        return text, None
    if len(header) < 8:
        malformed("GLB with a chunk header cut short")
    bin_size, kind = struct.unpack("<I4s", header)
    if kind != b"BIN\0":
        return text, None
    if at + 8 + bin_size > size:
        malformed("GLB whose binary chunk is longer than the file")
    return text, (at + 8, bin_size)


def _parse(text: bytes) -> dict[str, Any]:
    if text.count(b",") > JSON_VALUES:
        too_large(f"over {JSON_VALUES} values in the JSON")

    def constant(name: str) -> None:
        malformed(f"JSON contains {name}")

    try:
        data = json.loads(text.decode("utf-8-sig"), parse_constant=constant)
    except UnicodeDecodeError:
        malformed("neither GLB nor UTF-8 JSON")
    except RecursionError:
        malformed("JSON nested too deeply")
    except ValueError as e:
        malformed(f"not JSON: {e}")
    asset = data.get("asset") if isinstance(data, dict) else None
    if not isinstance(asset, dict) or "version" not in asset:
        malformed("not glTF: no asset.version")
    if asset["version"] != "2.0":
        unsupported(f"glTF {show(str(asset['version']), 10)}; Blender reads 2.0")
    return dict(data)
