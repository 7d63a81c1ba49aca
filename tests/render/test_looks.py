"""Looks are data: what can be said of them without rendering."""

import json
import math

import pytest

from dataengine.errors import UsageError
from dataengine.render.looks import LOOKS, Look, look


@pytest.mark.parametrize("name", sorted(LOOKS))
def test_a_look_survives_the_pipe(name: str) -> None:
    there = look(name).to_json()
    assert json.loads(json.dumps(there))["name"] == name


def test_an_unknown_look_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'studio'.*objaverse-xl"):
        look("studo")


def test_studio_stays_below_white_on_a_white_wall() -> None:
    """Radiance of a white diffuse surface under suns (E cos / pi) and surroundings, whichever way it faces."""
    studio = look("studio")
    sky = max(max(colour) for colour in studio.world.colours)
    for polar in range(0, 181, 15):
        for azimuth in range(0, 360, 15):
            p, a = math.radians(polar), math.radians(azimuth)
            normal = (math.sin(p) * math.cos(a), math.sin(p) * math.sin(a), math.cos(p))
            assert direct(studio, normal) + sky < 1.2
    assert direct(studio, (0.0, 0.0, 1.0)) + sky < 1.05


def direct(studio: Look, normal: tuple[float, float, float]) -> float:
    total = 0.0
    for sun in studio.lights:
        length = math.hypot(*sun.towards)
        total += sun.energy / math.pi * max(0.0, -sum(n * t for n, t in zip(normal, sun.towards, strict=True)) / length)
    return total


@pytest.mark.parametrize("name", ["area", "point"])
def test_one_lamp_lights_a_white_wall_well_and_does_not_clip_it(name: str) -> None:
    """Of a matt white surface at a distance r that faces it, a small lamp of P watts makes the radiance P / (4 pi² r²)
    if it shines everywhere alike, and P / (pi² r²) if it is a matt area that faces back."""
    one = look(name)
    (lamp,) = one.lights
    nearest = math.hypot(*lamp.position) - 0.5  # of the sphere that holds the object
    radiance = lamp.energy / (math.pi * nearest) ** 2 / (4 if lamp.kind == "POINT" else 1)
    ((grey, _, _),) = one.world.colours
    assert 0.7 < radiance + grey < 1.0
    if lamp.kind == "AREA":  # towards the origin
        assert lamp.towards == tuple(-x for x in lamp.position)


def test_objaverse_is_as_published() -> None:
    published = look("objaverse")
    (lamp,) = published.lights
    assert (lamp.kind, lamp.energy, lamp.position[2], lamp.scale[0]) == ("AREA", 30_000.0, 0.5, 100.0)
    assert (published.samples, published.denoiser, published.filter_width) == (32, "accurate", 0.01)
    bounces = (published.diffuse_bounces, published.glossy_bounces, published.transmission_bounces)
    assert (*bounces, published.transparent_max_bounces) == (1, 1, 3, 3)


def test_wonder3d_suns_are_turned_by_radians() -> None:
    towards = [sun.towards for sun in look("wonder3d").lights]
    assert towards[0] == pytest.approx((0, 0, -1))
    assert towards[1] == pytest.approx((0, -0.8012, 0.5985), abs=1e-3)
