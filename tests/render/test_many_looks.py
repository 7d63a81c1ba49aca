"""Looks that are drawn, and views that are rendered in several looks with one import."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

import dataengine
from dataengine.corpus.config import RenderConfig, ViewSet
from dataengine.corpus.result import Result
from dataengine.corpus.shards import read_member
from dataengine.errors import DataengineError, UsageError
from dataengine.render.asset import Renderer
from dataengine.render.chance import Chance
from dataengine.render.choice import choose_looks, pin_looks
from dataengine.render.drawn import draw_looks
from tests.render.exr_file import write_exr
from tests.render.models import CUBE, coloured, write_glb

ROW = {"uid": "5011d" + 27 * "0", "shard": 0, "row": 0, "format": "glb", "up": None}


@pytest.mark.parametrize(
    ("text", "names", "every"),
    [
        ("studio", ["studio"], False),
        ("studio/objaverse/env", ["studio", "objaverse", "env"], False),
        ("studio+env:city+env:night", ["studio", "env:city", "env:night"], True),
        ("env:city/env:night", ["env:city", "env:night"], False),
        ("env:/a/b/studio", ["env:studio"], False),
        ("env:sky/noon.exr", ["env:noon"], False),
        ("studio/env:./sky/noon.exr", ["studio", "env:noon"], False),
        ("env:/a/x.exr+env:/b/y.hdr", ["env:x", "env:y"], True),
        ("env:city/night", ["env:city", "night"], False),
    ],
)
def test_what_a_look_may_name(text: str, names: list[str], every: bool) -> None:
    if "night" in names:
        with pytest.raises(UsageError, match="unknown look 'night': did you mean 'env:night'"):
            choose_looks(text)
        return
    chosen = choose_looks(text)
    assert ([look.name for look in chosen.looks], chosen.every) == (names, every)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("studo", "unknown look 'studo': did you mean 'studio'"),
        ("studio+", "unknown look ''"),
        ("studio+studio", "names studio twice"),
        ("env:a/x.exr+env:b/x.exr", "names env-x twice"),
        ("studio+env:city/env:night", "mixes + (all of them) with / (one of them)"),
        ("studio+objaverse", "studio sees through the backs of single-sided materials and objaverse does not"),
        ("zero123+studio", "studio sees through the backs of single-sided materials and zero123 does not"),
    ],
)
def test_looks_that_are_none(text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        choose_looks(text)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_one_of_several_looks_is_drawn_for_each_asset() -> None:
    chosen = choose_looks("studio/objaverse/zero123")
    drawn = [draw_looks(chosen, Chance(seed, "orbit8"), Path()) for seed in range(300)]
    assert all(len(looks) == 1 for looks in drawn)
    counts = np.unique([looks[0].name for looks in drawn], return_counts=True)[1]
    assert len(counts) == 3 and counts.min() > 70  # a fair draw of 300 falls under it once in 10,000 times
    assert [looks[0].name for looks in drawn[:50]] != [
        draw_looks(chosen, Chance(seed, "other"), Path())[0].name for seed in range(50)
    ]


def test_lamps_are_drawn_as_the_published_scripts_do() -> None:
    """One after another, strength before place, by Python's generator."""
    from random import Random

    (drawn,) = draw_looks(choose_looks("zero123"), Chance(9), Path())
    dice = Random(9)
    energy = dice.uniform(300, 600)
    place = [dice.uniform(-1, 1), dice.uniform(-1, 1), dice.uniform(0.5, 1.5)]
    assert drawn.told["lamps"][0] == {"kind": "AREA", "energy": energy, "position": place}
    assert drawn.settings["lights"][0]["energy"] == energy
    (drawn,) = draw_looks(choose_looks("objaverse-xl"), Chance(9), Path())
    dice = Random(9)
    strengths = [dice.randint(3, 5), dice.randint(2, 4), dice.randint(3, 5), dice.randint(1, 3)]
    assert [lamp["energy"] for lamp in drawn.told["lamps"]] == strengths
    assert draw_looks(choose_looks("studio"), Chance(9), Path())[0].told == {}


@pytest.fixture(scope="module")
def sun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rgb = np.full((16, 32, 3), 0.1)
    rgb[4, 6] = (300, 200, 100)
    return write_exr(tmp_path_factory.mktemp("sun") / "low sun.exr", rgb)


