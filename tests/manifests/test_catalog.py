"""SQL over plan and fragments: what is current, what is stale, and what a query may not do."""

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dataengine
from dataengine.errors import DataengineError, UsageError
from dataengine.manifests.catalog import Catalog
from dataengine.manifests.compact import compact
from dataengine.manifests.guard import named_queries
from tests.synthetic import commit_tokens, commit_views, make_corpus, plan_row, put_plan, uid_of

VIEWS = ("assets", "views", "tokens", "samples", "failures")


def counts(catalog: Catalog, column: str = "status") -> dict[str, int]:
    return dict(catalog.sql(f"SELECT {column}, count(*) FROM assets GROUP BY ALL").fetchall())


def everything(catalog: Catalog) -> dict[str, list[str]]:
    return {v: sorted(map(str, catalog.sql(f"SELECT COLUMNS(*) FROM {v}").to_arrow_table().to_pylist())) for v in VIEWS}


def test_a_corpus_that_is_only_planned(tmp_path: Path) -> None:
    make_corpus(tmp_path, 10, views=[], duplicates=2)
    catalog = dataengine.Catalog(tmp_path)
    assert counts(catalog) == {"planned": 10, "duplicate": 2}
    for view in VIEWS[1:]:
        relation = catalog.sql(f"SELECT * FROM {view}")
        assert relation.fetchall() == []
        assert "uid" in relation.columns
    assert catalog.uids() == [uid_of(n) for n in range(10)]
    assert catalog.uids(where="licence = 'cc0-1.0' -- free ones") == [uid_of(n) for n in (0, 4, 8)]


def test_assets_join_plan_and_views(tmp_path: Path) -> None:
    make_corpus(tmp_path, 10, views=[0, 1], duplicates=2)
    catalog = Catalog(str(tmp_path))
    assert counts(catalog) == {"ok": 7, "failed": 1, "planned": 2, "duplicate": 2}
    columns = "uid, status, licence, num_views, up, used_up, stale"
    (row,) = catalog.sql(f"SELECT {columns} FROM assets WHERE uid = '{uid_of(1)}' AND status <> 'duplicate'").fetchall()
    assert row == (uid_of(1), "ok", "cc-by-4.0", 2, None, "Z", False)
    names = catalog.sql("SELECT * FROM assets").columns
    assert len(names) == len({n.lower() for n in names})


def test_ranges_lead_to_the_bytes(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, 10, tokens=[0, 1, 2])
    catalog = Catalog(corpus)
    query = f"SELECT * FROM views WHERE uid = '{uid_of(6)}' ORDER BY view"
    views = catalog.sql(query).to_arrow_table().to_pylist()
    assert [(v["view"], v["azimuth"], v["elevation"]) for v in views] == [(0, 0, 30), (1, 180, 30)]
    where = views[1]["depth_offset"], views[1]["depth_size"]
    assert corpus.store.read_range(views[1]["tar"], *where).startswith(f"{uid_of(6)} 1 depth".encode())
    (sample,) = catalog.sql(f"SELECT * FROM samples WHERE uid = '{uid_of(1)}'").to_arrow_table().to_pylist()
    for what, content in (("tokens", f"tokens of {uid_of(1)}".encode()), ("caption", b"asset number 1")):
        where = sample[f"{what}_offset"], sample[f"{what}_size"]
        assert corpus.store.read_range(sample["tar"], *where) == content
    assert sample["tokenizer"] == "small"
    assert sample["split"] == "train"
    no_caption = catalog.sql(f"SELECT caption, caption_offset FROM samples WHERE uid = '{uid_of(6)}'").fetchall()
    assert no_caption == [(None, None)]
    assert len(catalog.sql("FROM samples").fetchall()) == 8


def test_a_changed_plan_makes_shards_stale(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, 8, tokens=[0, 1])
    catalog = Catalog(corpus)
    assert counts(catalog, "stale") == {False: 8}
    rows = [plan_row(n, 4, uri="moved.glb" if n == 5 else f"models/{n}.glb") for n in range(8)]
    put_plan(corpus.store, rows)
    assert counts(catalog, "stale") == {False: 4, True: 4}
    assert catalog.sql("SELECT DISTINCT shard, status FROM assets WHERE stale").fetchall() == [(1, "planned")]
    assert catalog.sql("SELECT DISTINCT shard FROM samples").fetchall() == [(0,)]
    assert {s for (s,) in catalog.sql("SELECT shard FROM views").fetchall()} == {0}


