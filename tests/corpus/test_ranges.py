import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataengine.corpus.config import CorpusConfig, RenderConfig, SourceConfig, ViewSet
from dataengine.corpus.ranges import Range, parse_range
from dataengine.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5..30", (5, 30)),
        ("-10..40", (-10, 40)),
        ("-0.5..+1e1", (-0.5, 10)),
        (" 20 ", (20, 20)),
        ("0.5..0.5", (0.5, 0.5)),
    ],
)
def test_ranges(text: str, expected: tuple[float, float]) -> None:
    assert parse_range(text, "elevation") == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("30..5", "runs backwards: write 5..30"),
        ("5...30", "neither a number nor a range A..B"),
        ("5..", "neither"),
        ("..30", "neither"),
        ("5-30", "neither"),
        ("nan", "neither"),
        ("0..inf", "neither"),
        ("", "neither"),
        ("5..91", "must lie between -90 and 90"),
        ("-1e99..0", "must lie between"),
    ],
)
def test_what_is_no_range(text: str, said: str) -> None:
    with pytest.raises(UsageError, match="elevation") as error:
        parse_range(text, "elevation", -90, 90)
    assert said in str(error.value) and "\n" not in str(error.value)


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.floats(0, 1, exclude_max=True))
def test_a_range_is_read_as_it_is_written(low: float, width: float, share: float) -> None:
    written = Range(low, low + width)
    read = parse_range(str(written), "x")
    assert read == pytest.approx(written, rel=1e-11, abs=1e-11)
    assert read.low <= read.at(share) <= read.high or math.isclose(read.at(share), read.high)


def test_settings_are_kept_in_one_way_of_writing() -> None:
    assert RenderConfig(elevation="5.0..30.00") == RenderConfig(elevation="5..30")
    with pytest.raises(UsageError, match="fov '0..50' must lie between 1 and 120"):
        RenderConfig(fov="0..50")


def test_a_corpus_without_ranges_keeps_its_hash() -> None:
    """The literal is what version 0.1.0 hashed this config to before there were ranges."""
    numbers = {
        "rig": {"normalisation": "sphere", "fov": 40.0, "ortho_scale": None, "random": False, "poses": [[0, 0, 2]]},
        "look": {"name": "studio"},
        "samples": 8,
    }
    config = CorpusConfig(
        version="1", sources=(SourceConfig(spec="local:m"),), sets=(ViewSet(numbers=numbers, revision=2),)
    )
    assert config.view_set().input == "-6fd47e84cf208bd2"
    assert "elevation" not in config.to_yaml() and "hdris" not in config.to_yaml()
    ranged = ViewSet(render=RenderConfig(elevation="5..30"), numbers=numbers, revision=2)
    other = CorpusConfig(version="1", sources=config.sources, sets=(ranged,))
    assert other.view_set().input != config.view_set().input
    assert CorpusConfig.from_yaml(other.to_yaml(), "here") == other
