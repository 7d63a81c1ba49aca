import base64
import csv
import gzip
import io
import json
import os
import struct
import tempfile
import zipfile
import zlib
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dataengine.corpus.config import Limits
from dataengine.errors import AssetFailure, ErrorCode
from dataengine.model_files.model_info import EXTENSIONS, ModelInfo
from dataengine.model_files.preflight import examine, preflight
from tests import asset_files as files

LIMITS = Limits()
SHARED = Path(__file__).parents[3] / "shared" / "assets"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared models are not beside the checkout")

GOOD = {
    "glb": files.glb(),
    "stl": files.stl(),
    "ply": files.ply(),
    "dae": files.dae(),
    "usda": files.USDA.format(reference="other.usda").encode(),
    "fbx": files.fbx(),
    "obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
}


def refusal(path: Path, root: Path | None = None, limits: Limits = LIMITS) -> ErrorCode | None:
    try:
        preflight(path, EXTENSIONS[path.suffix.lower()[1:]], limits, root)
    except AssetFailure as e:
        assert "\n" not in e.message
        return e.code
    return None


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", GOOD)
def test_a_good_file_passes_and_its_counts_are_read(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, f"model.{kind}", GOOD[kind])
    info = ModelInfo()
    examine(path, EXTENSIONS[kind], LIMITS, tmp_path, info)
    assert (info.face_count, info.vertex_count) == (1, 3)


@pytest.mark.parametrize("kind", GOOD)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_refused_or_read_but_never_breaks_the_reader(kind: str, data: st.DataObject) -> None:
    good = GOOD[kind]
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, min(start + 16, len(good))))
    damaged = good[:start] + data.draw(st.binary(max_size=16)) + good[end:]
    with tempfile.TemporaryDirectory() as folder:
        refusal(write(Path(folder), f"model.{kind}", damaged))


def test_an_encoding_that_nobody_knows_is_left_to_blender(tmp_path: Path) -> None:
    assert b"utf-8" in GOOD["dae"]
    assert refusal(write(tmp_path, "model.dae", GOOD["dae"].replace(b"utf-8", b"tf-8"))) is None


