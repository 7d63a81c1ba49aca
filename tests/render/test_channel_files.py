"""Channels on disk: what a member holds, what cameras.json says, what a reader gets, what a plan may ask for."""

import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
import webdataset
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import dataengine
from dataengine.cli import build
from dataengine.corpus.config import CorpusConfig, RenderConfig, SourceConfig, ViewSet
from dataengine.corpus.shards import write_shard
from dataengine.errors import UsageError
from dataengine.geometry import arrays
from dataengine.render.channels import Channels, decode_channel, encode_channel, normal_from_png, normal_to_png
from dataengine.render.rigs import rig
from dataengine.render.settings import render_config
from dataengine.render.views import Views, ViewsHeader, load_views, to_members
from tests.render.models import coloured, write_glb

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves files open


DOCS = Path(__file__).parents[2] / "docs" / "channels.md"


@given(st.floats(-1, 1), st.floats(0, 2 * math.pi))
def test_a_normal_is_kept_to_two_thousandths_of_a_degree(z: float, angle: float) -> None:
    r = math.sqrt(1 - z * z)
    normal = np.array([[[r * math.cos(angle), r * math.sin(angle), z]]], np.float32)
    back = decode_channel("normal", encode_channel("normal", normal, 1))
    assert np.degrees(np.linalg.norm(np.cross(normal, back))) < 0.002
    eight = normal_from_png((normal_to_png(normal) >> 8).astype(np.uint8))  # as Pillow opens it
    assert np.degrees(np.linalg.norm(np.cross(normal, eight))) < 0.4


def test_the_values_are_those_of_the_description() -> None:
    normal = np.array([[[0, 0, 1], [-1, 0, 0], [0, 0, 0]]], np.float32)
    stored = normal_to_png(normal).astype(float)
    np.testing.assert_allclose(stored[0, :2] / 65535 * 2 - 1, normal[0, :2], atol=2e-5)
    assert (stored[0, 2] == 0).all()


def known() -> Views:
    """One view of 4 × 4 with all channels, its last row empty."""
    (camera,) = rig("hammersley-1").cameras(4)
    depth = np.full((1, 4, 4), camera.near, np.float32)
    normal = np.zeros((1, 4, 4, 3), np.float32)
    normal[..., 1] = -1
    albedo = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)
    ids = np.arange(290, 306, dtype=np.uint16).reshape(1, 4, 4)
    arrays = {"normal": normal, "albedo": albedo, "orm": albedo + 100, "id": ids}
    for array in (depth, *arrays.values()):
        array[:, 3] = 0
    return Views([camera], None, depth, Channels(arrays))


def test_members_and_back() -> None:
    views = known()
    members = to_members(views, ViewsHeader("r", "l", "sphere", 1.0, [0, 0, 0]))
    assert list(members) == ["cameras.json", *(f"00.{n}.png" for n in ("depth", "normal", "albedo", "orm", "id"))]
    said = json.loads(members["cameras.json"])
    assert list(said["channels"]) == ["normal", "albedo", "orm", "id"] and "colour" not in said["conventions"]
    assert said["channels"]["normal"]["space"] == "world, z up"
    back, decoded = load_views(members), dataengine.decode(members)
    assert back.rgba is None
    for name, array in views.channels.arrays.items():
        np.testing.assert_allclose(back.channels.arrays[name], array, atol=2e-5)
        np.testing.assert_allclose(decoded[f"00.{name}.png"], array[0], atol=2e-5)
        assert decoded[f"00.{name}.png"].dtype == array.dtype
    opened = {n: Image.open(io.BytesIO(v)) if n.endswith("png") else v for n, v in members.items()}
    coarse = dataengine.decode(opened)
    np.testing.assert_allclose(coarse["00.normal.png"], views.channels.arrays["normal"][0], atol=0.006)
    np.testing.assert_array_equal(coarse["00.id.png"], views.channels.arrays["id"][0])


