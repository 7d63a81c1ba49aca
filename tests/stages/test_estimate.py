"""What the rest will take: which assets are tried, what is made of their costs, and that nothing stays."""

import itertools
import random
import re
from pathlib import Path

import pytest
import trimesh
from click.testing import CliRunner, Result

from dataengine.cli import build
from dataengine.stages.estimate import Range, even_places, of_all


def test_assets_are_chosen_evenly_and_alike_for_a_seed() -> None:
    for count in (6, 7, 100, 12_345):
        for seed in range(20):
            places = even_places(count, 5, seed)
            assert places == even_places(count, 5, seed)
            assert len(set(places)) == 5 and min(places) >= 0 and max(places) < count
            gaps = {b - a for a, b in itertools.pairwise(places)}
            assert max(gaps) - min(gaps) <= 1
    assert even_places(3, 5, 0) == [0, 1, 2]
    assert len({tuple(even_places(1000, 5, seed)) for seed in range(10)}) > 5


def test_the_interval_is_students() -> None:
    values = [3.0, 4.0, 5.0, 6.0, 7.0]  # mean 5, s² = 2.5
    found = of_all(values, 1_000_000)
    half = 2.776 * (2.5 / 5) ** 0.5
    assert found.likely == pytest.approx(5e6)
    assert found.low == pytest.approx(1e6 * (5 - half), rel=1e-4)
    assert found.high == pytest.approx(1e6 * (5 + half), rel=1e-4)
    assert of_all([1, 1, 1, 1, 100], 1000).low == 1000  # not below the least that was seen
    assert of_all([1, 2], 2) == Range(3, 3, 3)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    drawn = random.Random(7)
    held = 0
    for _ in range(400):
        costs = [drawn.gauss(10, 3) for _ in range(200)]
        found = of_all([costs[place] for place in even_places(200, 5, drawn.randrange(1 << 30))], 200)
        held += found.low <= sum(costs) <= found.high
    assert held / 400 > 0.9


def run(*words: object) -> Result:
    return CliRunner().invoke(build(), [str(word) for word in words])


def test_plan_says_what_it_will_take_and_writes_nothing_but_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATAENGINE_SPOOL", str(tmp_path / "spool"))
    models = tmp_path / "models"
    models.mkdir()
    for size in range(1, 4):
        trimesh.creation.box((1, 2, size)).export(models / f"{size}.glb")
    (models / "bad.stl").write_bytes(b"no")
    corpus = tmp_path / "corpus"
    words = ["plan", corpus, "--source", f"local:{models}", "--resolution", 32, "--samples", 1]
    done = run(*words, "--estimate", "--price", 100)
    assert done.exit_code == 0, done.output
    *_, head, hours, here, tars, cost = done.stdout.splitlines()
    assert head == "estimate for 4 assets, from 4 that were rendered, 1 of which failed:"
    core_hours = float(hours.split()[-1])  # all were tried: nothing is uncertain
    assert 0 < core_hours < 1 and float(cost.split()[-1]) == pytest.approx(100 * core_hours, abs=0.01)
    assert re.fullmatch(r"  time here +\d+ s with \d+ workers?", here)
    estimated = float(tars.split()[1])
    assert sorted(p.name for p in corpus.rglob("*") if p.is_file()) == ["assets.parquet", "corpus.yaml"]
    assert not (tmp_path / "spool").exists()

    assert run("render", corpus).exit_code == 0
    (tar,) = corpus.rglob("*.tar")
    assert tar.stat().st_size / 1e3 == pytest.approx(estimated, abs=10.24)  # a tar is filled up to 10,240 bytes
    again = run("plan", corpus, "--estimate")
    assert again.stdout.endswith("estimate: nothing is left to render\n")


def test_a_price_alone_is_a_mistake(tmp_path: Path) -> None:
    done = run("plan", tmp_path / "corpus", "--source", f"local:{tmp_path}", "--price", 1)
    assert (done.exit_code, done.stderr) == (2, "error: --price goes with --estimate\n")
