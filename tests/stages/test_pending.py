"""What a run finds to do, by what the manifest says."""

from pathlib import Path

import pytest

from dataengine.cluster.options import RunOptions, stages_of
from dataengine.corpus.corpus import Corpus
from dataengine.errors import DataengineError, UsageError
from dataengine.manifests.catalog import Catalog
from dataengine.manifests.compact import compact
from dataengine.stages.open_shard import is_done
from dataengine.stages.pending import Pending, pending
from dataengine.stages.run import run_shards
from dataengine.stages.tokenize import token_stage
from tests.cluster.tokenizer import write_weights
from tests.token_corpus import commit_views, make_corpus


@pytest.fixture(autouse=True)
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAENGINE_SPOOL", str(tmp_path / "spool"))


def find(corpus: Corpus, **options: object) -> Pending:
    return pending(Catalog(corpus), stages_of(RunOptions(**options), corpus))  # type: ignore[arg-type]


def tokenize(corpus: Corpus, weights: Path) -> None:
    run_shards(corpus, token_stage("small", str(weights), "cpu"), corpus.shards())


@pytest.mark.parametrize("compacted", [False, True])
def test_replaced_views_make_tokens_again_and_another_tokenizer_needs_another_name(
    tmp_path: Path, compacted: bool
) -> None:
    corpus = make_corpus(tmp_path / "corpus", assets=6, shard_size=2)
    weights = str(write_weights(tmp_path / "tiny.safetensors"))
    assert find(corpus, weights=weights) == Pending({"views/orbit8": {}, "tokens/small": {0: 2, 1: 2, 2: 2}}, {})
    tokenize(corpus, Path(weights))
    if compacted:
        compact(corpus)
    assert find(corpus, weights=weights) == Pending({"views/orbit8": {}, "tokens/small": {}}, {})

    commit_views(corpus, 1, seed=1)  # as `render --retry` does
    stage = token_stage("small", weights, "cpu")
    assert list(find(corpus, weights=weights).shards["tokens/small"]) == [1]
    assert [is_done(corpus, stage, n) for n in (0, 1, 2)] == [True, False, True]  # the same rule, asked of one shard
    tokenize(corpus, Path(weights))
    assert not find(corpus, weights=weights).shards["tokens/small"]

    others = str(write_weights(tmp_path / "others.safetensors", seed=1))
    stage = token_stage("small", others, "cpu")
    assert list(pending(Catalog(corpus), [stage]).shards["tokens/small"]) == [0, 1, 2]
    assert not is_done(corpus, stage, 0)
    with pytest.raises(UsageError, match=r"tokens/small .* other settings \(weights \w+ → \w+\): .* --name"):
        find(corpus, weights=others)


def test_without_rendering_only_what_has_views_is_tokenized(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", assets=6, shard_size=2)
    corpus.store.delete("views/orbit8/00001.parquet")
    weights = str(write_weights(tmp_path / "tiny.safetensors"))
    alone = find(corpus, stages=("tokenize",), weights=weights)
    assert alone == Pending({"tokens/small": {0: 2, 2: 2}}, {"tokens/small": 1})
    assert find(corpus, stages=("fetch", "render"), tokenizer="none is needed") == Pending({"views/orbit8": {1: 2}}, {})


def test_a_wrong_tokenizer_is_said_before_anything_is_rendered(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", assets=2, shard_size=2)
    with pytest.raises(UsageError, match="unknown tokenizer 'tiny'"):
        find(corpus, tokenizer="tiny")
    with pytest.raises(DataengineError, match="nowhere.safetensors"):
        find(corpus, weights=str(tmp_path / "nowhere.safetensors"))