@pytest.fixture(scope="module")
def glassy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A red cube behind a pane that is partly there, so that depth takes passes of its own."""
    pane = coloured(trimesh.creation.box(extents=(2, 2, 0.02)), (40, 90, 200))
    pane.apply_translation((0, 0, 1.2))
    pane.visual.material.baseColorFactor, pane.visual.material.alphaMode = [40, 90, 200, 150], "BLEND"
    return write_glb(tmp_path_factory.mktemp("glassy") / "glassy.glb", coloured(CUBE, (200, 40, 40)), pane)


Rendered = Callable[[str], tuple[dict[str, Any], dict[str, bytes]]]


@pytest.fixture(scope="module")
def rendered(glassy: Path, sun: Path, tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """Row and members of the glassy asset in looks of `studio`, `env:low sun` and `env:city`; each is rendered once."""
    folder = tmp_path_factory.mktemp("lights")
    pinned, files = pin_looks(RenderConfig(look=f"env:city+env:{sun}"))
    for name, path in files.items():
        (folder / name).write_bytes(path.read_bytes())

    @cache
    def render(look: str) -> tuple[dict[str, Any], dict[str, bytes]]:
        config = RenderConfig(rig="random-2", fov="30..60", look=look, resolution=32, samples=4, hdris=pinned.hdris)
        readable = [glassy.parent, folder]
        with Renderer([frozen(config)], workers=1, readable=readable, lights=folder) as renderer:
            ((_, result),) = renderer.render(ROW, glassy, (), ["cond"])
        assert isinstance(result, Result)
        return dict(result.row), dict(result.members)

    return render


def frozen(config: RenderConfig) -> ViewSet:
    return ViewSet(name="cond", render=config)


def colour(members: dict[str, bytes], word: str = "") -> list[bytes]:
    return [members[f"{view}.{word}rgba.png"] for view in ("00", "01")]


def test_each_of_several_looks_is_what_it_is_alone(rendered: Rendered) -> None:
    row, together = rendered("studio+env:low sun+env:city")
    assert row["looks"] == ["studio", "env:low sun", "env:city"]
    pictures = set()
    for look, word in (("studio", ""), ("env:low sun", "env-low-sun."), ("env:city", "env-city.")):
        _, alone = rendered(look)
        assert colour(together, word) == colour(alone)
        if look == "studio":  # depth is there where the first look's picture is covered by half
            for view in ("00", "01"):
                assert together[f"{view}.depth.png"] == alone[f"{view}.depth.png"]
        assert len(alone) == 5
        pictures.add(colour(alone)[0])
    assert len(pictures) == 3
    assert len(together) == 5 + 4
    told = json.loads(together["cameras.json"])
    looks = told["drawn"]["looks"]
    assert [look["member"] for look in looks] == ["rgba.png", "env-low-sun.rgba.png", "env-city.rgba.png"]
    assert looks[1]["hdri"]["name"] == "low sun" and looks[1]["rotation"] != looks[2]["rotation"]
    assert len(told["drawn"]["fov"]) == 2 and told["look"] == "studio"


def test_the_order_of_looks_is_that_of_the_members_only(rendered: Rendered) -> None:
    """What comes first in the config may be rendered last: studio changes what others would show."""
    _, together = rendered("env:city+studio")
    assert colour(together) == colour(rendered("env:city")[1])
    assert colour(together, "studio.") == colour(rendered("studio")[1])
    assert together["00.depth.png"] == rendered("env:city")[1]["00.depth.png"]


def test_a_corpus_brings_its_maps(glassy: Path, sun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As another node would have it: neither the file that was named nor the cache is there."""
    monkeypatch.setenv("DATAENGINE_SPOOL", str(tmp_path / "spool"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    mine = tmp_path / "low.exr"
    mine.write_bytes(sun.read_bytes())
    settings = {"look": f"studio+env:{mine}", "rig": "random-2", "resolution": 32, "samples": 2}
    corpus = dataengine.plan(tmp_path / "corpus", [f"local:{glassy.parent}"], **settings)
    (copy,) = (tmp_path / "corpus/lights").iterdir()
    assert copy.read_bytes() == sun.read_bytes()
    mine.unlink()
    good = copy.read_bytes()
    copy.write_bytes(good[:-1])
    with pytest.raises(DataengineError, match=f"{copy} is damaged"):
        corpus.render(workers=1)
    copy.write_bytes(good)
    assert corpus.render(workers=1).ok == 1
    assert not corpus.verify().differences
    query = "select look, more_looks, tar, rgba_size from views order by view"
    first, second = corpus.sql(query).fetchall()
    assert first[0] == "studio" and [look["look"] for look in first[1]] == ["env:low"]
    place = first[1][0]
    tar = (tmp_path / "corpus" / first[2]).read_bytes()
    assert tar[place["offset"] : place["offset"] + 4] == b"\x89PNG"
    assert place["size"] != second[1][0]["size"] or place["offset"] != second[1][0]["offset"]
    fragment = corpus.fragment(corpus.views_stage, 0)
    assert fragment is not None
    (row,) = fragment.table.to_pylist()
    sample = {m["name"]: read_member(corpus.store, row["tar"], m) for m in row["members"]}
    decoded = dataengine.decode(sample)
    assert decoded["00.env-low.rgba.png"].shape == (32, 32, 4)
    assert decoded["cameras.json"]["drawn"]["looks"][1]["hdri"]["sha256"] == copy.stem

    with pytest.raises(UsageError, match="look env:low: there is no file"):
        dataengine.plan(tmp_path / "corpus", [f"local:{glassy.parent}"], **settings)
    mine.write_bytes(write_exr(tmp_path / "other.exr", np.ones((4, 8, 3))).read_bytes())
    with pytest.raises(UsageError, match="has finished shards made with other settings .*hdris"):
        dataengine.plan(tmp_path / "corpus", [f"local:{glassy.parent}"], **settings)
    mine.write_bytes(good)
    dataengine.plan(tmp_path / "corpus", [f"local:{glassy.parent}"], **settings)
