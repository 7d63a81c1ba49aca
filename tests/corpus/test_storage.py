"""A put is whole or not there, on a folder, in a bucket, and on file systems that show files while they are written."""

import errno
import threading
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from dataengine.corpus import storage
from dataengine.corpus.storage import Store
from dataengine.errors import DataengineError, UsageError


class Remote(LocalFileSystem):  # type: ignore[misc]
    """Stands for sftp and the like: not a local folder, and a file is there while it is written."""

    protocol = "remotefiles"

    @classmethod
    def _strip_protocol(cls, path: Any) -> str:
        return str(LocalFileSystem._strip_protocol(str(path).removeprefix("remotefiles://")))

    def unstrip_protocol(self, name: str) -> str:
        return f"remotefiles://{name}"


fsspec.register_implementation("remotefiles", Remote, clobber=True)


@pytest.fixture(params=["folder", "s3", "remotefiles"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "s3":
        return Store(request.getfixturevalue("s3_url"))
    return Store(tmp_path / "c" if request.param == "folder" else f"remotefiles://{tmp_path / 'c'}")


def test_round_trip(store: Store, tmp_path: Path) -> None:
    store.put("views/a.bin", b"0123456789")
    assert store.read("views/a.bin") == b"0123456789"
    assert store.read_range("views/a.bin", 3, 4) == b"3456"
    assert store.read_range("views/a.bin", 3, 0) == b""  # a member without content, such as an empty caption
    with store.open("views/a.bin") as f:
        assert f.read() == b"0123456789"
    (tmp_path / "big").write_bytes(b"x" * 100)
    store.put("views/b.bin", tmp_path / "big")
    assert store.list("views") == ["views/a.bin", "views/b.bin"]
    store.put("tokens/small/c.bin", b"")
    assert store.folders("tokens") == ["tokens/small"]
    assert store.exists("views/b.bin")
    assert store.modified("views/b.bin").tzinfo is not None
    store.delete("views/b.bin")
    store.delete("views/b.bin")
    assert not store.exists("views/b.bin")
    assert store.list("nothing") == []
    assert store.folders("nothing") == []


def test_what_is_missing_or_short_is_told(store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        store.read("views/none")
    with pytest.raises(FileNotFoundError):
        store.open("views/none").read()
    store.put("views/a", b"12345")
    with pytest.raises(DataengineError, match="views/a ends before byte 8"):
        store.read_range("views/a", 3, 5)


def test_a_replaced_file_is_seen_at_once_by_those_who_read_it_before(store: Store) -> None:
    other = Store(store.url)
    store.put("views/a", b"old")
    assert other.read("views/a") == b"old"
    before = other.versions("views")
    store.put("views/a", b"newer")
    assert other.read("views/a") == b"newer"
    assert other.read_range("views/a", 3, 2) == b"er"
    with other.open("views/a") as f:
        assert f.read() == b"newer"
    assert other.versions("views") != before
    store.put("views/b", b"b")
    assert other.list("views") == ["views/a", "views/b"]


def test_readers_never_see_a_part(store: Store) -> None:
    contents = [bytes([65 + n]) * 200_000 for n in range(12)]
    store.put("views/a", contents[0])
    seen: set[bytes] = set()
    done = threading.Event()

    def read() -> None:
        mine = Store(store.url)
        while not done.is_set():
            seen.add(mine.read("views/a"))

    reader = threading.Thread(target=read)
    reader.start()
    for content in contents:
        store.put("views/a", content)
    done.set()
    reader.join()
    assert seen <= set(contents)


def test_a_failed_put_leaves_the_old_file_and_nothing_else(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "ATTEMPTS", 1)
    store.put("views/a", b"old")
    (tmp_path / "new").write_bytes(b"new")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if store.local:
        monkeypatch.setattr(storage.shutil, "copyfileobj", full)
    else:
        monkeypatch.setattr(store.fs, "put_file", full)
    with pytest.raises(DataengineError, match="the disk is full"):
        store.put("views/a", tmp_path / "new")
    assert store.read("views/a") == b"old"
    assert list(store.versions("views", hidden=True)) == ["views/a"]


def test_a_killed_writers_temporary_file_is_not_listed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("views/00000.parquet", b"x")
    (tmp_path / "views/.00000.parquet.abc.tmp").write_bytes(b"half")
    assert store.list("views") == ["views/00000.parquet"]
    assert len(store.versions("views", hidden=True)) == 2


def test_no_such_bucket_is_one_line(s3_url: str) -> None:
    store = Store(s3_url.replace("bucket-", "nothing-"))
    with pytest.raises(DataengineError, match="cannot be written"):
        store.put("a", b"x")
    assert not store.exists("a")


def test_a_path_through_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(DataengineError, match="not a folder"):
        Store(tmp_path / "f").put("views/a", b"x")


def test_an_unknown_protocol_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="cannot open 'nothing://x'"):
        Store("nothing://x")


def test_passing_errors_are_retried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage.time, "sleep", lambda _: None)
    store = Store(f"remotefiles://{tmp_path}")
    store.put("a", b"x")
    failures = iter([OSError("connection reset"), TimeoutError("slow"), ValueError("odd answer")])
    real = store.fs.cat_file

    def flaky(*args: Any, **more: Any) -> bytes:
        for failure in failures:
            raise failure
        return bytes(real(*args, **more))

    monkeypatch.setattr(store.fs, "cat_file", flaky)
    assert store.read("a") == b"x"


def test_a_mistake_of_ours_on_a_local_disk_is_not_waited_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, calls = Store(tmp_path), []

    def wrong(path: str) -> bytes:
        calls.append(path)
        raise TypeError("a bytes-like object is required")

    monkeypatch.setattr(store.fs, "cat_file", wrong)
    monkeypatch.setattr(storage.time, "sleep", lambda _: pytest.fail("nothing passes by waiting"))
    with pytest.raises(DataengineError, match="a bytes-like object is required"):
        store.read("a")
    assert len(calls) == 1