def test_the_snippet_of_the_docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    views = known()
    (tmp_path / "corpus/views/orbit8").mkdir(parents=True)
    members = to_members(views, ViewsHeader("r", "l", "sphere", 1.0, [0, 0, 0]))
    write_shard(tmp_path / "corpus/views/orbit8/00000-0.tar", [("0123456789abcdef" * 2, members)])
    monkeypatch.chdir(tmp_path)
    (snippet,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(snippet.replace("-….tar", "-0.tar"), names)
    camera = views.cameras[0]
    u, v, z = arrays.project(names["points"][:3].reshape(-1, 3), camera.K, camera.c2w)
    np.testing.assert_allclose(np.stack([u, v]).reshape(2, 3, 4), np.mgrid[:3, :4][::-1] + 0.5, atol=1e-3)
    np.testing.assert_allclose(z, camera.near, atol=1e-4)
    assert not names["points"][3].any()
    np.testing.assert_allclose(names["ours"][0, 0], -np.array(camera.c2w)[1, :3], atol=1e-4)
    np.testing.assert_allclose(names["theirs"], names["ours"] * [1, -1, -1])
    np.testing.assert_array_equal(names["part"], views.channels.arrays["id"][0])
    np.testing.assert_array_equal(names["albedo"], views.channels.arrays["albedo"][0])


def test_without_channels_nothing_is_said_of_them() -> None:
    views = Views(known().cameras, np.zeros((1, 4, 4, 4), np.uint8), known().depth)
    members = to_members(views, ViewsHeader("r", "l", "sphere", 1.0, [0, 0, 0]))
    assert list(members) == ["cameras.json", "00.rgba.png", "00.depth.png"]
    assert "channels" not in json.loads(members["cameras.json"])


def test_a_corpus_without_channels_has_the_hash_it_had() -> None:
    """The hashes are those of the release before there were channels."""

    def input_of(**fields: object) -> str:
        render = RenderConfig(**fields)  # type: ignore[arg-type]
        view_set = ViewSet(render=render, numbers={"samples": 8}, revision=2)
        config = CorpusConfig(sources=(SourceConfig(spec="local:x"),), sets=(view_set,))
        assert CorpusConfig.from_yaml(config.to_yaml(), "here") == config
        assert ("channels" in config.to_yaml(), "colour" in config.to_yaml()) == (
            bool(render.channels),
            not render.colour,
        )
        return config.view_set().input

    assert input_of() == input_of(channels=(), colour=True) == "-c0917867f86973c1"
    assert input_of(resolution=64, engine="eevee", seed=3) == "-fce63fb9c20c2fe8"
    assert len({input_of(), input_of(channels="id"), input_of(colour=False), input_of(channels="normal,id")}) == 4


def test_channels_are_named_in_any_way() -> None:
    for given_ in ("id, normal", ["id,normal"], ("normal", "id", "id")):
        assert render_config(channels=given_).channels == ("normal", "id")
    with pytest.raises(UsageError, match="did you mean normal"):
        render_config(channels="normals")
    for wrong in ({"channels": "id"}, {"colour": False}):
        with pytest.raises(UsageError, match="Cycles"):
            render_config(engine="eevee", **wrong)


def test_a_corpus_of_normals_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the command to a WebDataset reader; the row, the catalog, the sheet and what cannot be tokenized."""
    monkeypatch.setenv("DATAENGINE_SPOOL", str(tmp_path / "spool"))
    (tmp_path / "models").mkdir()
    write_glb(tmp_path / "models" / "ball.glb", coloured(trimesh.creation.icosphere(), (200, 60, 40)))
    corpus, command = str(tmp_path / "corpus"), CliRunner()

    def run(*words: str, code: int = 0) -> str:
        done = command.invoke(build(), list(words))
        assert done.exit_code == code, done.output
        return done.output

    source = ("--source", f"local:{tmp_path / 'models'}", "--resolution", "32")
    run("plan", corpus, *source, "--no-colour", "--channels", "normal,id")
    run("render", corpus, "--shard", "all", "--workers", "1")
    catalog = dataengine.Catalog(corpus)
    columns = "rgba_offset, normal_size > 0, id_size > 0, albedo_offset, luminance_mean"
    assert catalog.sql(f"SELECT DISTINCT {columns} FROM views").fetchall() == [(None, True, True, None, None)]
    angles = (
        "normal_depth_angle < 5, shading_normal_angle < 10, albedo_clipped, id_disagreement, ids_seen, coverage[1] > 0"
    )
    assert catalog.sql(f"SELECT {angles} FROM assets").fetchall() == [(True, True, None, 0, 1, True)]
    (uid,) = catalog.uids()
    (tar,) = catalog.sql("SELECT DISTINCT tar FROM views").fetchall()[0]
    (sample,) = webdataset.WebDataset(f"{corpus}/{tar}", shardshuffle=False, empty_check=False).map(dataengine.decode)
    normal, depth = sample["00.normal.png"], sample["00.depth.png"]
    assert "00.rgba.png" not in sample
    np.testing.assert_allclose(np.linalg.norm(normal[depth > 0], axis=1), 1, atol=1e-5)
    assert set(np.unique(sample["00.id.png"])) == {0, 1}
    run("inspect", corpus, uid, "--output", str(tmp_path / "sheet.png"))
    assert Image.open(tmp_path / "sheet.png").width > 1000
    assert "no-colour" in run("tokenize", corpus, "--shard", "all", code=2)
    assert "no channel 'depht'" in run("plan", corpus, *source, "--channels", "depht", code=2)
