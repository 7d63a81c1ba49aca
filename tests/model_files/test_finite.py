"""Vertices that are no numbers are seen before an importer turns them into 0; those that no face uses do not matter."""

import base64
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from dataengine.corpus.config import Limits
from dataengine.errors import AssetFailure, ErrorCode
from dataengine.model_files.preflight import preflight
from dataengine.render.pool import BlenderPool
from tests import asset_files as files
from tests.render.models import request

POINTS = [(0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (9.0, 9.0, 9.0)]
FACES = [(0, 1, 2), (0, 2, 3)]  # the last point is no one's


def gltf(path: Path, points: np.ndarray, *, embedded: bool, indexed: bool = True) -> None:
    faces = np.array(FACES, "<u2")
    data = (points.astype("<f4") if indexed else points[faces.ravel()].astype("<f4")).tobytes()
    blob = data + faces.tobytes()
    uri = "data:application/octet-stream;base64," + base64.b64encode(blob).decode() if embedded else "a.bin"
    if not embedded:
        path.with_name("a.bin").write_bytes(blob)
    primitive = {"attributes": {"POSITION": 0}} | ({"indices": 1} if indexed else {})
    tree = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": len(data) // 12, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5123, "count": 6, "type": "SCALAR"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteLength": len(data)},
            {"buffer": 0, "byteOffset": len(data), "byteLength": 12},
        ],
        "buffers": [{"byteLength": len(blob), "uri": uri}],
    }
    path.write_text(json.dumps(tree))


def obj(path: Path, points: np.ndarray) -> None:
    lines = [f"vn 0 0 {n}" for n in range(3)] + [f"v {x:g} {y:g} {z:g}" for x, y, z in points]
    path.write_text("\n".join([*lines, *(f"f {a + 1}//1 {b + 1}//1 {c + 1}//1" for a, b, c in FACES), ""]))


def stl(path: Path, points: np.ndarray, *, text: bool) -> None:
    if text:
        rows = ["solid a"]
        for face in FACES:
            rows += ["facet normal 0 0 nan", "outer loop"]
            rows += ["vertex {:g} {:g} {:g}".format(*points[i]) for i in face]
            rows += ["endloop", "endfacet"]
        path.write_text("\n".join([*rows, "endsolid a", ""]))
        return
    body = b"".join(struct.pack("<12fH", *[np.nan] * 3, *points[list(f)].ravel(), 0) for f in FACES)
    path.write_bytes(b"\0" * 80 + struct.pack("<I", len(FACES)) + body)


def write(path: Path, kind: str, points: np.ndarray) -> None:
    match kind:
        case "data.gltf":
            gltf(path, points, embedded=True)
        case "file.gltf":
            gltf(path, points, embedded=False)
        case "plain.gltf":
            gltf(path, points, embedded=False, indexed=False)
        case "a.obj":
            obj(path, points)
        case "text.stl":
            stl(path, points, text=True)
        case "a.stl":
            stl(path, points, text=False)


@pytest.mark.parametrize("kind", ["data.gltf", "file.gltf", "plain.gltf", "a.obj", "text.stl", "a.stl"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_corner_that_is_no_number(tmp_path: Path, kind: str, value: float) -> None:
    """glTF 2.0, 3.6.2.2: NaN and infinity must not be present; the others have no word for them."""
    points, path = np.array(POINTS), tmp_path / kind
    write(path, kind, points)
    preflight(path, path.suffix[1:], Limits())
    points[4, 1] = value
    write(path, kind, points)
    preflight(path, path.suffix[1:], Limits())
    points[1, 0] = value
    write(path, kind, points)
    with pytest.raises(AssetFailure, match="not finite") as failure:
        preflight(path, path.suffix[1:], Limits())
    assert failure.value.code == ErrorCode.BAD_GEOMETRY


@pytest.mark.parametrize("value", ["NaN", "nan", "INF", "-INF", "1e39", "-1.#IND", "1e-50", "-4.5E+3"])
@pytest.mark.parametrize("numbers", [9, 60_000])
def test_collada(tmp_path: Path, value: str, numbers: int) -> None:
    """XML Schema, which COLLADA takes its floats from, has words for NaN and infinity; parsers differ on the others."""
    path = tmp_path / "a.dae"
    good = files.dae(floats=numbers, values="0.25 " * (numbers - 1) + "1e-3")
    path.write_bytes(good)
    preflight(path, "dae", Limits())
    path.write_bytes(good.replace(b"1e-3", value.encode()))
    if value in ("1e-50", "-4.5E+3"):
        preflight(path, "dae", Limits())
        return
    with pytest.raises(AssetFailure, match="not finite") as failure:
        preflight(path, "dae", Limits())
    assert failure.value.code == ErrorCode.BAD_GEOMETRY


@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian"])
def test_ply(tmp_path: Path, kind: str) -> None:
    head = f"ply\nformat {kind} 1.0\nelement vertex 5\nproperty float x\nproperty float y\nproperty float z\n"
    head += "property float nx\nelement face 2\nproperty list uchar int vertex_indices\nend_header\n"
    path = tmp_path / "a.ply"
    with BlenderPool(Limits(), readable=[tmp_path]) as pool:
        for odd in (None, 4, 1):
            points = np.array([(*p, np.nan) for p in POINTS], "<f4")
            if odd is not None:
                points[odd, 0] = np.nan
            if kind == "ascii":
                rows = [" ".join(map(str, p)) for p in points.tolist()]
                path.write_text(head + "\n".join([*rows, *(f"3 {a} {b} {c}" for a, b, c in FACES), ""]))
            else:
                faces = b"".join(b"\x03" + np.array(f, "<i4").tobytes() for f in FACES)
                path.write_bytes(head.encode() + points.tobytes() + faces)
            if odd == 1:
                with pytest.raises(AssetFailure, match="not finite"):
                    pool.render(request(path, views=1, size=8))
            else:
                assert pool.render(request(path, views=1, size=8)).face_count == 2
