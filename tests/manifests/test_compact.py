"""Compaction beside readers and other writers, and what it makes of a damaged index."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from dataengine.manifests.catalog import Catalog
from dataengine.manifests.compact import SHARDS, compact, read_index
from dataengine.manifests.status import status
from tests.manifests.test_catalog import counts, everything
from tests.synthetic import commit_views, make_corpus, plan_row, put_plan


def test_a_replaced_file_stays_for_an_hour_from_when_it_was_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = make_corpus(tmp_path, 8)
    compact(corpus)
    for name in corpus.store.list("compact"):
        os.utime(tmp_path / name, (1, 1))  # written long ago, and named by the index until now
    first = {name for name in corpus.store.list("compact") if "assets" in name}
    relation = Catalog(corpus).sql("SELECT count(*) FROM assets")
    for salt in ("x", "y"):
        commit_views(corpus, 0, salt=salt)
        compact(corpus)
    assert relation.fetchall() == [(8,)]
    put_plan(corpus.store, [plan_row(n, 4, uri=f"elsewhere/{n}.glb") for n in range(8)])  # voids the index
    compact(corpus)
    assert first <= set(corpus.store.list("compact"))

    monkeypatch.setattr("dataengine.manifests.compact.GRACE", timedelta(0))
    compact(corpus)
    assert not first & set(corpus.store.list("compact"))
    assert counts(Catalog(corpus)) == {"planned": 8}


def test_a_damaged_index_is_as_good_as_none(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, 8, tokens=[0])
    before = everything(Catalog(corpus))
    compact(corpus)
    index = tmp_path / "compact/index.parquet"
    whole = index.read_bytes()
    damaged = [b"", b"rubbish", whole[:-100], whole[: len(whole) // 2]]
    damaged += [bytes([*whole[:at], whole[at] ^ 255, *whole[at + 1 :]]) for at in range(0, len(whole), 97)]
    for data in damaged:
        index.write_bytes(data)
        plan = corpus.store.versions("plan")["plan/assets.parquet"]
        found = read_index(corpus.store, plan)  # whatever it is, it does not raise
        assert found is None or found.shards.schema == SHARDS
    index.write_bytes(b"rubbish")
    assert everything(Catalog(corpus)) == before
    assert status(Catalog(corpus)).planned == 8
    assert compact(corpus).rewritten > 0
    assert everything(Catalog(corpus)) == before
