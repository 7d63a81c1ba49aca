"""What the Blender process makes of files: real renders of tiny models."""

import math
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from dataengine.corpus.config import Limits
from dataengine.errors import AssetFailure, DataengineError, ErrorCode
from dataengine.render.looks import LOOKS
from dataengine.render.pool import BlenderPool
from tests.render.models import CUBE, coloured, glb_json, patch_glb, pixels, request, textured_quad, write_glb


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlenderPool]:
    with BlenderPool(Limits(cpu_seconds=60), readable=[tmp_path_factory.getbasetemp()]) as pool:
        yield pool


def fails(pool: BlenderPool, path: Path, **changes: object) -> AssetFailure:
    with pytest.raises(AssetFailure) as failure:
        pool.render(request(path, **changes))  # type: ignore[arg-type]
    assert failure.value.message and "\n" not in failure.value.message
    return failure.value


def test_sphere_normalisation_is_of_all_roots_together(pool: BlenderPool, tmp_path: Path) -> None:
    left = CUBE.copy().apply_translation((0, 0, 0))
    right = CUBE.copy().apply_scale(0.5).apply_translation((7, 3, 2))
    reply, rgba, depth = pixels(pool, request(write_glb(tmp_path / "two.glb", left, right), views=4))
    # glTF is y-up: (x, y, z) is imported as (x, -z, y)
    points = np.concatenate([left.vertices, right.vertices])[:, [0, 2, 1]] * (1, -1, 1)
    centre = (points.min(axis=0) + points.max(axis=0)) / 2
    reach = np.linalg.norm(points - centre, axis=1).max()
    assert reply.scale == pytest.approx(0.5 / reach, rel=1e-5)
    assert reply.offset == pytest.approx(-centre * 0.5 / reach, abs=1e-5)
    assert reply.radius == pytest.approx(0.5)
    assert (reply.face_count, reply.object_count) == (24, 2)
    alpha = rgba[..., 3]
    assert alpha.any(axis=(1, 2)).all()
    assert not (alpha[:, 0].any() or alpha[:, -1].any() or alpha[:, :, 0].any() or alpha[:, :, -1].any())
    assert ((depth > 0) == (alpha > 127)).mean() > 0.99


@pytest.mark.parametrize(("rule", "expected"), [("cube", 1 / 4), ("diagonal", 1 / math.sqrt(21))])
def test_published_normalisations(pool: BlenderPool, tmp_path: Path, rule: str, expected: float) -> None:
    box = trimesh.creation.box(extents=(1, 2, 4))
    reply = pool.render(request(write_glb(tmp_path / "box.glb", box), views=1, normalisation=rule))
    assert reply.scale == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("size", [1e-6, 1e6, 1e12])
def test_size_of_the_model_does_not_matter(pool: BlenderPool, tmp_path: Path, size: float) -> None:
    _, usual, _ = pixels(pool, request(write_glb(tmp_path / "a.glb", CUBE), views=1))
    _, scaled, _ = pixels(pool, request(write_glb(tmp_path / "b.glb", CUBE.copy().apply_scale(size)), views=1))
    assert np.abs(usual.astype(int) - scaled).max() <= 2


def test_depth_is_planar(pool: BlenderPool, tmp_path: Path) -> None:
    path = write_glb(tmp_path / "quad.glb", textured_quad(Image.new("RGB", (4, 4), (90, 90, 90))))
    wanted = request(path, views=1)
    _, _, depth = pixels(pool, wanted)
    inside = depth[depth > 0]
    assert len(inside) > 100
    assert inside == pytest.approx(wanted.cameras[0].near + 0.505, abs=1e-4)  # the plane through the origin