@pytest.mark.parametrize("kind", EXTENSIONS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=200))
@example(noise=b"#usda")
@example(noise=bytes(34))
def test_noise_is_refused(kind: str, noise: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if kind in ("obj", "stl") and (b"v" in noise or b"facet" in noise):
            return
        assert refusal(write(Path(folder), f"model.{kind}", noise)) is not None


@pytest.mark.parametrize(
    "uri",
    [
        "/etc/passwd",
        "../../../../etc/passwd",
        "%2e%2e%2f%2e%2e%2fetc/passwd",
        "..%2Fsecret.bin",
        "file:///etc/passwd",
        "http://127.0.0.1:9/x.bin",
        "C:\\secret.bin",
        "//host/share/x.bin",
    ],
)
def test_gltf_uris_that_leave_the_folder_are_unsafe(tmp_path: Path, uri: str) -> None:
    assert refusal(files.gltf(tmp_path, buffer_uri=uri)) is ErrorCode.UNSAFE_PATH
    if uri not in ("C:\\secret.bin", "//host/share/x.bin"):  # an image's is its author's disk: see below
        assert refusal(files.gltf(tmp_path, image=uri)) is ErrorCode.UNSAFE_PATH


def test_a_gltf_image_on_the_authors_disk_is_looked_for_by_its_name(tmp_path: Path) -> None:
    write(tmp_path, "wood.png", files.png(4, 4))
    for uri in ("C:\\secret.bin", "//host/share/x.bin", "C:/Users/someone/wood.png"):
        path, facts = files.gltf(tmp_path, image=uri), ModelInfo()
        examine(path, "gltf", Limits(), tmp_path, facts)
        assert (tmp_path / "wood.png" in facts.dependencies) == uri.endswith("wood.png")


def test_a_reference_may_climb_within_the_source_folder_only(tmp_path: Path) -> None:
    (tmp_path / "meshes").mkdir()
    (tmp_path / "textures").mkdir()
    write(tmp_path / "textures", "a.png", files.png(4, 4))
    path = files.obj(tmp_path / "meshes", map_line="map_Kd -s 1 1 1 ../textures/a.png")
    assert refusal(path, root=tmp_path) is None
    assert refusal(path) is ErrorCode.UNSAFE_PATH


def test_a_path_on_the_authors_disk_is_a_missing_texture_not_a_danger(tmp_path: Path) -> None:
    for line in (r"map_Kd C:\work\wood.png", "map_Kd /home/author/wood.png"):
        assert refusal(files.obj(tmp_path, map_line=line)) is None
    assert refusal(files.obj(tmp_path, map_line="map_Kd /etc/passwd")) is ErrorCode.UNSAFE_PATH


def test_files_that_are_not_regular_are_unsafe(tmp_path: Path) -> None:
    outside = tmp_path / "outside.glb"
    outside.write_bytes(GOOD["glb"])
    inside = tmp_path / "models"
    inside.mkdir()
    os.mkfifo(inside / "fifo.glb")
    (inside / "folder.glb").mkdir()
    (inside / "loop.glb").symlink_to("loop.glb")
    (inside / "out.glb").symlink_to(outside)
    (inside / "device.glb").symlink_to("/dev/zero")
    (inside / "dangling.glb").symlink_to("nowhere.glb")
    expected = dict.fromkeys(("fifo", "folder", "loop", "device"), ErrorCode.UNSAFE_PATH)
    expected |= {"dangling": ErrorCode.FETCH_404, "out": None}  # a link that a person listed is that person's
    assert {name: refusal(inside / f"{name}.glb") for name in expected} == expected


def test_links_in_references_are_followed_before_they_are_judged(tmp_path: Path) -> None:
    inside = tmp_path / "models"
    inside.mkdir()
    path = files.gltf(inside)
    (inside / "real.bin").write_bytes((inside / "model.bin").read_bytes())
    (inside / "model.bin").unlink()
    (inside / "model.bin").symlink_to("real.bin")
    assert refusal(path) is None
    (inside / "model.bin").unlink()
    (inside / "model.bin").symlink_to("/dev/zero")
    assert refusal(path) is ErrorCode.UNSAFE_PATH


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"asset": {"version": "1.0"}}, ErrorCode.UNSUPPORTED),
        ({"asset": {"version": "9.0"}}, ErrorCode.UNSUPPORTED),
        ({"asset": {}}, ErrorCode.MALFORMED),
        *(
            ({"extensionsUsed": [name], "extensionsRequired": [name]}, ErrorCode.UNSUPPORTED)
            for name in ("MSFT_texture_dds", "EXT_texture_avif", "ACME_x")
        ),
        (
            {"extensionsUsed": ["KHR_draco_mesh_compression"], "extensionsRequired": ["KHR_draco_mesh_compression"]},
            None,
        ),
        ({"nodes": [{"children": [1], "mesh": 0}, {"children": [0]}]}, ErrorCode.MALFORMED),
        ({"nodes": [{"children": [2]}, {"children": [2]}, {"mesh": 0}]}, ErrorCode.MALFORMED),
        ({"nodes": [{"children": [i + 1]} for i in range(1999)] + [{"mesh": 0}]}, ErrorCode.MALFORMED),
        ({"nodes": [{"mesh": 5}]}, ErrorCode.MALFORMED),
        ({"nodes": [{"mesh": 0}] * 20_000}, ErrorCode.TOO_LARGE),
        ({"materials": [{}] * 5_000}, ErrorCode.TOO_LARGE),
        ({"accessors": [{"componentType": 5126, "type": "VEC3", "count": 10**9}]}, ErrorCode.TOO_LARGE),
        ({"accessors": [{"bufferView": 0, "componentType": 5126, "type": "VEC3", "count": 4}]}, ErrorCode.MALFORMED),
        ({"accessors": [{"bufferView": 9, "componentType": 5126, "type": "VEC3", "count": 3}]}, ErrorCode.MALFORMED),
        ({"accessors": [{"bufferView": 0, "componentType": 1, "type": "VEC3", "count": 3}]}, ErrorCode.MALFORMED),
        ({"accessors": [{"bufferView": 0, "componentType": 5126, "type": "VEC3", "count": "3"}]}, ErrorCode.MALFORMED),
        ({"extras": float("nan")}, ErrorCode.MALFORMED),
        ({"buffers": [{"uri": "gone.bin", "byteLength": 36}]}, ErrorCode.FETCH_404),
    ],
)
def test_gltf_rules(tmp_path: Path, changes: dict[str, object], code: ErrorCode | None) -> None:
    assert refusal(write(tmp_path, "model.glb", files.glb(**changes))) is code


