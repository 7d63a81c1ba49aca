"""A fragment commits a shard; its hash leaves the volatile columns out."""

from pathlib import Path
from typing import Any

import pytest

from dataengine.corpus import schema
from dataengine.corpus.fragments import Fragment, read_fragment, write_fragment
from dataengine.corpus.storage import Store
from dataengine.errors import DataengineError


def commit(store: Store, **row: Any) -> Fragment:
    rows = [{"uid": "a" * 32, "shard": 3, "row": 0, "status": "ok", "members": [], "cpu_seconds": 1.0, **row}]
    return write_fragment(
        store,
        "views/orbit8",
        3,
        schema=schema.VIEWS,
        input="i",
        tar="t",
        tar_sha256="h",
        settings={"rig": "orbit8"},
        rows=rows,
    )


def test_round_trip(tmp_path: Path) -> None:
    written = commit(Store(tmp_path), coverage=[0.25, 0.5])
    read = read_fragment(Store(tmp_path), "views/orbit8", 3)
    assert read is not None
    assert read.table.equals(written.table)
    assert (read.input, read.tar, read.settings, read.sha256) == ("i", "t", {"rig": "orbit8"}, written.sha256)


def test_timings_do_not_change_the_hash_and_results_do(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert commit(store, cpu_seconds=1.0, log="a").sha256 == commit(store, cpu_seconds=2.0, log="b").sha256
    assert commit(store, status="failed").sha256 != commit(store).sha256


def test_nothing_there_is_none_and_rubbish_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert read_fragment(store, "views/orbit8", 0) is None
    store.put("views/orbit8/00000.parquet", b"not parquet")
    with pytest.raises(DataengineError, match=r"views/orbit8/00000.parquet is not a fragment"):
        read_fragment(store, "views/orbit8", 0)