def test_orthographic_and_shifted_principal_point(pool: BlenderPool, tmp_path: Path) -> None:
    path = write_glb(tmp_path / "cube.glb", CUBE)
    wanted = request(path, views=1, size=64)
    k = [[40.0, 0.0, 40.0], [0.0, 40.0, 27.0], [0.0, 0.0, 1.0]]
    camera = replace(wanted.cameras[0], K=k, orthographic=True)
    reply, rgba, depth = pixels(pool, replace(wanted, cameras=[camera], samples=16))
    side = reply.scale * 40
    covered = rgba[0, ..., 3] / 255
    rows, columns = np.indices(covered.shape) + 0.5
    assert covered.sum() == pytest.approx(side * side, rel=0.02)
    assert (columns * covered).sum() / covered.sum() == pytest.approx(40.0, abs=0.1)
    assert (rows * covered).sum() / covered.sum() == pytest.approx(27.0, abs=0.1)
    distance = math.sqrt(sum(row[3] ** 2 for row in camera.c2w[:3]))
    assert depth[depth > 0] == pytest.approx(distance - reply.scale / 2, abs=1e-4)


def test_up_axis_can_be_overridden(pool: BlenderPool, tmp_path: Path) -> None:
    tall = trimesh.creation.box(extents=(1, 1, 4))  # along the file's z
    for suffix in ("glb", "obj", "stl", "ply"):
        path = tmp_path / f"tall.{suffix}"
        path.write_bytes(tall.export(file_type=suffix) if suffix != "obj" else tall.export(file_type="obj").encode())
        for up, upright in (("Z", True), ("Y", False)):
            reply, rgba, _ = pixels(pool, request(path, views=1, up=up))
            covered = rgba[0, ..., 3] > 0
            height, width = np.ptp(np.nonzero(covered.any(axis=1))), np.ptp(np.nonzero(covered.any(axis=0)))
            assert reply.up == up
            assert (height > 2 * width) == upright, (suffix, up)


def test_obj_with_texture_and_the_same_without(pool: BlenderPool, tmp_path: Path) -> None:
    (tmp_path / "q.obj").write_text(QUAD_OBJ)
    (tmp_path / "q.mtl").write_text("newmtl m\nKd 1 1 1\nmap_Kd wood.png\n")
    reply, rgba, _ = pixels(pool, request(tmp_path / "q.obj", views=1))
    assert reply.missing_textures == ["wood.png"]
    assert reply.complaints
    r, g, b, a = rgba[0, 16, 16].tolist()
    assert a == 255 and abs(r - g) < 12 and abs(g - b) < 12, "neutral, not magenta"
    Image.new("RGB", (4, 4), (220, 30, 30)).save(tmp_path / "wood.png")
    reply, rgba, _ = pixels(pool, request(tmp_path / "q.obj", views=1))
    r, g, b, _ = rgba[0, 16, 16].tolist()
    assert not reply.missing_textures and r > 3 * g


def test_a_texture_that_moved_is_taken_from_the_files_named(pool: BlenderPool, tmp_path: Path) -> None:
    (tmp_path / "q.obj").write_text(QUAD_OBJ)
    (tmp_path / "q.mtl").write_text("newmtl m\nKd 1 1 1\nmap_Kd C:\\Users\\me\\wood.png\n")
    (tmp_path / "textures").mkdir()
    image = tmp_path / "textures" / "wood.png"
    Image.new("RGB", (4, 4), (220, 30, 30)).save(image)
    assert pool.render(request(tmp_path / "q.obj", views=1)).missing_textures == ["wood.png"]
    reply, rgba, _ = pixels(pool, request(tmp_path / "q.obj", views=1, textures=[str(image)]))
    r, g, _, _ = rgba[0, 16, 16].tolist()
    assert not reply.missing_textures and r > 3 * g


def test_large_textures_are_scaled_down(pool: BlenderPool, tmp_path: Path) -> None:
    stripes = Image.fromarray(np.tile(np.repeat(np.array([0, 255], np.uint8), 64), (512, 4)))
    path = write_glb(tmp_path / "stripes.glb", textured_quad(stripes.convert("RGB")))
    _, full, _ = pixels(pool, request(path, views=1, samples=16, max_texture=0))
    _, scaled, _ = pixels(pool, request(path, views=1, samples=16, max_texture=4))
    middle = np.s_[0, 12:20, 12:20, 0]
    assert np.ptp(full[middle].astype(int)) > 100 > 40 > np.ptp(scaled[middle].astype(int))


