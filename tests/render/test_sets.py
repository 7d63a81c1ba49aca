"""Several view sets of one asset in one Blender: what each of them gets does not depend on the others."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from dataengine.corpus.config import Limits, RenderConfig, ViewSet
from dataengine.corpus.result import Result
from dataengine.errors import AssetFailure, ErrorCode
from dataengine.render.asset import Renderer
from dataengine.render.blender.protocol import RenderReply, RenderRequest
from dataengine.render.exr import read
from dataengine.render.looks import look
from dataengine.render.pool import BlenderPool, discard
from dataengine.render.worker import BlenderWorker, LoadFailed
from tests.render.models import CUBE, coloured, request, textured_quad, write_glb


def noise(side: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8))


def glb(folder: Path) -> Path:
    """A texture larger than any set wants, one as large as the smallest, and a surface that is partly transparent."""
    glass = coloured(CUBE, (90, 160, 220))
    glass.visual.material.baseColorFactor, glass.visual.material.alphaMode = [90, 160, 220, 120], "BLEND"
    glass.apply_translation((0.2, 0.3, 0.9))
    small = textured_quad(noise(16, seed=1))
    small.apply_translation((0.8, 0, 0.1))
    return write_glb(folder / "model.glb", textured_quad(noise(80)), small, glass)


def obj(folder: Path) -> Path:
    """Two textures that Blender does not open by itself or Cycles cannot, and faces that lie back to back."""
    noise(80).save(folder / "film.gif")
    noise(80, seed=2).save(folder / "plain.png")
    (folder / "model.mtl").write_text("newmtl a\nmap_Kd film.gif\nnewmtl b\nmap_Kd plain.png\n")
    (folder / "model.obj").write_text(
        "mtllib model.mtl\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0 0 1\nv 1 0 1\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
        "usemtl a\nf 1/1 2/2 3/3 4/4\nf 4/4 3/3 2/2 1/1\nusemtl b\nf 1/1 2/2 6/3 5/4\n"
    )
    return folder / "model.obj"


def ply(folder: Path) -> Path:
    """Colours on the vertices, and no material."""
    mesh = trimesh.creation.icosphere(subdivisions=2)
    mesh.visual.vertex_colors = np.random.default_rng(0).integers(0, 256, (len(mesh.vertices), 4), np.uint8)
    mesh.export(folder / "model.ply")
    return folder / "model.ply"


def three_sets(path: Path) -> dict[str, RenderRequest]:
    """They differ in all that a set may differ in, and the first and the last in cameras alone."""
    textures = [str(p) for p in path.parent.iterdir() if p != path]
    near = request(path, views=2, size=24, samples=2, textures=textures, max_texture=48)
    published = replace(
        request(path, views=3, size=16, textures=textures, max_texture=16, look=look("zero123").to_json(), seed=3),
        normalisation="cube", frame=2,
    )  # fmt: skip
    return {"near": near, "published": published, "turned": replace(near, cameras=near.cameras[::-1], seed=5)}


def digest(worker: BlenderWorker, wanted: RenderRequest, *, more: bool) -> tuple[str, RenderReply]:
    reply = worker.render(wanted, more=more)
    hashed = hashlib.sha256()
    for path in reply.exr:
        for name, plane in sorted(read(Path(path)).items()):
            hashed.update(name.encode() + plane.tobytes())
    discard(reply)
    return hashed.hexdigest(), reply


def facts(reply: RenderReply) -> dict[str, Any]:
    volatile = {"exr", "seconds", "cpu_seconds", "peak_memory", "log"}
    return {name: value for name, value in reply.to_json().items() if name not in volatile}


@pytest.mark.parametrize("write", [glb, obj, ply])
def test_a_set_is_the_same_alone_and_with_others_in_any_order(
    blender: BlenderPool, tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    sets = three_sets(write(tmp_path))
    with blender.worker() as worker:
        alone = {name: digest(worker, wanted, more=False) for name, wanted in sets.items()}
        for order in (list(sets), list(sets)[::-1], ["near", "turned", "published"]):
            together = {name: digest(worker, sets[name], more=name != order[-1]) for name in order}
            assert {n: d for n, (d, _) in together.items()} == {n: d for n, (d, _) in alone.items()}, order
            assert {n: facts(r) for n, (_, r) in together.items()} == {n: facts(r) for n, (_, r) in alone.items()}
    assert len({d for d, _ in alone.values()}) == 3


def test_the_import_is_paid_once(blender: BlenderPool, tmp_path: Path) -> None:
    """Of a model whose import takes long: what goes back to it is much shorter, and said to be the import's time."""
    mesh = trimesh.creation.icosphere(subdivisions=6)
    mesh.export(tmp_path / "fine.ply")
    wanted = request(tmp_path / "fine.ply", views=1, size=16)
    with blender.worker() as worker:
        replies = [digest(worker, wanted, more=more)[1] for more in (True, True, False)]
    first, second, third = (r.seconds["import"] for r in replies)
    assert max(second, third) < first / 2
    assert "normalise" in replies[0].seconds and "normalise" not in replies[1].seconds


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Renderer]:
    limits = Limits(cpu_seconds=60)
    sets = [
        ViewSet(name=name, render=RenderConfig(rig=rig, resolution=resolution, samples=1, limits=limits))
        for name, rig, resolution in (("a", "six_views", 32), ("speck", "hammersley-2", 32), ("b", "orbit8", 48))
    ]
    with Renderer(sets, workers=1, readable=[tmp_path_factory.getbasetemp()]) as renderer:
        yield renderer


