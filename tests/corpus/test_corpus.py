"""The plan and the tars of a corpus, near and far, whole and damaged."""

import io
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from dataengine.corpus.corpus import PLAN, Corpus
from dataengine.corpus.fragments import fragment_name, read_fragment
from dataengine.corpus.ranged_file import RangedFile
from dataengine.errors import DataengineError, UsageError
from tests.synthetic import commit_tokens, make_corpus


@pytest.fixture
def flaky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A remote corpus; the first try of each request fails."""
    url = f"memory://{tmp_path.name}/corpus"
    commit_tokens(make_corpus(url, 10, tmp=tmp_path), 1, tmp=tmp_path)
    failed: dict[object, int] = {}
    monkeypatch.setattr("dataengine.corpus.storage.time.sleep", lambda seconds: None)
    for name in ("cat_file", "info", "open", "ls"):
        original = getattr(MemoryFileSystem, name)

        def request(*arguments: Any, _original: Any = original, _name: str = name, **more: Any) -> Any:
            key = (_name, *map(str, arguments[1:]), *map(str, more.values()))
            failed[key] = failed.get(key, 0) + 1
            if failed[key] == 1:
                raise OSError("connection reset")
            return _original(*arguments, **more)

        monkeypatch.setattr(MemoryFileSystem, name, request)
    yield url
    MemoryFileSystem.store.clear()


def test_one_error_of_the_network_is_not_the_end(flaky: str) -> None:
    corpus = Corpus.open(flaky)
    assert corpus.shards() == [0, 1, 2]
    assert corpus.plan(2)["uri"].to_pylist() == ["models/8.glb", "models/9.glb"]
    assert len(corpus.tars("views/orbit8")) == 3
    assert len(corpus.tars("tokens/small")) == 1


def test_tars_are_those_that_the_fragments_name(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, 12, views=[0, 2], failing=lambda n: n >= 8)
    (tmp_path / "views/orbit8/00001-0123456789abcdef.tar").write_bytes(b"nobody names it")
    assert corpus.tars("views/orbit8") == [corpus.store.url_of(str(read_fragment(corpus.store, "views/orbit8", 0).tar))]  # type: ignore[union-attr]
    (tmp_path / fragment_name("views/orbit8", 2)).write_bytes(b"rubbish")
    with pytest.raises(DataengineError, match=r"views/orbit8/00002\.parquet is not a fragment"):
        corpus.tars("views/orbit8")


def test_a_plan_that_is_gone_or_damaged(tmp_path: Path) -> None:
    make_corpus(tmp_path, 4, views=[])
    whole = (tmp_path / PLAN).read_bytes()
    for data in (b"rubbish", whole[: len(whole) // 2], whole[:200] + bytes(1000) + whole[1200:]):
        (tmp_path / PLAN).write_bytes(data)
        with pytest.raises(DataengineError, match=r"plan/assets\.parquet cannot be read"):
            Corpus.open(tmp_path).plan(0)
    (tmp_path / PLAN).unlink()
    with pytest.raises(UsageError, match="run `dataengine plan` again"):
        Corpus.open(tmp_path).shards()


def test_a_ranged_file_reads_as_any_file_and_asks_for_no_byte_twice_in_a_row() -> None:
    content = bytes(range(256)) * 4
    asked: list[tuple[int, int]] = []

    def read_range(offset: int, size: int) -> bytes:
        asked.append((offset, size))
        return content[offset : offset + size]

    ours, theirs = RangedFile(len(content), read_range, 100), io.BytesIO(content)
    assert b"".join(iter(lambda: ours.read(10), b"")) == content
    assert asked == [(n, min(100, 1024 - n)) for n in range(0, 1024, 100)]
    for whence, offset, size in (
        (0, 5, 7),
        (1, 90, 30),
        (2, -20, 50),
        (0, 0, 500),
        (1, 3, -1),
        (0, 2000, 1),
        (2, -9, 0),
    ):
        assert ours.seek(offset, whence) == theirs.seek(offset, whence)
        assert ours.read(size) == theirs.read(size)
        assert ours.tell() == theirs.tell()
    ours.seek(1000)
    buffer = bytearray(50)
    assert ours.readinto(buffer) == 24
    assert buffer[:24] == content[1000:]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves the stream open
def test_signed_urls_of_tars_can_be_opened_by_readers(s3_url: str, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    corpus = make_corpus(s3_url, 4, failing=lambda n: False, tmp=tmp_path)
    (url,) = corpus.tars("views/orbit8", signed=60)
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == corpus.store.read(corpus.tars("views/orbit8")[0].removeprefix(corpus.url + "/"))
    if shutil.which("curl"):  # what the library opens http with
        keys = [s["__key__"] for s in webdataset.WebDataset(url, shardshuffle=False, empty_check=False)]
        assert keys == [row["uid"] for row in corpus.plan(0).to_pylist()]


def test_stores_without_signed_urls_say_so(tmp_path: Path) -> None:
    make_corpus(tmp_path / "local", 4)
    assert Corpus.open(tmp_path / "local").tars("views/orbit8", signed=60) == Corpus.open(tmp_path / "local").tars(
        "views/orbit8"
    )
    corpus = make_corpus(f"memory://{tmp_path.name}/signed", 4, tmp=tmp_path)
    with pytest.raises(DataengineError, match="makes no signed URLs"):
        corpus.tars("views/orbit8", signed=60)
