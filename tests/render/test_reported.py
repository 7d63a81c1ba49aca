"""Files that people reported: a second look, where they are there. What is right of each is said by its format."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dataengine.corpus.config import Limits
from dataengine.errors import AssetFailure, ErrorCode
from dataengine.model_files.model_info import EXTENSIONS, ModelInfo
from dataengine.model_files.preflight import examine
from dataengine.render.blender.protocol import RenderReply
from dataengine.render.pool import BlenderPool, discard
from dataengine.render.views import Views, read_exr
from tests.render.models import request

FOLDER = Path(__file__).parents[3] / "shared" / "assets" / "reported"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the reported files are not here")

RED = [
    *("mtl/mtl_case/mtl_case.obj", "mtl/mtl_bom/mtl_bom.obj", "mtl/obj_bom_mtllib/obj_bom_mtllib.obj"),
    *("mtl/upper_keywords/upper_keywords.obj", "mtl/winabs/winabs.obj", "mtl/map_kd_alpha0/map_kd_alpha0.obj"),
    *("img/gray_alpha_half/gray_alpha_half.obj", "img/gif/gif.obj", "img/gif_glb.glb", "alphatex/a.dae"),
    *("dae/fileuri.dae", "dae/case.dae", "dae/ok.dae", "gltf/texabs/texabs.gltf", "gltf/texcase/texcase.gltf"),
    *("plytex/ply_textured.ply", "usd/displaycolor_const.usda", "usd/instanceable.usda", "usd/textured.usdz"),
    *("double_faces/inside_face_first.obj", "double_faces/outside_face_first.obj", "gltf/bom/bom.gltf"),
    *("inverted_hull/inverted_hull.glb", "transparent_layers/layers8_MASK.glb"),
]


def look(blender: BlenderPool, name: str, samples: int = 4) -> tuple[RenderReply, Views]:
    path = FOLDER / name
    kind, info = EXTENSIONS[path.suffix[1:].lower()], ModelInfo()
    examine(path, kind, Limits(), path.parent, info)
    known = [str(d) for d in sorted(info.dependencies)]
    wanted = request(path, views=2, size=48, samples=samples, format=kind, up=info.guessed_up, textures=known)
    reply = blender.render(wanted)
    views = read_exr(reply.exr, wanted.cameras)
    discard(reply)
    return reply, views


@pytest.fixture(scope="module")
def blender() -> Iterator[BlenderPool]:
    with BlenderPool(Limits(cpu_seconds=60), readable=[FOLDER]) as pool:
        yield pool


@pytest.mark.parametrize("name", RED)
def test_what_is_red_is_red(blender: BlenderPool, name: str) -> None:
    reply, views = look(blender, name)
    for rgba in views.rgba:
        r, g, b, _ = np.median(rgba[rgba[..., 3] == 255], axis=0)
        assert r > 1.8 * g and r > 1.8 * b, name
    assert not reply.missing_textures


def test_leaves_are_green_all_through(blender: BlenderPool) -> None:
    _, views = look(blender, "foliage/tree60.glb")
    solid = views.rgba[views.rgba[..., 3] == 255]
    assert (solid[:, :3].max(1) < 12).mean() < 0.01, "no black blobs"


@pytest.mark.parametrize("name", ["mtl/d049/d049.obj", "toon_and_blend/blend07_alone.glb"])
def test_depth_through_alpha_is_one_surface(blender: BlenderPool, name: str) -> None:
    _, views = look(blender, name, samples=64)
    covered = views.rgba[0, ..., 3] > 140
    assert (views.depth[0][covered] > 0).mean() > 0.98
    inside = covered[1:, 1:] & covered[:-1, :-1]
    step = np.abs(np.diff(views.depth[0], axis=0))[:, 1:]
    assert np.quantile(step[inside], 0.95) < 0.05


@pytest.mark.parametrize(
    ("name", "objects"),
    [
        ("blend/coll_instances_excluded.blend", 4),
        ("usd/instanceable.usda", 4),
        ("node_visibility/node_visibility.glb", 1),
    ],
)
def test_what_is_shown_is_counted(blender: BlenderPool, name: str, objects: int) -> None:
    assert look(blender, name)[0].object_count == objects


def test_a_spike_to_the_origin_fails(blender: BlenderPool) -> None:
    with pytest.raises(AssetFailure) as failure:
        look(blender, "nan/nan_one_face.glb")
    assert failure.value.code == ErrorCode.BAD_GEOMETRY
    assert look(blender, "nan/nan_unused_vertex.glb")[0].face_count == 12
