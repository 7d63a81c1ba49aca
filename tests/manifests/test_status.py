"""What is done, what is left, and how long it will take."""

import json
import os
import time
from pathlib import Path

import pytest

from dataengine.manifests.catalog import Catalog
from dataengine.manifests.compact import compact
from dataengine.manifests.status import status
from tests.synthetic import commit_tokens, commit_views, make_corpus, plan_row, put_plan


def test_a_corpus_that_is_only_planned(tmp_path: Path) -> None:
    found = status(Catalog(make_corpus(tmp_path, 10, views=[], duplicates=2)))
    assert (found.planned, found.duplicates, found.failures) == (10, 2, {})
    (views,) = found.stages
    assert (views.stage, views.shards, views.shards_done, views.assets_left) == ("views/orbit8", 3, 0, 10)
    assert (views.rate, views.seconds_left) == (None, None)


@pytest.mark.parametrize("compacted", [False, True])
def test_counts_and_rates(tmp_path: Path, compacted: bool) -> None:
    corpus = make_corpus(tmp_path, 18, views=[0, 1, 2], tokens=[0, 1])
    commit_views(corpus, 1, salt="retry")  # the tokens of shard 1 are stale now
    if compacted:
        compact(corpus)
    found = status(Catalog(corpus))
    views, tokens = found.stages
    assert (views.shards, views.shards_done, views.shards_stale) == (5, 3, 0)
    assert (views.assets, views.assets_ok, views.assets_failed, views.assets_left) == (18, 10, 2, 6)
    assert views.views == 20
    assert views.rate == pytest.approx(12 / 24)  # an asset every two seconds
    assert views.seconds_left == pytest.approx(12)
    assert (tokens.stage, tokens.shards_done, tokens.shards_stale) == ("tokens/small", 1, 1)
    assert (tokens.assets, tokens.assets_ok, tokens.assets_left) == (16, 3, 13)
    assert found.failures == {("views/orbit8", "CRASH"): 1, ("views/orbit8", "EMPTY_SCENE"): 1}


def test_stale_shards_count_as_left(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, 8)
    put_plan(corpus.store, [plan_row(n, 4, uri=f"{n > 3}/{n}") for n in range(8)])
    (views,) = status(Catalog(corpus)).stages
    assert (views.shards_done, views.shards_stale, views.assets_left) == (0, 2, 8)


def test_nothing_left_takes_no_time(tmp_path: Path) -> None:
    (views,) = status(Catalog(make_corpus(tmp_path, 8))).stages
    assert (views.assets_left, views.seconds_left) == (0, 0.0)


def test_a_tokenizer_of_any_name(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, 8)
    commit_tokens(corpus, 0, tokenizer="it's odd {n}")
    tokens = status(Catalog(corpus)).stages[1]
    assert (tokens.stage, tokens.shards_done, tokens.assets_ok) == ("tokens/it's odd {n}", 1, 3)
    compact(corpus)
    assert status(Catalog(corpus)).stages[1] == tokens


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATAENGINE_SPOOL", str(tmp_path / "spool"))
    return tmp_path / "spool"


def put_spooled(spool: Path, key: str, finished: list[float], **shard: object) -> None:
    (spool / key).mkdir(parents=True)
    (spool / key / "shard.json").write_text(json.dumps(shard))
    for number, when in enumerate(finished):
        (spool / key / f"{number}.tar").write_bytes(b"")
        os.utime(spool / key / f"{number}.tar", (when, when))


def test_what_is_finished_of_a_shard_that_is_not_done(tmp_path: Path, spool: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", 18, views=[0])
    inputs = {n: corpus.plan(n)["shard_input"][0].as_py() for n in corpus.shards()}
    (view_set,) = corpus.config.sets
    of_views = {"stage": "views/orbit8", "made_from": None}
    wanted = {n: inputs[n] + view_set.input for n in inputs}
    now = time.time()
    put_spooled(spool, "under way", [now, now + 4], **of_views, shard=1, input=wanted[1])
    put_spooled(spool, "other limits", [now], **of_views, shard=1, input=wanted[1])
    put_spooled(spool, "planned again since", [now] * 3, **of_views, shard=2, input="other")
    put_spooled(spool, "a retry of a done one", [now] * 3, **of_views, shard=0, input=wanted[0])
    put_spooled(spool, "another corpus", [now] * 3, **of_views, shard=77, input="other")
    (spool / "damaged").mkdir()
    (spool / "damaged/shard.json").write_bytes(b'{"stage": ')
    fragment = corpus.fragment("views/orbit8", 0)
    assert fragment is not None
    put_spooled(spool, "tokens", [now], stage="tokens/small", made_from="views/orbit8", shard=0, input=fragment.sha256)
    views, tokens = status(Catalog(corpus)).stages
    assert (views.assets_left, views.assets_spooled) == (14, 2)
    assert views.rate == pytest.approx(0.25)
    assert views.seconds_left == pytest.approx(48)
    assert (tokens.stage, tokens.shards_done, tokens.assets_ok, tokens.assets_spooled) == ("tokens/small", 0, 0, 1)
