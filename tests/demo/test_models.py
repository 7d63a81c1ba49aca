"""The models that the project makes itself: valid, varied, captioned, the same bytes every time."""

import csv
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from dataengine.corpus.config import Limits, RenderConfig
from dataengine.demo.models import KINDS, make_model, write_models
from dataengine.demo.models.gltf import Material, Node, to_glb
from dataengine.demo.models.shapes import ball, box, cylinder, join, lathe, normals, slab, tube
from dataengine.model_files.preflight import preflight
from dataengine.stages.plan import plan_corpus

COUNT = len(KINDS) + 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("generated")
    write_models(path, COUNT)
    return path


def gltf_of(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    size = struct.unpack_from("<I", data, 12)[0]
    return dict(json.loads(data[20 : 20 + size]))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as f:
        return list(csv.DictReader(f))


def test_same_bytes_every_run_and_a_larger_set_begins_with_the_smaller(folder: Path, tmp_path: Path) -> None:
    for path in write_models(tmp_path, 2):
        assert path.read_bytes() == (folder / path.name).read_bytes()
    again = to_glb(make_model(COUNT - 1).roots)
    assert again == next(folder.glob(f"*-{COUNT - 1:04d}.glb")).read_bytes()


def test_a_dozen_kinds_and_every_file_is_listed_with_licence_and_caption(folder: Path) -> None:
    assert len(KINDS) >= 12
    names = sorted(p.name for p in folder.glob("*.glb"))
    assert len(names) == COUNT
    assets, captions = rows(folder / "assets.csv"), rows(folder / "captions.csv")
    assert sorted(r["path"] for r in assets) == sorted(r["path"] for r in captions) == names
    assert {r["licence"] for r in assets} == {"cc0-1.0"}
    for row in captions:
        assert row["caption"][0].isupper() and row["caption"].endswith(".")
        assert " a o" not in row["caption"] and " a e" not in row["caption"]
    assert len({r["caption"] for r in captions[: len(KINDS)]}) == len(KINDS)


def test_the_plan_takes_them_with_their_captions_and_licences(folder: Path, tmp_path: Path) -> None:
    summary = plan_corpus(
        str(tmp_path / "corpus"),
        sources=[f"local:{folder}"],
        render=RenderConfig(),
        captions=[str(folder / "captions.csv")],
        where=None,
        shard_size=8,
    )
    assert (summary.planned, summary.captioned, summary.duplicates) == (COUNT, COUNT, 0)
    assert summary.licences == {"cc0-1.0": COUNT}


def test_every_file_passes_preflight_and_loads(folder: Path) -> None:
    for path in sorted(folder.glob("*.glb")):
        preflight(path, "glb", Limits(), folder)
        scene = trimesh.load_scene(path)
        assert len(scene.geometry) > 0, path.name
        assert np.isfinite(scene.bounds).all()
        assert path.stat().st_size < 2_000_000


def test_together_they_have_what_real_collections_have(folder: Path) -> None:
    files = {p.stem: gltf_of(p) for p in folder.glob("*.glb")}
    materials = {name: file["materials"] for name, file in files.items()}
    everything = [m for entries in materials.values() for m in entries]
    assert any(m.get("alphaMode") == "BLEND" for m in everything)
    assert any(m.get("alphaMode") == "MASK" for m in everything)
    assert any("normalTexture" in m for m in everything)
    assert any("metallicRoughnessTexture" in m["pbrMetallicRoughness"] for m in everything)
    assert any(m.get("doubleSided") for m in everything)
    assert any(m["pbrMetallicRoughness"]["metallicFactor"] == 1 for m in everything)
    attributes = [p["attributes"] for f in files.values() for m in f["meshes"] for p in m["primitives"]]
    assert any("COLOR_0" in a for a in attributes)
    assert all("images" in f for f in files.values()), "each is textured"
    assert len(files["snowman"]["scenes"][0]["nodes"]) > 3
    assert any("children" in n and "rotation" in n for n in files["car"]["nodes"])
    assert sum(n.get("mesh") == 0 for n in files["crates"]["nodes"]) > 1
    assert files["windmill"]["animations"]
    extents = [float(trimesh.load_scene(p).extents.max()) for p in folder.glob("*.glb")]
    assert min(extents) < 0.01 and max(extents) > 5000


def test_variants_differ_from_the_first_of_their_kind() -> None:
    first, variant = make_model(0), make_model(len(KINDS))
    assert first.kind == variant.kind
    assert to_glb(first.roots) != to_glb(variant.roots)
    assert to_glb(make_model(len(KINDS), seed=1).roots) != to_glb(variant.roots)


@pytest.mark.parametrize(
    ("shape", "volume"),
    [
        (box(1, 2, 3), 6.0),
        (box(1, 2, 3, rounding=0.01), 6.0),
        (ball(1, 64), 4 / 3 * np.pi),
        (cylinder(1, 2, 64), 2 * np.pi),
        (lathe([(0, 0), (1, 0), (1, 1), (0, 1)], 64), np.pi),
        (tube([(0, 0, 0), (0, 0, 2)], 0.5, 64), np.pi / 2),
        (slab([(0, 0), (1, 0), (1, 1), (0, 1)], 0.5), 0.5),
    ],
)
def test_shapes_are_closed_and_face_outwards(shape: Any, volume: float) -> None:
    mesh = trimesh.Trimesh(shape.points, shape.faces, process=True, merge_tex=True, merge_norm=True)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(volume, rel=0.02)
    split, normal = normals(shape)
    assert np.linalg.norm(normal, axis=1) == pytest.approx(1)
    a, b, c = (split.points[split.faces[:, k]] for k in range(3))
    facing = np.einsum("nk,nk->n", np.cross(b - a, c - a), normal[split.faces[:, 0]])
    assert (facing > 0).all()


def test_normals_are_smooth_on_a_ball_and_sharp_on_a_box() -> None:
    split, normal = normals(ball(2.0))
    assert np.abs(normal - split.points / 2).max() < 0.05
    _, normal = normals(box(1, 1, 1))
    assert len(normal) == 24
    assert set(np.abs(normal).max(axis=1)) == {1.0}


def test_a_turn_about_z_goes_counter_clockwise_and_lands_y_up_in_the_file(tmp_path: Path) -> None:
    thin = box(1.0, 0.1, 0.1).moved(x=0.5)
    node = Node("arm", [(thin, Material("grey"))], turn=((0, 0, 1), 90), at=(0, 0, 7))
    path = tmp_path / "arm.glb"
    path.write_bytes(to_glb([node]))
    low, high = trimesh.load_scene(path).bounds
    # Along +y in our z-up world is along -z in glTF; 7 up is +y.
    assert low == pytest.approx([-0.05, 6.95, -1.0]) and high == pytest.approx([0.05, 7.05, 0.0])
    assert thin.turned("z", 90).points[:, 1].max() == pytest.approx(1.0)


def test_join_keeps_colours() -> None:
    both = join(box(1, 1, 1).painted((1, 0, 0)), box(1, 1, 1).painted((0, 0, 1)))
    assert both.colours is not None
    assert both.colours[0] == pytest.approx([1, 0, 0]) and both.colours[-1] == pytest.approx([0, 0, 1])
