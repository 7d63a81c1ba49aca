"""Planning again with view sets: more are added, finished ones stay, and what differs is said."""

from pathlib import Path

import pytest

from dataengine.corpus import schema
from dataengine.corpus.config import RenderConfig
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.fragments import write_fragment
from dataengine.errors import UsageError
from dataengine.render import view_sets
from dataengine.render.view_sets import sets_of_words
from dataengine.stages.plan import PlanSummary, plan_corpus
from tests import asset_files as files


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    for i in range(2):
        (folder / f"m{i}.glb").write_bytes(files.glb(i + 1))
    return folder


def plan(corpus: Path, models: Path, *words: str, render: RenderConfig | None = None, seed: int = 0) -> PlanSummary:
    sets = sets_of_words(words, {"seed": seed}) if words else None
    return plan_corpus(corpus, sources=[f"local:{models}"], render=render, sets=sets)


def commit(folder: Path, name: str) -> None:
    corpus = Corpus.open(folder)
    view_set = corpus.config.view_set(name)
    input = corpus.plan(0)["shard_input"][0].as_py() + view_set.input
    write_fragment(
        corpus.store,
        view_set.stage,
        0,
        schema=schema.VIEWS,
        input=input,
        tar=None,
        tar_sha256=None,
        settings={},
        rows=[],
    )


def resolutions(folder: Path) -> dict[str, int]:
    return {s.name: s.render.resolution for s in Corpus.open(folder).config.sets}


def test_sets_are_added_beside_what_is_finished(tmp_path: Path, models: Path) -> None:
    corpus = tmp_path / "c"
    summary = plan(corpus, models, "orbit8:resolution=32")
    assert summary.sets == ("orbit8: 8 views of 32×32, rig orbit8, look studio, 4 samples",)
    commit(corpus, "orbit8")
    before = Corpus.open(corpus).config.sets[0]
    assert len(plan(corpus, models, "six_views:resolution=48", "orbit8:resolution=32").sets) == 2
    assert resolutions(corpus) == {"orbit8": 32, "six_views": 48}, "the first stays the first"
    assert Corpus.open(corpus).config.sets[0] == before
    plan(corpus, models, "orbit24:resolution=16")
    assert resolutions(corpus) == {"orbit8": 32, "six_views": 48, "orbit24": 16}, "sets that are not named stay"
    plan(corpus, models)
    assert len(resolutions(corpus)) == 3, "where nothing is said of sets, they stay"


def test_a_name_that_other_settings_have_is_refused_with_what_differs(tmp_path: Path, models: Path) -> None:
    corpus = tmp_path / "c"
    plan(corpus, models, "a=orbit8:resolution=32", "b=six_views")
    commit(corpus, "a")
    with pytest.raises(UsageError, match=r"view set a: rig orbit8 → orbit16; view set a: resolution 32 → 256"):
        plan(corpus, models, "a=orbit16")
    with pytest.raises(UsageError, match=r"seed 0 → 4"):
        plan(corpus, models, "d=orbit16", seed=4)
    plan(corpus, models, "b=six_views:resolution=64")
    assert resolutions(corpus) == {"a": 32, "b": 64}, "what has no shard yet may change"


def test_settings_of_one_set_add_none(tmp_path: Path, models: Path) -> None:
    corpus = tmp_path / "c"
    plan(corpus, models)
    commit(corpus, "orbit8")
    with pytest.raises(UsageError, match="rig orbit8 → orbit16"):
        plan(corpus, models, render=RenderConfig(rig="orbit16"))
    plan(corpus, models, "six_views")
    with pytest.raises(UsageError, match="without a view set orbit16: --views adds one"):
        plan(corpus, models, render=RenderConfig(rig="orbit16"))
    plan(corpus, models, render=RenderConfig(rig="six_views"))
    assert list(resolutions(corpus)) == ["orbit8", "six_views"]


def test_a_finished_set_keeps_its_numbers_and_a_new_one_has_those_of_today(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = tmp_path / "c"
    plan(corpus, models, "orbit8", "six_views")
    commit(corpus, "orbit8")
    revision = Corpus.open(corpus).config.sets[0].revision
    monkeypatch.setattr(view_sets, "RENDER_REVISION", 99)
    plan(corpus, models, "orbit8", "six_views", "orbit24")
    revisions = {s.name: s.revision for s in Corpus.open(corpus).config.sets}
    assert revisions == {"orbit8": revision, "six_views": 99, "orbit24": 99}


def test_before_anything_is_finished_all_is_planned_afresh(tmp_path: Path, models: Path) -> None:
    corpus = tmp_path / "c"
    plan(corpus, models, "orbit8", "six_views")
    plan(corpus, models)
    assert list(resolutions(corpus)) == ["orbit8", "six_views"]
    plan(corpus, models, "orbit24", seed=3)
    assert list(resolutions(corpus)) == ["orbit24"] and Corpus.open(corpus).config.seed == 3