ROW = {"uid": "0" * 32, "shard": 0, "row": 0, "format": "glb", "up": None}


def test_what_fails_in_one_set_costs_no_other(
    renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_glb(tmp_path / "cube.glb", coloured(CUBE, (200, 40, 40)))
    views = renderer._views

    def blank(reply: RenderReply, wanted: RenderRequest) -> Any:
        found, passes = views(reply, wanted)
        return (replace(found, rgba=found.rgba * 0), passes) if len(wanted.cameras) == 2 else (found, passes)

    monkeypatch.setattr(renderer, "_views", blank)
    made = dict(renderer.render(ROW, path, [], ["a", "speck", "b"]))
    assert isinstance(made["speck"], AssetFailure) and made["speck"].code is ErrorCode.BLANK
    assert [made[n].row["num_views"] for n in "ab" if isinstance(made[n], Result)] == [6, 8]


def test_an_import_that_fails_is_tried_once_for_all_sets(renderer: Renderer, tmp_path: Path) -> None:
    path = tmp_path / "broken.glb"
    path.write_bytes(b"glTF\x02\x00\x00\x00 and then nothing")
    made = list(renderer.render(ROW, path, [], ["a", "b"]))
    assert {name for name, _ in made} == {"a", "b"} and len(made) == 2
    assert made[0][1] is made[1][1] and isinstance(made[0][1], LoadFailed)


def test_a_process_that_dies_between_two_sets_is_replaced(renderer: Renderer, tmp_path: Path) -> None:
    path = write_glb(tmp_path / "cube.glb", coloured(CUBE, (200, 40, 40)))
    alone = {name: made for name in ("a", "b") for _, made in renderer.render(ROW, path, [], [name])}
    made = renderer.render(ROW, path, [], ["a", "b"])
    first = next(made)
    (worker,) = renderer._pool._workers
    assert worker._process is not None
    worker._process.interrupt()
    for name, result in (first, *made):
        before = alone[name]
        assert isinstance(result, Result) and isinstance(before, Result)
        assert result.members == before.members


def test_a_render_that_takes_too_long_is_its_sets_failure(tmp_path: Path) -> None:
    path = write_glb(tmp_path / "cube.glb", coloured(CUBE, (200, 40, 40)))
    limits = Limits(cpu_seconds=3)
    endless = RenderConfig(rig="six_views", resolution=16, samples=21000, limits=limits)
    quick = RenderConfig(rig="six_views", resolution=16, samples=1, limits=limits)
    sets = [ViewSet(name="endless", render=endless), ViewSet(name="b", render=quick)]
    with Renderer(sets, workers=1, readable=[tmp_path]) as renderer:
        made = dict(renderer.render(ROW, path, [], ["endless", "b"]))
    assert isinstance(made["endless"], AssetFailure) and made["endless"].code is ErrorCode.TIMEOUT
    assert "3 CPU seconds" in made["endless"].message
    assert isinstance(made["b"], Result)