def test_an_accessor_that_nothing_uses_does_not_matter(tmp_path: Path) -> None:
    document, _ = files.gltf_document()
    accessors = [*document["accessors"], {"bufferView": 0, "componentType": 5126, "type": "VEC3", "count": 400}]
    assert refusal(write(tmp_path, "model.glb", files.glb(accessors=accessors))) is None


def test_lengths_of_a_glb(tmp_path: Path) -> None:
    good = files.glb()
    for damaged in (good[:-1], good + b"\0", good[:12], good[:8], b"glTF" + struct.pack("<II", 2, 20) + b"\xff" * 8):
        assert refusal(write(tmp_path, "model.glb", damaged)) is ErrorCode.MALFORMED


def test_json_that_is_deep_or_not_json(tmp_path: Path) -> None:
    for text in (b"[" * 100_000, b"\xef\xbb\xbf{}", b"[]", b"null", b'{"asset"', b"\xff\xfe{\0}\0"):
        assert refusal(write(tmp_path, "model.gltf", text)) is ErrorCode.MALFORMED


def test_a_texture_is_refused_by_the_size_it_declares(tmp_path: Path) -> None:
    for width, height, code in ((2**31 - 1, 2**31 - 1, ErrorCode.TOO_LARGE), (16_384, 16_384, None), (4, 4, None)):
        write(tmp_path, "big.png", files.png(width, height))
        assert refusal(files.gltf(tmp_path, image="big.png")) is code
        assert refusal(files.obj(tmp_path, map_line="map_Kd big.png")) is code
        assert refusal(write(tmp_path, "m.dae", files.dae(image="big.png"))) is code
        assert refusal(write(tmp_path, "m.fbx", files.fbx(texture="big.png"))) is code


def test_fbx_versions_bombs_and_lies(tmp_path: Path) -> None:
    def array(declared: int, data: bytes) -> bytes:
        return b"d" + struct.pack("<III", declared, 1, len(data)) + data

    zeros = zlib.compress(b"\0" * (80 << 20))
    cases = {
        b"; FBX 7.4.0 project file\n": ErrorCode.UNSUPPORTED,
        files.fbx(version=6100): ErrorCode.UNSUPPORTED,
        files.fbx(vertices=array(10 << 20, zeros)): ErrorCode.TOO_LARGE,
        files.fbx(vertices=array(9, zeros)): ErrorCode.MALFORMED,
        files.fbx(vertices=array(9, b"not zlib")): ErrorCode.MALFORMED,
        files.fbx()[:200]: ErrorCode.MALFORMED,
        files.fbx()[:27] + b"\0" * 13: ErrorCode.MALFORMED,
    }
    for content, code in cases.items():
        assert refusal(write(tmp_path, "m.fbx", content)) is code


def test_collada_entities_and_counts(tmp_path: Path) -> None:
    external = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    laughs = '<!DOCTYPE x [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
    assert refusal(write(tmp_path, "m.dae", files.dae(doctype=external))) is ErrorCode.UNSAFE_PATH
    assert refusal(write(tmp_path, "m.dae", files.dae(doctype=laughs))) is ErrorCode.MALFORMED
    assert refusal(write(tmp_path, "m.dae", files.dae(floats=4 * 10**9))) is ErrorCode.TOO_LARGE
    assert refusal(write(tmp_path, "m.dae", files.dae(image="../../etc/passwd"))) is ErrorCode.UNSAFE_PATH
    assert refusal(write(tmp_path, "m.dae", files.dae(image="file:///C:/Users/me/a.png"))) is None


