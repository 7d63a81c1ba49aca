"""What a run finds to do, by what the manifest says."""

from pathlib import Path

import pytest

from dataengine.cluster.todo import RunOptions, Todo, find_todo
from dataengine.corpus.corpus import Corpus
from dataengine.errors import DataengineError, UsageError
from dataengine.manifests.compact import compact
from dataengine.stages.tokenize import is_done, tokenize_shard
from dataengine.tokenize import load
from dataengine.tokenize.compute import Compute, pick_device
from tests.cluster.tokenizer import write_weights
from tests.token_corpus import commit_views, make_corpus


@pytest.fixture(autouse=True)
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAENGINE_SPOOL", str(tmp_path / "spool"))


def tokenize(corpus: Corpus, weights: Path) -> None:
    compute = Compute(load("small", weights), pick_device("cpu"))
    for shard in corpus.shards():
        tokenize_shard(corpus, shard, compute)


@pytest.mark.parametrize("compacted", [False, True])
def test_replaced_views_and_another_tokenizer_of_the_same_name_make_tokens_again(
    tmp_path: Path, compacted: bool
) -> None:
    corpus = make_corpus(tmp_path / "corpus", assets=6, shard_size=2)
    weights = write_weights(tmp_path / "tiny.safetensors")
    options = RunOptions(weights=str(weights))
    assert find_todo(corpus, options) == Todo({"render": [], "tokenize": [0, 1, 2]}, {"render": 0, "tokenize": 6})
    tokenize(corpus, weights)
    if compacted:
        compact(corpus)
    assert find_todo(corpus, options) == Todo({"render": [], "tokenize": []}, {"render": 0, "tokenize": 0})

    commit_views(corpus, 1, seed=1)  # as `render --retry` does
    assert find_todo(corpus, options).shards["tokenize"] == [1]
    tokenize(corpus, weights)
    assert find_todo(corpus, options).shards["tokenize"] == []

    others = write_weights(tmp_path / "others.safetensors", seed=1)
    assert find_todo(corpus, RunOptions(weights=str(others))).shards["tokenize"] == [0, 1, 2]
    assert not is_done(corpus, 0, load("small", others).spec)


def test_without_rendering_only_what_has_views_is_tokenized(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", assets=6, shard_size=2)
    corpus.store.delete("views/00001.parquet")
    options = RunOptions(stages=("tokenize",), weights=str(write_weights(tmp_path / "tiny.safetensors")))
    assert find_todo(corpus, options) == Todo({"tokenize": [0, 2]}, {"tokenize": 4}, unrendered=1)
    both = find_todo(corpus, RunOptions(stages=("fetch", "render"), tokenizer="none is needed"))
    assert both == Todo({"fetch": [1], "render": [1]}, {"fetch": 2, "render": 2})


def test_a_wrong_tokenizer_is_said_before_anything_is_rendered(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", assets=2, shard_size=2)
    with pytest.raises(UsageError, match="unknown tokenizer 'tiny'"):
        find_todo(corpus, RunOptions(tokenizer="tiny"))
    with pytest.raises(DataengineError, match="nowhere.safetensors"):
        find_todo(corpus, RunOptions(weights=str(tmp_path / "nowhere.safetensors")))
