"""A corpus that is planned needs only what changes, and what changes is told and asked."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

import dataengine
from dataengine.cli import build
from dataengine.corpus.corpus import CONFIG, Corpus
from dataengine.corpus.result import Result as Made
from dataengine.errors import AssetFailure, ErrorCode
from dataengine.manifests.catalog import Catalog
from dataengine.stages.open_shard import assets_left
from dataengine.stages.render import RenderStage
from dataengine.stages.run import run_shards
from tests import asset_files
from tests.synthetic import make_corpus


@pytest.fixture(autouse=True)
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAENGINE_SPOOL", str(tmp_path / "spool"))


def run(*words: object) -> Result:
    return CliRunner().invoke(build(), [str(w) for w in words])


@pytest.fixture
def planned(tmp_path: Path) -> Path:
    """A corpus of m1.glb, with a caption, at 64 pixels."""
    for folder, n in (("models", 1), ("more", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"m{n}.glb").write_bytes(asset_files.glb(n))
    (tmp_path / "captions.csv").write_text("path,caption\nm1.glb,a chair\n")
    result = run(
        "plan", tmp_path / "c", "--source", f"local:{tmp_path / 'models'}", "--resolution", 64,
        "--captions", tmp_path / "captions.csv", "--where", "bytes > 0",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return tmp_path / "c"


def test_nothing_but_the_corpus_reads_its_sources_again(planned: Path, tmp_path: Path) -> None:
    before = (planned / CONFIG).read_text()
    assert run("plan", planned).exit_code == 0 and (planned / CONFIG).read_text() == before
    (tmp_path / "models" / "new.glb").write_bytes(asset_files.glb(3))
    result = run("plan", planned)
    assert result.exit_code == 0 and "2 models found" in result.output and "changed:" not in result.output
    config = Corpus.open(planned).config
    assert config.sets[0].render.resolution == 64 and config.where == "bytes > 0"
    assert Catalog(planned).sql("select count(caption) from assets").fetchall() == [(1,)]


def test_what_changes_is_told_and_asked(planned: Path, tmp_path: Path) -> None:
    words = ["plan", planned, "--source", f"local:{tmp_path / 'more'}", "--cpu-seconds", "7"]
    before = (planned / CONFIG).read_text()
    asked = run(*words)
    assert asked.exit_code == 2 and "there is nobody to be asked: add --yes" in asked.output
    assert f"changed: source local:{tmp_path / 'more'} is added" in asked.output
    assert "changed: cpu_seconds 120.0 → 7.0" in asked.output
    assert (planned / CONFIG).read_text() == before
    done = run(*words, "--yes")
    assert done.exit_code == 0, done.output
    config = Corpus.open(planned).config
    assert [s.spec for s in config.sources] == [f"local:{tmp_path / 'models'}", f"local:{tmp_path / 'more'}"]
    assert config.limits.cpu_seconds == 7 and config.sets[0].render.resolution == 64
    assert run("plan", planned, "--source", f"local:{tmp_path / 'more'}").output.startswith("2 models found")


def test_a_recipe_takes_the_place_of_a_rig(planned: Path) -> None:
    done = run("plan", planned, "--recipe", "objaverse", "--yes")
    assert done.exit_code == 0, done.output
    again = run("plan", planned, "--seed", "3", "--yes")
    assert "changed: seed 0 → 3" in again.output and again.output.count("changed:") == 1, again.output
    config = Corpus.open(planned).config.sets[0].render
    assert config.recipe == "objaverse" and config.seed == 3


def test_a_new_corpus_needs_a_source(tmp_path: Path) -> None:
    result = run("plan", tmp_path / "none")
    assert result.exit_code == 2 and "say where the models are" in result.output


class Fussy(dataengine.Stage):
    name = "marks/fussy"
    made_from = "views"
    schema = pa.schema([("mark", pa.string())])
    patience = 0

    def process(self, row: Any) -> Made:
        if row["row"] > self.patience:
            code = ErrorCode.TIMEOUT if row["row"] == 1 else ErrorCode.BLANK
            raise AssetFailure(code, "no patience left")
        return Made({"mark": "good"}, {"mark.txt": row["uid"].encode()})


def test_some_failures_are_tried_again_and_the_others_stay(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "c", 4, failing=lambda n: False)
    run_shards(corpus, Fussy(), [0])
    before = {r["uid"]: r for r in corpus.fragment("marks/fussy", 0).table.to_pylist()}  # type: ignore[union-attr]
    patient = Fussy()
    patient.patience = 9
    chosen = {u for (u,) in Catalog(corpus).sql("select uid from marks where error = 'TIMEOUT'").fetchall()}
    assert assets_left(corpus, patient, [0], retry=chosen) == {0: 1}
    assert assets_left(corpus, patient, [0], retry={"nobody"}) == {}
    run_shards(corpus, patient, [0], retry=chosen)
    after = {r["uid"]: r for r in corpus.fragment("marks/fussy", 0).table.to_pylist()}  # type: ignore[union-attr]
    assert [r["error"] for r in after.values()] == [None, None, "BLANK", "BLANK"]
    assert all(after[u]["finished_at"] == r["finished_at"] for u, r in before.items() if u not in chosen)


def test_limits_of_a_run(planned: Path) -> None:
    corpus = Corpus.open(planned)
    stage = RenderStage(corpus.config.sets, workers=1, limits={"cpu_seconds": 600.0})
    assert stage.limits_of(corpus).cpu_seconds == 600 and stage.limits_of(corpus).objects == 10_000
    assert stage.resume_key != RenderStage(corpus.config.sets, workers=1).resume_key
    wrong = run("render", planned, "--where", "true")
    assert wrong.exit_code == 2 and "--where goes with --retry" in wrong.output


def test_job_arrays(planned: Path) -> None:
    assert run("shards", planned, "--count").output == "1\n"
    past = run("render", planned, "--shard", "7")
    assert past.exit_code == 0 and "no shard 7: the plan has shards 0 to 0" in past.output
    assert "nothing to do" in past.output
