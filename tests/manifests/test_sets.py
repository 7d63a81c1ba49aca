"""Several view sets in the catalog, compacted and not: what is of one, what is of each, and what joins them."""

from pathlib import Path
from typing import Any

import pytest

from dataengine.corpus.corpus import Corpus
from dataengine.corpus.verify import verify
from dataengine.manifests.catalog import Catalog
from dataengine.manifests.compact import compact
from dataengine.manifests.guard import named_queries
from dataengine.manifests.status import status
from tests.synthetic import commit_tokens, commit_views, make_corpus, uid_of

ASSETS, SHARD = 10, 4


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """orbit8 of all three shards with every fifth asset failed, orbit24 of two with one other, six_views of none;
    tokens of both."""
    made = make_corpus(
        tmp_path / "c", ASSETS, shard_size=SHARD, sets=("orbit8", "orbit24", "six_views"), tokens=[0, 1], duplicates=1
    )
    for shard in (0, 1):
        commit_views(made, shard, view_set="orbit24", failing=lambda n: n == 1, num_views=3)
    commit_tokens(made, 0, tokenizer="orbit24-small-64", view_set="orbit24")
    return made


def rows(corpus: Corpus, query: str) -> list[Any]:
    return Catalog(corpus).sql(query).fetchall()


@pytest.mark.parametrize("compacted", [False, True])
def test_assets_are_of_the_first_set_and_renders_of_each(corpus: Corpus, compacted: bool) -> None:
    if compacted:
        compact(corpus, assets_per_file=SHARD)
    assert rows(corpus, "SELECT status, count(*) FROM assets GROUP BY ALL ORDER BY ALL") == [
        ("duplicate", 1), ("failed", 2), ("ok", 8),
    ]  # fmt: skip
    assert rows(corpus, "SELECT view_set, status, count(*) FROM renders GROUP BY ALL ORDER BY ALL") == [
        ("orbit24", "failed", 1), ("orbit24", "ok", 7), ("orbit24", "planned", 2),
        ("orbit8", "failed", 2), ("orbit8", "ok", 8),
        ("six_views", "planned", ASSETS),
    ]  # fmt: skip
    assert rows(corpus, "SELECT view_set, count(*) FROM views GROUP BY ALL ORDER BY ALL") == [
        ("orbit24", 7 * 3), ("orbit8", 8 * 2),
    ]  # fmt: skip
    everywhere = "SELECT uid FROM renders WHERE view_set <> 'six_views' GROUP BY uid HAVING bool_and(status = 'ok')"
    assert {uid for (uid,) in rows(corpus, everywhere)} == {uid_of(n) for n in range(8) if n not in (1, 3)}
    assert rows(corpus, "SELECT stage, uid FROM failures WHERE shard = 0 ORDER BY ALL") == [
        ("views/orbit24", uid_of(1)), ("views/orbit8", uid_of(3)),
    ]  # fmt: skip
    assert rows(corpus, "SELECT DISTINCT columns FROM (SELECT rgba_offset > 0 AS columns FROM views)") == [(True,)]


@pytest.mark.parametrize("compacted", [False, True])
def test_samples_of_one_asset_in_two_sets_join(corpus: Corpus, compacted: bool) -> None:
    if compacted:
        compact(corpus, assets_per_file=SHARD)
    assert rows(corpus, "SELECT tokenizer, view_set, count(*) FROM samples GROUP BY ALL ORDER BY ALL") == [
        ("orbit24-small-64", "orbit24", 3), ("small", "orbit8", 7),
    ]  # fmt: skip
    both = """
        SELECT s.uid, s.num_views, t.num_views, s.views_tar, t.views_tar FROM samples s JOIN samples t USING (uid)
        WHERE s.view_set = 'orbit8' AND t.view_set = 'orbit24'
    """
    found = rows(corpus, both)
    assert {uid for uid, *_ in found} == {uid_of(0), uid_of(2)}
    for _, few, many, first, second in found:
        assert (few, many) == (2, 3)
        assert first.startswith("views/orbit8/00000-") and second.startswith("views/orbit24/00000-")


@pytest.mark.parametrize("compacted", [False, True])
def test_a_set_that_is_rendered_again_makes_its_own_tokens_stale(corpus: Corpus, compacted: bool) -> None:
    if compacted:
        compact(corpus, assets_per_file=SHARD)
    commit_views(corpus, 0, view_set="orbit24", failing=lambda n: False, num_views=3, salt="again")
    stale = "SELECT tokenizer, bool_or(stale) FROM tokens GROUP BY ALL ORDER BY ALL"
    assert rows(corpus, stale) == [("orbit24-small-64", True), ("small", False)]
    assert rows(corpus, "SELECT count(*) FROM renders WHERE view_set = 'orbit24' AND status = 'ok'") == [(8,)]
    assert rows(corpus, "SELECT count(*) FROM samples") == [(7,)]


@pytest.mark.parametrize("compacted", [False, True])
def test_status_counts_every_set(corpus: Corpus, compacted: bool) -> None:
    if compacted:
        compact(corpus, assets_per_file=SHARD)
    found = {s.stage: s for s in status(Catalog(corpus)).stages}
    assert {name: (s.shards_done, s.assets_ok, s.assets_failed, s.assets_left) for name, s in found.items()} == {
        "views/orbit8": (3, 8, 2, 0),
        "views/orbit24": (2, 7, 1, 2),
        "views/six_views": (0, 0, 0, ASSETS),
        "tokens/orbit24-small-64": (1, 3, 0, ASSETS - 1 - 3),
        "tokens/small": (2, 7, 0, ASSETS - 2 - 7),
    }
    assert not verify(corpus).differences


def test_named_queries_run(corpus: Corpus) -> None:
    catalog = Catalog(corpus)
    for name in named_queries():
        assert catalog.sql(name).fetchall() is not None
    slowest = catalog.sql("slowest")
    assert "view_set" in slowest.columns and len(slowest.fetchall()) == ASSETS + 8
