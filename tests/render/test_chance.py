"""Draws: the same everywhere, within their ranges, uniform, and cameras that still hold the object."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from dataengine.corpus.config import RenderConfig, content_hash
from dataengine.errors import UsageError
from dataengine.render.blender.protocol import Camera
from dataengine.render.chance import Chance, asset_seed
from dataengine.render.frozen import render_numbers
from dataengine.render.recipes import recipe
from dataengine.render.rigs import rig
from dataengine.render.settings import render_config, resolve

UIDS = [f"{i:032x}" for i in range(200)]


def cameras(uid: str, view_set: str = "evening", size: int = 64, seed: int = 0, **settings: Any) -> list[Camera]:
    plan = resolve(RenderConfig(**settings))
    return plan.rig.cameras(size, asset_seed(seed, uid), view_set)


def fov(camera: Camera) -> float:
    return math.degrees(2 * math.atan(camera.K[0][2] / camera.K[0][0]))


def distance(camera: Camera) -> float:
    return float(np.linalg.norm(np.array(camera.c2w)[:3, 3]))


def assert_uniform(drawn: Sequence[float], low: float, high: float) -> None:
    """Kolmogorov and Smirnov: the largest distance of the two distributions, at a level of 1 %."""
    values = np.sort((np.array(drawn) - low) / (high - low))
    assert values[0] >= 0 and values[-1] < 1
    n = len(values)
    apart = max(np.max(np.arange(1, n + 1) / n - values), np.max(values - np.arange(n) / n))
    assert apart < 1.63 / math.sqrt(n)


def test_the_generator_is_the_one_that_is_written_down() -> None:
    """The literals are of `printf … | sha256sum`, cut to 16 digits and divided by 2^64 by bc."""
    seed = asset_seed(3, "5011d" + 27 * "0")
    assert seed == 1450906301
    chance = Chance(seed, "evening")
    assert chance.number("elevation") == pytest.approx(0.367800964323485111, abs=1e-15)
    assert chance.number("elevation", 0) == pytest.approx(0.095166619269106822, abs=1e-15)
    assert chance.number("elevation", 7) == pytest.approx(0.943491773733325048, abs=1e-15)
    assert chance.number("z", 1) == pytest.approx(0.578520581387001550, abs=1e-15)
    once = cameras("5011d" + 27 * "0", seed=3, rig="orbit8", elevation="5..30")
    assert [c.elevation for c in once] == pytest.approx([5 + 25 * 0.367800964323485111] * 8, abs=1e-12)
    each = cameras("5011d" + 27 * "0", seed=3, rig="orbit8", elevation="5..30", per="view")
    assert each[0].elevation == pytest.approx(5 + 25 * 0.095166619269106822, abs=1e-12)
    assert each[7].elevation == pytest.approx(5 + 25 * 0.943491773733325048, abs=1e-12)
    sphere = cameras("5011d" + 27 * "0", seed=3, rig="random-2")
    assert sphere[1].elevation == pytest.approx(math.degrees(math.asin(2 * 0.578520581387001550 - 1)), abs=1e-9)


def test_orbits_draw_once_an_asset_and_random_rigs_for_each_view() -> None:
    orbit = cameras(UIDS[1], rig="orbit24", elevation="5..30", fov="30..60")
    assert len({c.elevation for c in orbit}) == len({fov(c) for c in orbit}) == 1
    assert [c.azimuth for c in orbit] == [15 * i for i in range(24)]
    loose = cameras(UIDS[1], rig="random-24", elevation="5..30", fov="30..60")
    assert len({c.elevation for c in loose}) == len({fov(c) for c in loose}) == 24
    tied = cameras(UIDS[1], rig="hammersley-9", elevation="5..30", per="asset")
    assert len({c.elevation for c in tied}) == 1 and len({c.azimuth for c in tied}) == 9


def test_draws_are_uniform_between_the_ends_and_do_not_depend_on_each_other() -> None:
    drawn = [cameras(uid, rig="orbit8", elevation="5..30", radius="1.5..2.2", fov="30..70")[0] for uid in UIDS]
    assert_uniform([c.elevation for c in drawn], 5, 30)
    assert_uniform([distance(c) for c in drawn], 1.5, 2.2)
    assert_uniform([fov(c) for c in drawn], 30, 70)
    table = np.corrcoef([[c.elevation for c in drawn], [distance(c) for c in drawn], [fov(c) for c in drawn]])
    assert np.abs(table - np.eye(3)).max() < 2.6 / math.sqrt(len(UIDS))
    alone = [cameras(uid, rig="orbit8", elevation="5..30")[0].elevation for uid in UIDS]
    assert alone == [c.elevation for c in drawn]
    views = [c.elevation for uid in UIDS[:20] for c in cameras(uid, rig="random-10", elevation="-10..40")]
    assert_uniform(views, -10, 40)


def test_another_seed_set_or_asset_is_another_draw() -> None:
    usual = cameras(UIDS[3], rig="random-6", fov="30..70")
    assert usual == cameras(UIDS[3], rig="random-6", fov="30..70")
    for other in ({"seed": 1}, {"view_set": "morning"}, {"uid": UIDS[4]}):
        assert cameras(**{"uid": UIDS[3], "rig": "random-6", "fov": "30..70", **other}) != usual  # type: ignore[arg-type]


def test_random_n_covers_the_sphere() -> None:
    points = np.array([np.array(c.c2w)[:3, 3] / distance(c) for uid in UIDS for c in cameras(uid, rig="random-6")])
    assert np.linalg.norm(points.mean(0)) < 3 / math.sqrt(len(points))  # of a mean whose square expects 1 / n
    for axis in points.T:
        assert_uniform(axis, -1, 1.000001)  # of a point of the sphere each coordinate is uniform
    assert len({tuple(p) for p in points}) == len(points)


@pytest.mark.parametrize("width", [10, 20, 40, 70, 120])
def test_the_object_fits_whatever_field_of_view_is_drawn(width: int) -> None:
    """The outline of a sphere of radius r at a distance d: tan(angle) = r / √(d² - r²), in focal lengths."""
    for name in ("orbit8", "random-6", "hammersley-5", "sphere12"):
        for camera in cameras(UIDS[0], rig=name, fov=f"10..{width}", size=256):
            d = distance(camera)
            outline = camera.K[0][0] * 0.5 / math.sqrt(d * d - 0.25)
            assert outline == pytest.approx(0.95 * 128)
            assert 0 < camera.near < d - 0.5 < d + 0.5 < camera.far


def test_near_and_far_follow_a_drawn_distance() -> None:
    for camera in cameras(UIDS[2], rig="random-12", radius="0.6..5"):
        assert camera.near == pytest.approx(distance(camera) - 0.505)
        assert camera.far == pytest.approx(distance(camera) + 0.505)


def test_videomv_as_it_is_trained_and_as_it_infers() -> None:
    training, inference = recipe("videomv-train").rig, recipe("videomv").rig
    elevations = [training.cameras(64, asset_seed(0, uid), "videomv-train")[0].elevation for uid in UIDS]
    assert_uniform(elevations, 5, 30)
    for camera, other in zip(training.cameras(64, 5, "x"), inference.cameras(64), strict=True):
        assert (camera.azimuth, camera.K, distance(camera)) == (other.azimuth, other.K, pytest.approx(2.0))
        assert other.elevation == 15


def test_the_frozen_numbers_hold_the_ranges() -> None:
    plain, ranged = (render_numbers(RenderConfig(**more)) for more in ({}, {"elevation": "5..30", "fov": "40"}))
    assert "ranges" not in plain["rig"]
    assert ranged["rig"].pop("ranges") == {"elevation": [5, 30], "radius": None, "fov": [40, 40], "per_view": False}
    assert ranged == plain


@pytest.mark.parametrize(
    ("name", "digits"),
    [
        ("orbit8", "df300bb7bdfec1dd"),
        ("six_views", "6021d18167d8e110"),
        ("sphere12", "032695144f91dbb3"),
        ("hammersley-7", "be11fef9d4892dc9"),
    ],
)
def test_rigs_without_ranges_keep_their_numbers(name: str, digits: str) -> None:
    """The literals are of version 0.1.0, before there were ranges."""
    assert content_hash(render_numbers(RenderConfig(rig=name))["rig"])[:16] == digits


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rig": "six_views", "elevation": "5..30"}, "rig six_views takes no elevation: its cameras are fixed"),
        ({"rig": "six_views", "fov": "30"}, "rig six_views takes no fov"),
        ({"radius": "0.5..2"}, "radius '0.5..2' must be above 0.505"),
        ({"elevation": "30..5"}, "elevation '30..5' runs backwards: write 5..30"),
        ({"per": "view"}, "per view says nothing without a range"),
        ({"recipe": "videomv", "elevation": "5..30"}, "--recipe videomv already says"),
        ({"rig": "random-0"}, "there is no rig 'random-0'; did you mean random-6"),
        ({"rig": "randm-6"}, "did you mean random-6"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as error:
        render_config(**settings)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_recipes_random_rig_is_as_it_was() -> None:
    """TRELLIS' offsets are still the first two numbers of Python's generator."""
    from random import Random

    dice = Random(11)
    u, v = dice.random(), dice.random()
    first = rig("hammersley-4").cameras(64, seed=11)[0]
    assert first.azimuth == pytest.approx(360 * v % 360)
    assert math.sin(math.radians(first.elevation)) == pytest.approx(2 * (2 * u / 4 if u / 4 < 0.25 else 0) - 1)