def test_tokens_of_replaced_views_are_stale(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, 8, tokens=[0, 1])
    catalog = Catalog(corpus)
    commit_views(corpus, 1, salt="retry")
    assert dict(catalog.sql("SELECT DISTINCT shard, stale FROM tokens").fetchall()) == {0: False, 1: True}
    assert {s for (s,) in catalog.sql("SELECT shard FROM samples").fetchall()} == {0}
    commit_tokens(corpus, 1)
    assert {s for (s,) in catalog.sql("SELECT shard FROM samples").fetchall()} == {0, 1}


def test_tokenizers_live_side_by_side(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, 8, tokens=[0])
    commit_tokens(corpus, 1, tokenizer="it's odd")
    query = "SELECT tokenizer, count(*) FROM samples GROUP BY ALL ORDER BY ALL"
    assert Catalog(corpus).sql(query).fetchall() == [("it's odd", 4), ("small", 3)]


@pytest.mark.parametrize("view", ["assets", "views", "samples"])
def test_a_licence_is_a_license(tmp_path: Path, view: str) -> None:
    catalog = Catalog(make_corpus(tmp_path, 8, tokens=[0, 1]))
    british, american = (
        catalog.sql(f"SELECT {word}, count(*) FROM {view} WHERE {word} LIKE 'cc%' GROUP BY ALL ORDER BY ALL").fetchall()
        for word in ("licence", "license")
    )
    assert british == american != []


def test_a_query_over_other_files(tmp_path: Path) -> None:
    make_corpus(tmp_path / "c", 4)
    pq.write_table(pa.table({"uid": [uid_of(1)], "mine": [7]}), tmp_path / "mine.parquet")
    query = f"SELECT a.uid, mine FROM assets a JOIN '{tmp_path}/mine.parquet' USING (uid)"
    assert Catalog(tmp_path / "c").sql(query).fetchall() == [(uid_of(1), 7)]


def test_folder_names_are_names_and_not_patterns(tmp_path: Path) -> None:
    folder = tmp_path / "split=val [1] it's*?"
    make_corpus(folder, 4)
    make_corpus(tmp_path / "split=val 1 it's*?", 4)
    catalog = Catalog(folder)
    assert counts(catalog) == {"ok": 3, "failed": 1}
    assert counts(catalog, "split") == {"train": 3, "val": 1}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("COPY assets TO '{}/x.csv'", "COPY is refused"),
        ("EXPLAIN ANALYZE COPY assets TO '{}/x.csv'", "EXPLAIN is refused"),
        ("EXPLAIN (ANALYZE) COPY assets TO '{}/x.csv'", "EXPLAIN is refused"),
        ("ATTACH '{}/x.db'", "ATTACH is refused"),
        ("INSTALL httpfs", "INSTALL is refused"),
        ("SET threads = 1", "SET is refused"),
        ("PRAGMA version", "PRAGMA is refused"),
        ("EXPORT DATABASE '{}/x'", "EXPORT is refused"),
        ("DROP VIEW assets", "DROP is refused"),
        ("WITH a AS (SELECT 1) INSERT INTO no_views (uid) FROM a", "WITH is refused"),
        ("SELECT 1; COPY assets TO '{}/x.csv'", "one query at a time"),
        ("", "one query at a time"),
        ("SELECT lisence FROM assets", 'Candidate bindings: .*"licence"'),
        ("SELECT * FROM asset", 'Did you mean "assets"'),
        ("SELEC 1", "syntax error at or near"),
        ("by_lisence", "syntax error"),
        ("SELECT * FROM tmp_path", "tmp_path does not exist"),
    ],
)
def test_what_is_refused_and_how(tmp_path: Path, query: str, words: str) -> None:
    make_corpus(tmp_path / "c", 4, views=[])
    with pytest.raises(UsageError, match=words) as caught:
        Catalog(tmp_path / "c").sql(query.format(tmp_path))
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize(
    "query",
    [
        "-- a comment; with a semicolon\nSELECT 1;",
        "FROM assets",
        "WITH a AS (FROM assets) FROM a",
        "DESCRIBE assets",
        "SUMMARIZE assets",
        "SHOW TABLES",
        "EXPLAIN SELECT 1",
        "PIVOT assets ON status USING count(*) GROUP BY licence",
        "(SELECT 1) UNION ALL SELECT 2",
        "VALUES (1)",
    ],
)
def test_what_is_allowed(tmp_path: Path, query: str) -> None:
    make_corpus(tmp_path, 4, views=[])
    assert Catalog(tmp_path).sql(query).fetchall()


def test_every_named_query_runs(tmp_path: Path) -> None:
    make_corpus(tmp_path, 12, views=[0, 1], tokens=[0])
    catalog = Catalog(tmp_path)
    for name, query in named_queries().items():
        assert query.about
        assert catalog.sql(name).fetchall(), name
    (row,) = catalog.sql("suspicious").fetchall()
    assert row == (uid_of(1), "orbit8", ["clipped by the border in 1 views"], "models/1.glb")


