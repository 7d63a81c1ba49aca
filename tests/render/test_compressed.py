"""Compressed glTF becomes the plain GLB that Blender reads."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataengine.corpus.config import Limits
from dataengine.errors import AssetFailure, ErrorCode
from dataengine.model_files.formats import gltf as reader
from dataengine.model_files.model_info import ModelInfo
from dataengine.model_files.preflight import examine, preflight
from dataengine.model_files.references import References
from dataengine.render.pool import BlenderPool
from tests.render.models import CUBE, pixels, request

meshopt = pytest.importorskip("meshopt")
pytest.importorskip("opengl_basisu")
FOUND = Path(__file__).parents[3] / "shared/assets/hostile/found"


def packed_cube(folder: Path, change: Callable[[dict[str, Any]], None] = lambda document: None) -> Path:
    """A cube whose vertices and triangles are packed by meshoptimizer, without a fallback."""
    points = np.ascontiguousarray(CUBE.vertices, np.float32)
    triangles = np.ascontiguousarray(CUBE.faces.reshape(-1), np.uint16)
    parts = [meshopt.encode_gltf_buffer(points, "ATTRIBUTES"), meshopt.encode_gltf_buffer(triangles, "TRIANGLES")]
    shapes = [(len(points), 12, "ATTRIBUTES"), (len(triangles), 2, "TRIANGLES")]
    views, blob = [], b""
    for part, (count, stride, mode) in zip(parts, shapes, strict=True):
        how = {"buffer": 0, "byteOffset": len(blob), "byteLength": len(part), "count": count}
        how |= {"byteStride": stride, "mode": mode}
        views.append({"buffer": 1, "byteLength": count * stride, "extensions": {"EXT_meshopt_compression": how}})
        blob += part + bytes(-len(part) % 4)
    document = {
        "asset": {"version": "2.0"},
        "extensionsUsed": ["EXT_meshopt_compression"],
        "extensionsRequired": ["EXT_meshopt_compression"],
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "type": "VEC3", "count": len(points)}
            | {"min": [-0.5] * 3, "max": [0.5] * 3},
            {"bufferView": 1, "componentType": 5123, "type": "SCALAR", "count": len(triangles)},
        ],
        "bufferViews": views,
        "buffers": [
            {"byteLength": len(blob)},
            {"byteLength": 500, "extensions": {"EXT_meshopt_compression": {"fallback": True}}},
        ],
    }
    change(document)
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sIIII", b"glTF", 2, 28 + len(text) + len(blob), len(text), 0x4E4F534A)
    path = folder / "cube.glb"
    path.write_bytes(head + text + struct.pack("<II", len(blob), 0x004E4942) + blob)
    return path


@pytest.fixture
def pool(tmp_path: Path) -> Any:
    readable = [tmp_path, *([FOUND] if FOUND.is_dir() else [])]
    with BlenderPool(Limits(cpu_seconds=60), readable=readable) as pool:
        yield pool


def test_packed_meshes_render(tmp_path: Path, pool: BlenderPool) -> None:
    path = packed_cube(tmp_path)
    info = ModelInfo()
    examine(path, "glb", Limits(), tmp_path, info)
    assert (info.face_count, info.vertex_count) == (12, 8)
    reply, rgba, _ = pixels(pool, request(path, views=1))
    assert reply.face_count == 12 and rgba[0, 16, 16, 3] == 255

    data = bytearray(path.read_bytes())  # noise in place of what was packed
    data[-40:] = bytes(range(200, 240))
    path.write_bytes(data)
    with pytest.raises(AssetFailure, match="cannot be decoded") as failure:
        pool.render(request(path, views=1))
    assert failure.value.code is ErrorCode.MALFORMED


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("count", 1 << 31, ErrorCode.TOO_LARGE),
        ("byteStride", 100_000, ErrorCode.MALFORMED),
        ("byteLength", 1 << 20, ErrorCode.MALFORMED),
        ("buffer", 7, ErrorCode.MALFORMED),
    ],
)
def test_bombs_are_refused_before_they_unpack(tmp_path: Path, key: str, value: int, code: ErrorCode) -> None:
    def change(document: dict[str, Any]) -> None:
        document["bufferViews"][0]["extensions"]["EXT_meshopt_compression"][key] = value

    with pytest.raises(AssetFailure) as failure:
        preflight(packed_cube(tmp_path, change), "glb", Limits())
    assert failure.value.code is code


def test_without_the_decoder_the_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(reader.DECODERS, "EXT_meshopt_compression", "no_such_module")
    with pytest.raises(AssetFailure, match=r"pip install 'dataengine\[compressed\]'") as failure:
        reader.read(packed_cube(tmp_path), References(tmp_path), Limits(), ModelInfo())
    assert failure.value.code is ErrorCode.UNSUPPORTED


@pytest.mark.skipif(not FOUND.is_dir(), reason="needs the found models")
@pytest.mark.parametrize("name", ["basisu_required_agi.glb", "ktx2_optional_ycb/003_cracker_box_textured.gltf"])
def test_ktx2_textures_are_seen(pool: BlenderPool, name: str) -> None:
    path = FOUND / name
    preflight(path, path.suffix[1:], Limits())
    reply, rgba, _ = pixels(pool, request(path, views=1, size=64))
    assert not reply.missing_textures
    seen = rgba[0][rgba[0][..., 3] > 200][:, :3].astype(int)
    magenta = (seen[:, 0] > 150) & (seen[:, 1] < 80) & (seen[:, 2] > 150)
    assert len(np.unique(seen // 16, axis=0)) > 20 and magenta.mean() < 0.01
