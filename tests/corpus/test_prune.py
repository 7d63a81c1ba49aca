"""Pruning while the same shard is committed: whatever the order, the tar that the fragment names is there."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dataengine.corpus.commit import commit_shard
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.schema import VIEWS
from dataengine.corpus.storage import Store
from dataengine.corpus.verify import verify
from tests.synthetic import make_corpus

STEPS = ("exists", "versions", "folders", "modified", "read", "open", "put", "move", "delete")


def commit(corpus: Corpus, folder: Path) -> str:
    plan = corpus.plan(0).to_pylist()
    assets = [({"uid": r["uid"], "row": r["row"], "status": "ok"}, {"txt": b"x"}) for r in plan]
    input = plan[0]["shard_input"] + corpus.config.sets[0].input
    made = commit_shard(corpus.store, "views/orbit8", 0, assets, schema=VIEWS, input=input, settings={}, folder=folder)
    return str(made.tar)


class Interrupted:
    """Runs something else before the n-th step that the main work takes in the store."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, work: Callable[[], object]) -> None:
        self.left = at
        self.work: Callable[[], object] | None = work
        for step in STEPS:
            monkeypatch.setattr(Store, step, self._counted(getattr(Store, step)))

    def _counted(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            if self.left == 0 and self.work is not None:
                work, self.work = self.work, None
                work()
            self.left -= 1
            return step(*arguments, **more)

        return call


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    """A corpus with a tar that nothing names, because a run was killed between a commit's two writes."""
    monkeypatch.setattr("dataengine.corpus.prune.SETTLED", timedelta(0))
    corpus = make_corpus(tmp_path / "corpus", 4, views=[])
    commit(corpus, tmp_path / "work")
    corpus.store.delete("views/orbit8/00000.parquet")
    return corpus


@pytest.mark.parametrize("moment", range(12))
def test_a_commit_at_any_moment_of_a_prune(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    with monkeypatch.context() as patch:
        hook = Interrupted(patch, moment, lambda: commit(corpus, tmp_path / "work"))
        verify(corpus, prune=True)
    if hook.work is not None:
        assert moment > 8, "the hook has not seen prune's steps"
        return
    assert verify(corpus).differences == []
    assert verify(corpus).members == 4


@pytest.mark.parametrize("moment", range(6))
def test_a_prune_at_any_moment_of_a_commit(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    with monkeypatch.context() as patch:
        hook = Interrupted(patch, moment, lambda: verify(corpus, prune=True))
        commit(corpus, tmp_path / "work")
    assert hook.work is None or moment > 2
    assert verify(corpus).differences == []
    assert verify(corpus).members == 4


def test_a_prune_that_was_killed_before_it_moved_a_tar_back(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        pass

    def kill(*_: object) -> None:
        raise Killed

    move = Store.move

    def move_once(store: Store, name: str, target: str) -> None:
        commit(corpus, tmp_path / "work")
        move(store, name, target)
        monkeypatch.setattr(Store, "move", kill)

    monkeypatch.setattr(Store, "move", move_once)
    with pytest.raises(Killed):
        verify(corpus, prune=True)
    monkeypatch.setattr(Store, "move", move)
    assert "is not there" in verify(corpus).differences[0].what
    found = verify(corpus, prune=True)
    assert (found.differences, found.pruned) == ([], [])
    assert verify(corpus).garbage == []


def test_a_tar_is_kept_whose_fragment_cannot_be_read(corpus: Corpus, tmp_path: Path) -> None:
    tar = commit(corpus, tmp_path / "work")
    corpus.store.put("views/orbit8/00000.parquet", b"rubbish")
    found = verify(corpus, prune=True)
    (difference,) = found.differences
    assert difference.file == "views/orbit8/00000.parquet" and "is not a fragment" in difference.what
    assert (found.garbage, found.pruned) == ([], [])
    assert corpus.store.exists(tar)


def test_a_corpus_in_a_corpus_is_not_garbage(corpus: Corpus, tmp_path: Path) -> None:
    commit(corpus, tmp_path / "work")
    backup = tmp_path / "corpus/backup/views"
    shutil.copytree(tmp_path / "corpus/views", backup)
    before = sorted(backup.iterdir())
    assert verify(corpus, prune=True).pruned == []
    assert sorted(backup.iterdir()) == before


def test_in_a_bucket(s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataengine.corpus.prune.SETTLED", timedelta(0))
    corpus = make_corpus(s3_url, 4, views=[], tmp=tmp_path)
    tar = commit(corpus, tmp_path / "work")
    corpus.store.delete("views/orbit8/00000.parquet")
    move = Store.move

    def late(store: Store, name: str, target: str) -> None:
        if name == tar:
            commit(corpus, tmp_path / "work")
        move(store, name, target)

    monkeypatch.setattr(Store, "move", late)
    assert verify(corpus, prune=True).pruned == []
    assert verify(corpus).differences == []
    corpus.store.delete("views/orbit8/00000.parquet")
    monkeypatch.setattr(Store, "move", move)
    assert verify(corpus, prune=True).pruned == [tar]
    assert corpus.store.versions("views/orbit8", hidden=True) == {}