def test_a_damaged_fragment_is_named(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, 8)
    catalog = Catalog(corpus)
    corpus.store.put("views/orbit8/00001.parquet", b"PAR1 nonsense")
    with pytest.raises((DataengineError, duckdb.Error), match=r"views/orbit8/00001\.parquet"):
        catalog.sql("FROM assets").fetchall()
    corpus.store.delete("plan/assets.parquet")
    with pytest.raises(UsageError, match="run `dataengine plan` again"):
        catalog.sql("FROM assets")


def test_find(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, 10, duplicates=3)
    assert Catalog(corpus).find(uid_of(6)) == (1, 2)
    with pytest.raises(UsageError, match="has no asset feed"):
        Catalog(corpus).find("feed")
    compact(corpus)
    assert Catalog(corpus).find(uid_of(6)) == (1, 2)


def test_compaction_changes_no_answer(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, 22, views=[0, 1, 2, 4], tokens=[0, 2], duplicates=3)
    catalog = Catalog(corpus)
    before = everything(catalog)
    first = compact(corpus, assets_per_file=8)
    assert first.rewritten == first.files > 3
    assert everything(catalog) == everything(Catalog(corpus)) == before
    assert compact(corpus, assets_per_file=8).rewritten == 0

    # What is committed after is seen at once: a retry, new shards, new tokens, a shard taken away.
    fresh = make_corpus(tmp_path / "same", 22, views=[0, 1, 2, 4], tokens=[0, 2], duplicates=3)
    for c in (corpus, fresh):
        commit_views(c, 0, failing=lambda n: False, salt="retry")
        commit_views(c, 3)
        commit_tokens(c, 3)
        commit_tokens(c, 1, tokenizer="other")
        c.store.delete("views/orbit8/00004.parquet")
    assert everything(catalog) == everything(Catalog(fresh))
    again = compact(corpus, assets_per_file=8)
    assert 0 < again.rewritten < again.files
    assert everything(catalog) == everything(Catalog(fresh))

    # Another plan voids it.
    for c in (corpus, fresh):
        put_plan(c.store, [plan_row(n, 4, uri=f"elsewhere/{n}.glb") for n in range(22)])
    assert everything(catalog) == everything(Catalog(fresh))


def test_compacted_files_are_sorted_and_replaced_ones_stay_for_readers(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, 40, shard_size=10)
    compact(corpus)
    names = corpus.store.list("compact")
    (assets,) = [n for n in names if "assets" in n]
    rows = pq.read_table(tmp_path / assets, columns=["status", "licence", "face_count"]).to_pylist()
    key = [(r["status"], r["licence"] or "~", r["face_count"]) for r in rows]
    assert key == sorted(key)
    relation = Catalog(corpus).sql("SELECT count(*) FROM assets")
    commit_views(corpus, 0, salt="retry")
    compact(corpus)
    assert relation.fetchall() == [(40,)]
    assert assets in corpus.store.list("compact")


def test_a_lost_compacted_file_does_no_harm(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, 8)
    before = everything(Catalog(corpus))
    compact(corpus)
    for name in corpus.store.list("compact"):
        if "assets" in name:
            corpus.store.delete(name)
    assert everything(Catalog(corpus)) == before


def test_compacting_a_plan_without_shards(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, 0)
    compact(corpus)
    assert counts(Catalog(corpus)) == {}


def test_in_a_bucket(s3_url: str, tmp_path: Path) -> None:
    corpus = make_corpus(s3_url, 10, views=[0, 1], tokens=[0], duplicates=1, tmp=tmp_path)
    catalog = Catalog(s3_url)
    query = "SELECT shard, status, stale, count(*), any_value(fragment) FROM assets GROUP BY ALL ORDER BY ALL"
    before = catalog.sql(query).fetchall()
    assert [row[:4] for row in before] == [
        (0, "failed", False, 1),
        (0, "ok", False, 3),
        (1, "ok", False, 4),
        (2, "planned", False, 2),
        (None, "duplicate", False, 1),
    ]
    assert len(catalog.sql("FROM samples").fetchall()) == 3
    commit_views(corpus, 0, salt="retry", tmp=tmp_path)  # within the same second: times say nothing
    after = catalog.sql(query).fetchall()
    assert [row[:4] for row in after] == [row[:4] for row in before]
    assert after[1][4] != before[1][4]
    assert catalog.sql("FROM samples").fetchall() == []
    compact(corpus)
    assert catalog.sql(query).fetchall() == after
    commit_tokens(corpus, 0, tmp=tmp_path)
    assert len(catalog.sql("FROM samples").fetchall()) == 3
    assert catalog.find(uid_of(6)) == (1, 2)