def test_lights_and_cameras_of_the_file_change_nothing(pool: BlenderPool, tmp_path: Path) -> None:
    path = write_glb(tmp_path / "cube.glb", coloured(CUBE, (180, 90, 60)))
    _, plain, _ = pixels(pool, request(path))
    tree = glb_json(path)
    camera = {"type": "perspective", "perspective": {"yfov": 1.0, "znear": 0.1}}
    nodes = [*tree["nodes"], {"name": "cam_v0", "camera": 0, "translation": [9, 0, 0]}]
    nodes += [{"extensions": {"KHR_lights_punctual": {"light": 0}}, "translation": [0, 5, 5]}]
    scenes = [{"nodes": [*tree["scenes"][0]["nodes"], len(nodes) - 2, len(nodes) - 1]}]
    lights = {"KHR_lights_punctual": {"lights": [{"type": "point", "intensity": 1e30, "color": [1, 0, 0]}]}}
    patch_glb(path, nodes=nodes, scenes=scenes, cameras=[camera], extensions=lights, extensionsUsed=list(lights))
    reply, lit, _ = pixels(pool, request(path))
    assert reply.object_count == 1
    np.testing.assert_array_equal(plain, lit)


def test_gltf_text_and_glb_bytes_are_told_apart_by_content(pool: BlenderPool, tmp_path: Path) -> None:
    glb = write_glb(tmp_path / "cube.glb", CUBE)
    named_gltf = tmp_path / "cube.gltf"
    named_gltf.write_bytes(glb.read_bytes())
    assert pool.render(request(named_gltf, views=1)).face_count == 12
    named_obj = tmp_path / "cube.obj"
    named_obj.write_bytes(glb.read_bytes())
    assert fails(pool, named_obj).code == ErrorCode.EMPTY_SCENE


def test_usd_and_collada(pool: BlenderPool, tmp_path: Path) -> None:
    usd = tmp_path / "tri.usda"
    usd.write_text(USD % "(1, 0, 0)")
    reply, rgba, _ = pixels(pool, request(usd, views=1, format="usd"))
    assert (reply.face_count, reply.up) == (1, "Z")
    assert rgba[0, ..., 3].any()
    assert pool.render(request(usd, views=1, format="usd", up="Y")).up == "Y"
    dae = tmp_path / "tri.dae"
    dae.write_bytes(COLLADA)
    assert pool.render(request(dae, views=1)).up == "Z"


