"""The spool keeps finished assets over a kill, and never hands out a damaged one."""

import errno
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dataengine.corpus.result import Result
from dataengine.errors import DataengineError
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


def test_no_change_of_a_file_is_taken_for_a_result(spool: Spool) -> None:
    """A bit flipped in every 11th byte, and the file cut at every 512th byte, where tar headers end."""
    spool.put("a", result())
    file = spool.folder / "a.tar"
    good = file.read_bytes()
    for at in range(0, len(good), 11):
        file.write_bytes(good[:at] + bytes([good[at] ^ 1 << at % 8]) + good[at + 1 :])
        assert spool.get("a") is None, at
    for end in range(0, len(good), 32):
        file.write_bytes(good[:end])
        assert spool.get("a") is None, end
    file.write_bytes(bytes(len(good)))  # what a power cut leaves of a file that was not synced
    assert spool.get("a") is None
    file.write_bytes(good)
    assert spool.get("a") == result()


def test_a_result_of_another_asset_or_key_is_not_taken(spool: Spool) -> None:
    spool.put("a", result())
    (spool.folder / "b.tar").write_bytes((spool.folder / "a.tar").read_bytes())
    assert spool.get("b") is None
    other = Spool("other")
    other.folder.mkdir()
    (other.folder / "a.tar").write_bytes((spool.folder / "a.tar").read_bytes())
    assert other.get("a") is None


def test_it_is_on_the_disk_before_it_has_its_name(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append("sync"), sync(fd))[1])
    monkeypatch.setattr(Path, "replace", lambda self, target: (done.append("rename"), rename(self, target))[1])
    spool.put("a", result())
    assert done == ["sync", "rename"]


def test_a_folder_that_another_run_clears_meanwhile_is_made_again(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync
    cleared: list[int] = []

    def clear_once(fd: int) -> None:
        real(fd)
        if not cleared:
            cleared.append(fd)
            Spool("key").clear()

    monkeypatch.setattr(os, "fsync", clear_once)
    spool.put("a", result())
    assert spool.get("a") == result()


def test_a_disk_that_fails_is_no_missing_file(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    spool.put("a", result())

    def fails(path: Path) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(Path, "read_bytes", fails)
    with pytest.raises(DataengineError, match="a.tar: Input/output error"):
        spool.get("a")
