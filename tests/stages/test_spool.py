"""The spool keeps finished assets over a kill, and never hands out a damaged one."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from dataengine.corpus.result import Result
from dataengine.stages.spool import Spool


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spool:
    monkeypatch.setenv("DATAENGINE_SPOOL", str(tmp_path))
    return Spool("key")


def result(**row: object) -> Result:
    return Result({"uid": "a", "finished_at": datetime(2026, 1, 2, tzinfo=UTC), **row}, {"00.rgba.png": b"\x00pixels"})


def test_what_is_put_comes_back_exactly(spool: Spool) -> None:
    wanted = result(depth_error=0.1 + 0.2, coverage=[1 / 3], message=None)
    spool.put("a", wanted)
    assert spool.get("a") == wanted


def test_another_key_sees_nothing_and_clear_forgets(spool: Spool) -> None:
    spool.put("a", result())
    assert Spool("other").get("a") is None
    spool.clear()
    assert spool.get("a") is None
    spool.clear()


def test_a_torn_file_counts_as_not_there(spool: Spool) -> None:
    spool.put("a", result())
    file = spool.folder / "a.tar"
    file.write_bytes(file.read_bytes()[:600])
    assert spool.get("a") is None
