"""Small model files for the tests, written byte by byte."""

import json
import struct
import zlib
from pathlib import Path
from typing import Any

TRIANGLE = [(0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)]


def gltf_document(triangles: int = 1, **changes: Any) -> tuple[dict[str, Any], bytes]:
    """A glTF with one mesh of separate triangles, and its buffer."""
    points = [(x + i, y, z) for i in range(triangles) for x, y, z in TRIANGLE]
    data = b"".join(struct.pack("<3f", *p) for p in points)
    high = [float(triangles), 1.0, 0.0]
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "accessors": [
            {
                "bufferView": 0,
                "componentType": 5126,
                "type": "VEC3",
                "count": len(points),
                "min": [0.0, 0.0, 0.0],
                "max": high,
            }
        ],
        "bufferViews": [{"buffer": 0, "byteLength": len(data)}],
        "buffers": [{"byteLength": len(data)}],
    }
    return {**document, **changes}, data


def glb(triangles: int = 1, **changes: Any) -> bytes:
    document, data = gltf_document(triangles, **changes)
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    data += b"\0" * (-len(data) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(data), b"BIN\0") + data
    return b"glTF" + struct.pack("<II", 2, 12 + len(chunks)) + chunks


def gltf(folder: Path, name: str = "model", image: str | None = None, buffer_uri: str | None = None) -> Path:
    """A .gltf with a .bin beside it."""
    document, data = gltf_document()
    document["buffers"][0]["uri"] = buffer_uri or f"{name}.bin"
    if image:
        document["images"] = [{"uri": image}]
    (folder / f"{name}.bin").write_bytes(data)
    path = folder / f"{name}.gltf"
    path.write_text(json.dumps(document))
    return path


def obj(folder: Path, name: str = "model", texture: bytes | None = None, map_line: str | None = None) -> Path:
    """An .obj with an .mtl, and its texture if there are bytes for one."""
    text = f"mtllib {name}.mtl\n" + "".join(f"v {x} {y} {z}\n" for x, y, z in TRIANGLE) + "usemtl m\nf 1 2 3\n"
    (folder / f"{name}.obj").write_text(text)
    (folder / f"{name}.mtl").write_text(f"newmtl m\n{map_line or f'map_Kd {name}.png'}\n")
    if texture is not None:
        (folder / f"{name}.png").write_bytes(texture)
    return folder / f"{name}.obj"


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG that declares a size and holds `data` for pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def stl(triangles: int = 1) -> bytes:
    body = b"".join(
        struct.pack("<12fH", 0, 0, 1, *TRIANGLE[0], *TRIANGLE[1], *TRIANGLE[2], 0) for _ in range(triangles)
    )
    return b"\0" * 80 + struct.pack("<I", triangles) + body


def ply(corners: int = 3) -> bytes:
    head = (
        "ply\nformat binary_little_endian 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
        "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    )
    return head.encode() + b"".join(struct.pack("<3f", *p) for p in TRIANGLE) + struct.pack("<B3i", corners, 0, 1, 2)


DAE = """<?xml version="1.0" encoding="utf-8"?>
{doctype}<COLLADA xmlns="http://www.collada.org/2005/11/COLLADASchema" version="1.4.1">
<library_images><image id="i"><init_from>{image}</init_from></image></library_images>
<library_geometries><geometry id="g"><mesh>
<source id="p"><float_array id="pa" count="{floats}">{values}</float_array>
<technique_common><accessor source="#pa" count="3" stride="3"/></technique_common></source>
<vertices id="v"><input semantic="POSITION" source="#p"/></vertices>
<triangles count="1"><input semantic="VERTEX" source="#v" offset="0"/><p>0 1 2</p></triangles>
</mesh></geometry></library_geometries></COLLADA>"""


def dae(image: str = "a.png", floats: int = 9, doctype: str = "", values: str = "0 0 0 1 0 0 0 1 0") -> bytes:
    return DAE.format(image=image, floats=floats, doctype=doctype, values=values).encode()


USDA = """#usda 1.0
def Mesh "m" (
    references = @{reference}@
)
{{
    int[] faceVertexCounts = [3]
    int[] faceVertexIndices = [0, 1, 2]
    point3f[] points = [(0, 0, 0), (1, 0, 0), (0, 1, 0)]
}}
"""


def fbx_record(name: bytes, properties: list[bytes], children: list[bytes], at: int) -> bytes:
    """One record of FBX 7400 that starts at byte `at`; the children's offsets are made to fit."""
    body = b"".join(properties)
    start = at + 13 + len(name) + len(body)
    inner = b""
    for make in children:
        inner += make(start + len(inner))  # type: ignore[operator]
    if children:
        inner += b"\0" * 13
    return struct.pack("<IIIB", start + len(inner), len(properties), len(body), len(name)) + name + body + inner


def fbx(
    vertices: bytes | None = None, texture: str = "a.png", version: int = 7400, indices: bytes | None = None
) -> bytes:
    """A binary FBX with one triangle. `vertices`, `indices`: the raw property of such a record."""
    points = struct.pack("<9d", *(c for p in TRIANGLE for c in p))
    packed = zlib.compress(points)
    vertices = vertices or b"d" + struct.pack("<III", 9, 1, len(packed)) + packed
    indices = indices or b"i" + struct.pack("<III", 3, 0, 12) + struct.pack("<3i", 0, 1, -3)
    name = texture.encode()

    def leaf(word: bytes, value: bytes) -> Any:
        return lambda at: fbx_record(word, [value], [], at)

    def geometry(at: int) -> bytes:
        return fbx_record(b"Geometry", [], [leaf(b"Vertices", vertices), leaf(b"PolygonVertexIndex", indices)], at)

    def video(at: int) -> bytes:
        value = b"S" + struct.pack("<I", len(name)) + name
        return fbx_record(b"Video", [], [leaf(b"RelativeFilename", value)], at)

    head = b"Kaydara FBX Binary  \x00\x1a\x00" + struct.pack("<I", version)
    objects = fbx_record(b"Objects", [], [geometry, video], len(head))  # type: ignore[list-item]
    return head + objects + b"\0" * 13
