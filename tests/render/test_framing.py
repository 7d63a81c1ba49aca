"""What sets the frame, and what is said when it should not."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from dataengine.corpus.config import Limits, RenderConfig, ViewSet
from dataengine.corpus.result import Result
from dataengine.errors import AssetFailure, ErrorCode
from dataengine.model_files.preflight import preflight
from dataengine.render.asset import Renderer
from dataengine.render.pool import BlenderPool
from tests.render.models import CUBE, coloured, request, write_glb


def ball(faces: int = 5120) -> trimesh.Trimesh:
    mesh = trimesh.creation.icosphere(subdivisions=4)
    assert len(mesh.faces) == faces
    return coloured(mesh, (150, 90, 60))


def far_triangle(distance: float) -> trimesh.Trimesh:
    points = np.array([[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0]]) + np.array([distance, 0, 0])
    return trimesh.Trimesh(points, [[0, 1, 2]], process=False)


@pytest.mark.parametrize("joined", [True, False])
def test_a_stray_triangle_is_named(blender: BlenderPool, tmp_path: Path, joined: bool) -> None:
    parts = [ball(), far_triangle(30)]
    meshes = [trimesh.util.concatenate([p.copy() for p in parts])] if joined else parts
    complaints = blender.render(request(write_glb(tmp_path / "stray.glb", *meshes), views=1)).complaints
    assert len(complaints) == 1 and complaints[0].startswith("1 of 5121 faces lie far")


def test_what_hangs_together_or_is_large_is_not(blender: BlenderPool, tmp_path: Path) -> None:
    spike = trimesh.util.concatenate([ball()])
    spike.vertices[0] *= 30  # one corner pulled out: five long faces
    twin = ball()
    twin.apply_translation((30, 0, 0))
    for meshes in ([spike], [ball(), twin], [ball(), far_triangle(1.5)]):
        assert not blender.render(request(write_glb(tmp_path / "whole.glb", *meshes), views=1)).complaints


def test_an_invisible_box_does_not_frame(blender: BlenderPool, tmp_path: Path) -> None:
    box = coloured(CUBE.copy().apply_scale(20), (255, 255, 255))
    box.visual.material.baseColorFactor, box.visual.material.alphaMode = [255, 255, 255, 0], "BLEND"
    reply = blender.render(request(write_glb(tmp_path / "box.glb", coloured(CUBE, (200, 40, 40)), box), views=1))
    assert reply.scale == pytest.approx(1 / np.sqrt(3), rel=1e-4)


def test_a_speck_is_blank(tmp_path: Path) -> None:
    path = write_glb(tmp_path / "speck.glb", coloured(CUBE, (200, 40, 40)), far_triangle(900))
    row = {"uid": "0" * 32, "shard": 0, "row": 0, "format": "glb", "up": None}
    wanted = ViewSet(render=RenderConfig(rig="hammersley-2", resolution=64))
    with Renderer([wanted], workers=1, readable=[tmp_path]) as renderer:
        ((name, failure),) = renderer.render(row, path, [], ["orbit8"])
        assert isinstance(failure, AssetFailure) and (name, failure.code) == ("orbit8", ErrorCode.BLANK)
        row["uid"] = "1" * 32
        path = write_glb(tmp_path / "good.glb", coloured(CUBE, (200, 40, 40)))
        ((_, good),) = renderer.render(row, path, [], ["orbit8"])
        assert isinstance(good, Result)
        assert max(good.row["coverage"]) > 0.1


def test_a_spike_of_an_fbx_is_seen_before_the_import(authored: Path) -> None:
    preflight(authored / "colours.fbx", "fbx", Limits())
    with pytest.raises(AssetFailure, match="not finite") as failure:
        preflight(authored / "spiked.fbx", "fbx", Limits())
    assert failure.value.code == ErrorCode.BAD_GEOMETRY