def test_counts_of_stl_and_ply(tmp_path: Path) -> None:
    assert refusal(write(tmp_path, "m.stl", files.stl()[:-1])) is ErrorCode.MALFORMED
    assert refusal(write(tmp_path, "m.stl", b"\0" * 80 + b"\xff" * 4)) is ErrorCode.MALFORMED
    text = b"solid x\nfacet normal 0 0 1\nouter loop\n" + b"vertex 0 0 0\n" * 3 + b"endloop\nendfacet\nendsolid"
    assert refusal(write(tmp_path, "m.stl", text)) is None
    assert refusal(write(tmp_path, "m.ply", files.ply(corners=255))) is ErrorCode.MALFORMED
    for old, new, code in (
        (b"vertex 3", b"vertex -5", ErrorCode.MALFORMED),
        (b"vertex 3", b"vertex 4000000000", ErrorCode.TOO_LARGE),
        (b"vertex 3", b"vertex 3000", ErrorCode.MALFORMED),
        (b"face 1", b"face 2", ErrorCode.MALFORMED),
    ):
        assert refusal(write(tmp_path, "m.ply", files.ply().replace(old, new))) is code


def test_usd_references_and_archives(tmp_path: Path) -> None:
    for reference, code in (
        ("/etc/passwd", ErrorCode.UNSAFE_PATH),
        ("../x.usda", ErrorCode.UNSAFE_PATH),
        ("x.usda", None),
    ):
        text = files.USDA.format(reference=reference).encode()
        assert refusal(write(tmp_path, "m.usda", text)) is code
    nested = files.USDA.format(reference="m.usda").encode()  # a cycle, and a danger one step away
    write(tmp_path, "m.usda", nested.replace(b"m.usda", b"n.usda"))
    assert refusal(write(tmp_path, "n.usda", nested.replace(b'"m"', b'"m" (references = @/etc/passwd@)'))) is not None
    assert refusal(tmp_path / "m.usda") is ErrorCode.UNSAFE_PATH
    for member, code in (("../../x.usda", ErrorCode.UNSAFE_PATH), ("/x.usda", ErrorCode.UNSAFE_PATH), ("x.usda", None)):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(member, GOOD["usda"])
        assert refusal(write(tmp_path, "m.usdz", buffer.getvalue())) is code


def test_a_compressed_blend_may_not_be_a_bomb(tmp_path: Path) -> None:
    data = b"BLENDER-v405" + b"\0" * (4 << 20)
    path = write(tmp_path, "m.blend", gzip.compress(data))
    assert refusal(path, limits=Limits(file_bytes=1 << 20)) is ErrorCode.TOO_LARGE
    assert refusal(path) is None


def test_what_a_download_leaves_behind_is_named(tmp_path: Path) -> None:
    for content, words in (
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs"),
        (b"<!DOCTYPE html><p>404", "HTML"),
    ):
        with pytest.raises(AssetFailure, match=words):
            preflight(write(tmp_path, "m.glb", content), "glb", LIMITS)


def test_bytes_are_counted_with_the_dependencies(tmp_path: Path) -> None:
    path = files.obj(tmp_path, texture=files.png(4, 4) + b"\0" * 5000)
    assert refusal(path, limits=Limits(file_bytes=4000)) is ErrorCode.TOO_LARGE
    assert refusal(path, limits=Limits(file_bytes=8000)) is None


def shared_models(folder: str) -> list[dict[str, str]]:
    with (SHARED / folder / "MANIFEST.csv").open(encoding="utf-8", newline="") as f:
        return [r for r in csv.DictReader(f) if (SHARED / folder / r["path"]).exists()]


@needs_shared
def test_no_open_model_is_refused() -> None:
    root = SHARED / "open"
    refused = {r["path"]: c for r in shared_models("open") if (c := refusal(root / r["path"], root)) is not None}
    assert refused == {}


