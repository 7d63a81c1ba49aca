"""The guess of the up axis: believed only where one axis speaks for itself and the other does not."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataengine.corpus.config import Limits, RenderConfig
from dataengine.corpus.corpus import Corpus
from dataengine.model_files.up_axis import bounds_of, guess_up
from dataengine.sources.local import find_local
from dataengine.stages.plan import plan_corpus


@pytest.mark.parametrize(
    ("box", "up"),
    [
        (((-1, -1, 0), (1, 1, 3)), "Z"),  # stands on z = 0
        (((-1, 0, -1), (1, 3, 1)), None),  # stands on y = 0
        (((-1, 0, 0), (1, 3, 3)), None),  # on both: a corner
        (((-0.025, -0.025, -0.04), (0.025, 0.025, 0.04)), "Z"),  # a can around its middle
        (((-0.05, -0.015, -0.075), (0.05, 0.015, 0.075)), None),  # a box around its middle says nothing
        (((-1, -1, -0.05), (1, 1, 0.05)), None),  # nor does a wheel
        (((-1, -1, 0), (1, 1, 0.1)), None),  # nor a picture, or a plate
        (((-0.59, -0.59, -0.01), (0.59, 0.59, 0.261)), "Z"),  # a tray is deeper
        (((0, 0, 0), (0, 0, 0)), None),
    ],
)
def test_guess(box: tuple[tuple[float, ...], tuple[float, ...]], up: str | None) -> None:
    assert guess_up(np.array(box[0], float), np.array(box[1], float)) == up


@given(st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 3), min_size=1, max_size=20), st.integers(0, 20))
def test_bounds_do_not_depend_on_how_the_file_is_cut(points: list[tuple[float, float, float]], cut: int) -> None:
    lines = [f"\nv {x!r} {y!r} {z!r}".encode() for x, y, z in points]
    first, second = b"".join(lines[:cut]), b"".join(lines[cut:])
    box = bounds_of(second, bounds_of(first, None))
    assert box is not None
    np.testing.assert_array_equal(box, [np.min(points, 0), np.max(points, 0)])


def test_lines_that_are_no_numbers_and_nan_are_passed_over() -> None:
    assert bounds_of(b"\nv 1.2.3 4 5", None) is None
    assert bounds_of(b"\nv nan 0 0\nvn 0 1 0\nvt 9 9", None) is None


def test_the_plan_says_where_up_came_from(tmp_path: Path) -> None:
    faces = "f 1 2 3\nf 1 2 4\nf 1 3 4\n"
    (tmp_path / "tall.obj").write_text("v -1 -1 0\nv 1 1 0\nv -1 1 4\nv 1 -1 4\n" + faces)
    (tmp_path / "told.obj").write_text("v -1 -1 0\nv 1 1 0\nv -1 1 5\nv 1 -1 5\n" + faces)
    (tmp_path / "plain.obj").write_text("v -1 0 -1\nv 1 0 1\nv -1 4 1\nv 1 4 -1\n" + faces)
    (tmp_path / "assets.csv").write_text("path,up\ntold.obj,Y\n")
    table = find_local(str(tmp_path), Limits()).assets
    found = {r["path"]: (r["up"], r["up_source"]) for r in table.select(["path", "up", "up_source"]).to_pylist()}
    assert found == {"plain.obj": (None, "format"), "tall.obj": ("Z", "guessed"), "told.obj": ("Y", "source")}


def test_the_guess_can_be_left_out(tmp_path: Path) -> None:
    faces = "f 1 2 3\nf 1 2 4\nf 1 3 4\n"
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tall.obj").write_text("v -1 -1 0\nv 1 1 0\nv -1 1 4\nv 1 -1 4\n" + faces)
    for guess, expected in ((True, ("Z", "guessed")), (False, (None, "format"))):
        corpus = tmp_path / f"corpus-{guess}"
        plan_corpus(corpus, sources=[f"local:{tmp_path / 'models'}"], render=RenderConfig(), guess_up=guess)
        (row,) = pq.read_table(corpus / "plan/assets.parquet").to_pylist()
        assert (row["up"], row["up_source"]) == expected
        assert Corpus.open(corpus).config.guess_up == guess