QUAD_OBJ = """mtllib q.mtl
v -1 -1 0
v 1 -1 0
v 1 1 0
v -1 1 0
vt 0 0
vt 1 0
vt 1 1
vt 0 1
usemtl m
f 1/1 2/2 3/3 4/4
"""
USD = """#usda 1.0
(
    upAxis = "Z"
)
def Mesh "m"
{
    int[] faceVertexCounts = [3]
    int[] faceVertexIndices = [0, 1, 2]
    point3f[] points = [(0, 0, 0), %s, (0, 0, 1)]
}
"""
COLLADA = b"""<?xml version="1.0"?><COLLADA xmlns="http://www.collada.org/2005/11/COLLADASchema" version="1.4.1">
<asset><up_axis>Z_UP</up_axis></asset><library_geometries><geometry id="g"><mesh>
<source id="p"><float_array id="a" count="9">0 0 0 1 0 0 0 0 1</float_array><technique_common>
<accessor source="#a" count="3" stride="3"><param name="X" type="float"/><param name="Y" type="float"/>
<param name="Z" type="float"/></accessor></technique_common></source>
<vertices id="v"><input semantic="POSITION" source="#p"/></vertices>
<triangles count="1"><input semantic="VERTEX" source="#v" offset="0"/><p>0 1 2</p></triangles></mesh></geometry>
</library_geometries><library_visual_scenes><visual_scene id="s"><node id="n"><instance_geometry url="#g"/></node>
</visual_scene></library_visual_scenes><scene><instance_visual_scene url="#s"/></scene></COLLADA>"""


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("zero.glb", b"", ErrorCode.MALFORMED),
        ("cut.glb", b"glTF\x02\0\0\0\xff\0\0\0", ErrorCode.MALFORMED),
        ("old.glb", struct.pack("<4sII", b"glTF", 1, 12) + b"\0" * 8, ErrorCode.UNSUPPORTED),
        ("nothing.gltf", b'{"asset":{"version":"2.0"}}', ErrorCode.EMPTY_SCENE),
        ("points.obj", b"v 0 0 0\nv 1 1 1\n", ErrorCode.EMPTY_SCENE),
        ("line.obj", b"v 0 0 0\nv 1 1 1\nv 2 2 2\nf 1 2 3\n", ErrorCode.BAD_GEOMETRY),
        ("point.obj", b"v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n", ErrorCode.BAD_GEOMETRY),
        ("text.ply", b"<html>404</html>", ErrorCode.MALFORMED),
        ("ascii.fbx", b"; FBX 7.3.0 project file\n", ErrorCode.UNSUPPORTED),
        ("garbage.blend", b"BLENDER-v300" + b"x" * 99, ErrorCode.MALFORMED),
    ],
)
def test_typed_failures(pool: BlenderPool, tmp_path: Path, name: str, content: bytes, code: ErrorCode) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert fails(pool, path).code == code


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_extremes_are_typed(pool: BlenderPool, tmp_path: Path, size: float) -> None:
    mesh = trimesh.Trimesh(CUBE.vertices * size, CUBE.faces, process=False)
    assert fails(pool, write_glb(tmp_path / "x.glb", mesh)).code == ErrorCode.BAD_GEOMETRY


def test_not_a_number_is_bad_geometry(pool: BlenderPool, tmp_path: Path) -> None:
    path = tmp_path / "nan.usda"
    path.write_text(USD % "(nan, 0, 0)")
    assert fails(pool, path, format="usd").code == ErrorCode.BAD_GEOMETRY


def test_faces_of_no_vertices_are_bad_geometry(pool: BlenderPool, tmp_path: Path) -> None:
    path = tmp_path / "far.usda"
    path.write_text((USD % "(1, 0, 0)").replace("[0, 1, 2]", "[0, 1, 2000000]"))
    assert fails(pool, path, format="usd").code in {ErrorCode.BAD_GEOMETRY, ErrorCode.EMPTY_SCENE}


def test_many_views_come_in_chunks_of_the_same_pictures(pool: BlenderPool, tmp_path: Path) -> None:
    path = write_glb(tmp_path / "cube.glb", coloured(CUBE, (180, 90, 60)))
    wanted = request(path, views=18, size=16)
    reply = pool.render(wanted)
    assert len(reply.exr) == 2
    _, rgba, _ = pixels(pool, wanted)
    assert rgba.shape == (18, 16, 16, 4)
    # a cube looks the same after half a turn, but for the light
    np.testing.assert_allclose(rgba[0, ..., 3], rgba[9, ..., 3], atol=130)


@pytest.mark.parametrize("name", sorted(LOOKS))
def test_every_look_renders(pool: BlenderPool, tmp_path: Path, name: str) -> None:
    path = write_glb(tmp_path / "cube.glb", coloured(CUBE, (128, 128, 128)))
    wanted = replace(request(path, views=2, samples=2), look=LOOKS[name].to_json())
    _, rgba, depth = pixels(pool, wanted)
    solid = rgba[..., 3] == 255
    assert solid.mean() > 0.1
    assert depth[solid].all()
    assert rgba[..., :3][solid].max() > 5


def test_a_missing_device_is_no_fault_of_the_asset(pool: BlenderPool, tmp_path: Path) -> None:
    with pool.worker() as worker:
        if any(d["kind"] == "HIP" for d in worker.ask("devices")["devices"]):
            pytest.skip("there is a HIP device")
    with pytest.raises(DataengineError, match="no HIP device") as error:
        pool.render(request(write_glb(tmp_path / "cube.glb", CUBE), device="HIP"))
    assert not isinstance(error.value, AssetFailure)