@needs_shared
def test_what_blender_cannot_survive_is_refused_and_what_it_reads_is_not() -> None:
    root = SHARED / "hostile"
    codes = {
        r["path"]: (r["outcome"], refusal(root / r["path"], root))
        for r in shared_models("hostile")
        if Path(r["path"]).suffix.lower()[1:] in EXTENSIONS
    }
    # Out of their formats' rules or folders, though Blender makes something of them.
    strict = {"acc_neg_count", "acc_neg_offset", "mtl_dev_zero", "mtl_traversal", "zip_slip"}
    strict |= {"nan", "nan_one", "inf_one"}  # Blender makes spikes of them
    refused = {p for p, (outcome, code) in codes.items() if outcome == "OK" and code is not None}
    assert {Path(p).stem for p in refused} <= strict
    assert all(code is ErrorCode.UNSAFE_PATH for outcome, code in codes.values() if outcome == "SECURITY")
    # Left to Blender's process: what only decoding the geometry or running the importer shows.
    passed = {Path(p).stem for p, (outcome, code) in codes.items() if outcome == "EXCEPTION" and code is None}
    assert passed <= {
        *("BarramundiFish", "idx_out_of_range", "name_number", "ref_self", "syntax", "trunc_ascii", "uri_self"),
        *("basisu_required_agi", "meshopt_box", "meshopt_rolex", "meshopt_Ingenuity"),  # decoded before the import
    }


def test_json_of_a_gltf_may_hold_its_buffer(tmp_path: Path) -> None:
    document, data = files.gltf_document()
    document["buffers"][0]["uri"] = "data:application/octet-stream;base64," + base64.b64encode(data).decode()
    path = tmp_path / "m.gltf"
    path.write_text(json.dumps(document))
    assert refusal(path) is None
    document["buffers"][0]["uri"] = "data:application/octet-stream;base64,AAAA"
    path.write_text(json.dumps(document))
    assert refusal(path) is ErrorCode.MALFORMED


def test_an_array_that_is_cut_short_after_odd_bytes_ends(tmp_path: Path) -> None:
    """1 to 3 bytes were left over from a deflate stream that never ended, and were taken for new data for ever."""
    stored = b"i" + struct.pack("<III", 1, 1, 13) + b"\x78\x01\x01\x90\x01o\xfe\0\0\0\0\x01\0"
    path = write(tmp_path, "model.fbx", files.fbx(indices=stored))
    assert refusal(path, limits=Limits(cpu_seconds=5)) is ErrorCode.MALFORMED


@pytest.mark.parametrize(
    "changes",
    [
        {"accessors": [{"componentType": 5126, "type": ["VEC3"], "count": 3}]},
        {"accessors": [{"componentType": {}, "type": "VEC3", "count": 3}]},
        {"meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "extensions": 1.5}]}]},
    ],
    ids=["type is a list", "component type is an object", "extensions are a number"],
)
def test_gltf_of_unexpected_types(tmp_path: Path, changes: dict[str, object]) -> None:
    path = write(tmp_path, "model.glb", files.glb(**changes))
    code = refusal(path)
    assert code in (ErrorCode.MALFORMED, None)
    with pytest.raises(AssetFailure) if code else nullcontext() as failure:
        preflight(path, "glb", LIMITS)
    assert failure is None or "in a way of its own" not in failure.value.message, "the reader itself says what it is"


def test_counts_beyond_64_bits_are_kept_as_the_most_a_column_holds(tmp_path: Path) -> None:
    accessor = {"bufferView": 0, "componentType": 5126, "type": "VEC3", "count": 3 << 63}
    path = write(tmp_path, "model.glb", files.glb(accessors=[accessor]))
    info = ModelInfo()
    with pytest.raises(AssetFailure) as failure:
        examine(path, "glb", LIMITS, tmp_path, info)
    assert failure.value.code is ErrorCode.TOO_LARGE
    assert info.vertex_count is None or info.vertex_count < 2**63
