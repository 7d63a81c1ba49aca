"""Pictures for people."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dataengine.corpus.corpus import Corpus
from dataengine.errors import UsageError
from dataengine.report import draw
from dataengine.report.asset import find_asset, load_asset
from dataengine.report.contact import check_channel, contact_sheet, select_assets, thumbnail
from dataengine.report.inspect import inspect_asset
from dataengine.report.sheet import asset_sheet, camera_facts, facts
from tests.report.conftest import SIZE, ball_views, make
from tests.synthetic import uid_of

RED = (200, 30, 30)


def share(image: Image.Image, colour: tuple[int, int, int]) -> float:
    close = np.abs(np.asarray(image.convert("RGB"), int) - colour).max(axis=-1) < 12
    return float(close.mean())


def test_the_sheet_shows_views_depth_and_cameras(corpus: Corpus) -> None:
    sheet = asset_sheet(find_asset(corpus, uid_of(0)))
    assert sheet.width > 1000 and sheet.height > 500
    assert share(sheet, RED) > 0.03
    assert share(sheet, (40, 90, 170)) > 0.0005  # the cameras' dots
    assert share(sheet, (226, 232, 240)) > 0.005  # the object in the diagram


def test_the_facts_are_those_of_the_row(corpus: Corpus) -> None:
    inspection = inspect_asset(corpus, uid_of(0)[:10])
    assert inspection.uid == uid_of(0)
    for words in (uid_of(0), "cc0-1.0", "models/0.glb", "1,234 triangles", "wood.png", "0.100 % of the object's size"):
        assert words in inspection.text
    assert dict(facts(find_asset(corpus, uid_of(2))))["status"] == "planned"


def test_the_cameras_are_told_in_numbers() -> None:
    """orbit8 has 8 equal cameras; six_views is orthographic: its square picture is as wide as K[0][0] says."""
    ((label, words),) = camera_facts(ball_views("orbit8"))
    camera = ball_views("orbit8").cameras[0]
    angle = 2 * math.degrees(math.atan(SIZE / 2 / camera.K[0][0]))
    distance = math.dist((0, 0, 0), [row[3] for row in camera.c2w[:3]])
    assert label == "cameras" and f"field of view {angle:.4g}° across" in words
    assert f"focal length {camera.K[0][0]:.4g} pixels, principal point 24, 24, {distance:.3g} units" in words
    ((label, words),) = camera_facts(ball_views("six_views"))
    scale = ball_views("six_views").cameras[0].K[0][0]
    assert label == "orthographic" and words.startswith(f"{SIZE / scale:.4g} units across, {scale:.4g} pixels per unit")


def test_a_failed_asset_says_why(corpus: Corpus) -> None:
    asset = find_asset(corpus, uid_of(1))
    assert share(asset_sheet(asset), draw.BAD) > 0.001
    assert "EMPTY_SCENE: nothing visible" in inspect_asset(corpus, uid_of(1)).text


def test_an_asset_without_views_has_a_sheet_too(corpus: Corpus) -> None:
    assert asset_sheet(find_asset(corpus, uid_of(3))).height > 100


@pytest.mark.parametrize("rig", ["six_views", "hammersley-70"])
def test_rigs_of_other_sizes(tmp_path: Path, rig: str) -> None:
    sheet = asset_sheet(load_asset(make(tmp_path, rig), 0, 0))
    assert sheet.width > 1000
    assert share(sheet, RED) > 0.02


def test_contact_sheets(corpus: Corpus) -> None:
    assets = [load_asset(corpus, 0, 0), load_asset(corpus, 0, 1), load_asset(corpus, 1, 0)]
    small, rows = contact_sheet(assets, side=96), contact_sheet(assets, all_views=True, side=64)
    assert rows.width > small.width
    assert share(rows, RED) > share(small, RED) / 2
    assert contact_sheet([]).width > 0
    assert thumbnail(assets[0], 3, 80).size == (80, 80)
    assert share(thumbnail(assets[1], 0, 80), (248, 240, 239)) > 0.5


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=200), st.integers(40, 400))
def test_wrapped_text_fits_and_nothing_is_lost(text: str, width: int) -> None:
    lines = draw.wrap(text, 13, width)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(draw.width_of(line, 13) <= width or len(line) == 1 for line in lines)


def test_what_is_transparent_shows_the_checkerboard() -> None:
    clear = np.asarray(draw.over_checker(Image.new("RGBA", (32, 32), (255, 0, 0, 0))))
    assert len(np.unique(clear.reshape(-1, 3), axis=0)) == 2
    solid = np.asarray(draw.over_checker(Image.new("RGBA", (32, 32), (255, 0, 0, 255))))
    assert (solid == (255, 0, 0)).all()


def test_the_colour_map_runs_from_dark_to_bright() -> None:
    low, high = draw.colour_map(np.array([0.0, 1.0]))
    assert tuple(low) == (68, 1, 84) and tuple(high) == (253, 231, 37)
    assert (np.diff(draw.colour_map(np.linspace(0, 1, 50)).astype(int).sum(axis=1)) >= 0).mean() > 0.9


def test_a_sheet_is_chosen_and_ordered_in_sql(corpus: Corpus) -> None:
    assets, count = select_assets(corpus, where="shard < 2 -- both", sort="uri desc", limit=3)
    assert ([a.plan["uri"] for a in assets], count) == (["models/3.glb", "models/2.glb", "models/1.glb"], 4)
    with pytest.raises(UsageError, match="nothing_such"):
        select_assets(corpus, sort="nothing_such")


def test_a_sheet_shows_a_channel(corpus: Corpus) -> None:
    (asset,), _ = select_assets(corpus, where="status = 'ok'")
    assert share(thumbnail(asset, 0, 80), RED) > 0.1
    assert share(thumbnail(asset, 0, 80, "depth"), RED) == 0
    with pytest.raises(UsageError, match="orbit8 has no channel 'normal' .it has: colour, depth"):
        check_channel(corpus.config.sets[0], "normal")
