import errno
import hashlib
import io
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from dataengine.download import http as download
from dataengine.download.cache import Cache
from dataengine.download.http import Downloader
from dataengine.download.wanted import Wanted
from dataengine.errors import AssetFailure, DataengineError, ErrorCode, UsageError
from tests.hub_server import Hub, running

GLB = "/datasets/a/b/resolve/main/x.glb"


@pytest.fixture
def downloads(tmp_path: Path) -> Iterator[Downloader]:
    made = Downloader(Cache(tmp_path / "cache", 1 << 30))
    yield made
    made.close()


def code_of(downloads: Downloader, wanted: Wanted) -> ErrorCode | None:
    try:
        downloads.get(wanted)
    except AssetFailure as e:
        assert "\n" not in e.message
        return e.code
    return None


def test_a_file_is_fetched_once_and_kept_under_its_hash(hub: Hub, downloads: Downloader) -> None:
    hub.files[GLB] = b"model" * 1000
    path = downloads.get(Wanted(hub.url + GLB, ".glb"))
    assert path.read_bytes() == hub.files[GLB]
    assert path.name == hashlib.sha256(hub.files[GLB]).hexdigest() + ".glb"
    assert downloads.get(Wanted(hub.url + GLB, ".glb")) == path
    assert hub.requests[GLB] == 1
    assert not list((downloads.cache.root / "partial").iterdir())


def test_another_address_of_a_published_hash_is_not_asked(hub: Hub, downloads: Downloader) -> None:
    hub.files["/one.glb"] = b"same"
    sha256 = hashlib.sha256(b"same").hexdigest()
    path = downloads.get(Wanted(hub.url + "/one.glb", ".glb", sha256))
    assert downloads.get(Wanted(hub.url + "/other.glb", ".glb", sha256)) == path
    assert hub.requests["/other.glb"] == 0


@pytest.mark.parametrize("faults", [["429"], ["500", "503"], ["cut", "cut"], ["garbage"], ["short"], ["429"] * 5])
def test_what_passes_is_tried_again(hub: Hub, downloads: Downloader, faults: list[str]) -> None:
    hub.files[GLB] = os.urandom(300_000)
    hub.faults[GLB] = list(faults)
    assert downloads.get(Wanted(hub.url + GLB)).read_bytes() == hub.files[GLB]


@pytest.mark.parametrize(
    ("faults", "code"),
    [
        (["garbage", "garbage"], ErrorCode.SHA_MISMATCH),
        (["404"], ErrorCode.FETCH_404),
        (["500"] * 20, ErrorCode.FETCH_TIMEOUT),
    ],
)
def test_what_stays_is_typed(
    hub: Hub, downloads: Downloader, faults: list[str], code: ErrorCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "ATTEMPTS", 3)
    hub.files[GLB] = b"model" * 1000
    hub.faults[GLB] = list(faults)
    assert code_of(downloads, Wanted(hub.url + GLB)) is code
    hub.faults.clear()
    assert code_of(downloads, Wanted(hub.url + GLB)) is None


def test_a_hash_from_the_plan_counts_without_a_hub(hub: Hub, downloads: Downloader) -> None:
    hub.files["/x.glb"] = b"not this"
    assert code_of(downloads, Wanted(hub.url + "/x.glb", sha256="0" * 64)) is ErrorCode.SHA_MISMATCH
    assert hub.requests["/x.glb"] == 2


def test_retry_after_is_honoured(hub: Hub, downloads: Downloader) -> None:
    hub.files[GLB] = b"x"
    hub.faults[GLB] = ["429"]
    hub.retry_after = "1"
    start = time.monotonic()
    downloads.get(Wanted(hub.url + GLB))
    assert time.monotonic() - start >= 1
    hub.faults[GLB.replace("x.", "y.")] = ["429"]
    hub.files[GLB.replace("x.", "y.")] = b"y"
    hub.retry_after = "3600"
    assert code_of(downloads, Wanted(hub.url + GLB.replace("x.", "y."), seconds=5)) is ErrorCode.FETCH_TIMEOUT


def test_a_hub_that_goes_away_and_comes_back(hub: Hub, downloads: Downloader) -> None:
    hub.files[GLB] = b"x"
    hub.down = True
    assert code_of(downloads, Wanted(hub.url + GLB, seconds=1.5)) is ErrorCode.FETCH_TIMEOUT
    hub.down = False
    assert code_of(downloads, Wanted(hub.url + GLB)) is None


def test_the_token_goes_to_the_hub_and_nowhere_else(
    hub: Hub, downloads: Downloader, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.files[GLB] = b"x"
    hub.gated["/datasets/a/"] = "secret"
    assert code_of(downloads, Wanted(hub.url + GLB)) is None
    with running(Hub()) as other:
        other.files["/x.glb"] = b"x2"
        other.gated["/"] = "secret"
        assert code_of(downloads, Wanted(other.url + "/x.glb")) is ErrorCode.FETCH_DENIED
    monkeypatch.setenv("HF_TOKEN", "expired")
    hub.files[GLB + "2"] = b"x3"
    assert code_of(downloads, Wanted(hub.url + GLB + "2")) is ErrorCode.FETCH_DENIED
    assert "secret" not in "".join(
        p.name + (str(p.readlink()) if p.is_symlink() else "") for p in downloads.cache.root.rglob("*")
    )


def test_limits_of_size_and_time(hub: Hub, downloads: Downloader) -> None:
    hub.files[GLB] = b"x" * 5000
    assert code_of(downloads, Wanted(hub.url + GLB, max_bytes=4999)) is ErrorCode.TOO_LARGE
    assert hub.sent[GLB] <= 5000
    hub.faults[GLB] = ["slow"] * 9
    assert code_of(downloads, Wanted(hub.url + GLB, seconds=0.1)) is ErrorCode.FETCH_TIMEOUT


def test_a_killed_download_is_resumed_where_it_was(hub: Hub, tmp_path: Path) -> None:
    hub.files[GLB] = os.urandom(8 << 20)
    hub.faults[GLB] = ["cut"]
    hub.retry_after = "300"  # within the default deadline: the process waits with a part on disk and does not give up
    hub.faults[GLB].append("429")
    program = (
        "import sys; from pathlib import Path; from dataengine.download.cache import Cache;"
        "from dataengine.download.http import Downloader; from dataengine.download.wanted import Wanted;"
        "Downloader(Cache(Path(sys.argv[1]), 1 << 30)).get(Wanted(sys.argv[2]))"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "cache"), hub.url + GLB])
    while "/cdn" + GLB not in hub.requests or hub.faults[GLB]:
        time.sleep(0.05)
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    downloads = Downloader(Cache(tmp_path / "cache", 1 << 30))
    assert downloads.get(Wanted(hub.url + GLB)).read_bytes() == hub.files[GLB]
    assert 0 < hub.sent[GLB] < 4 << 20
    downloads.close()


def test_many_assets_of_a_bad_hub_all_end_fetched_or_typed(hub: Hub, downloads: Downloader) -> None:
    rng = random.Random(0)
    names = [f"/datasets/a/b/resolve/main/{i}.glb" for i in range(400)]
    faults = {"404": 20, "429": 12, "short": 8, "garbage": 4, "cut": 8, "500": 8, "slow": 8}
    chosen = rng.sample(names, sum(faults.values()))
    for name in names:
        hub.files[name] = name.encode() * 50
    for fault, count in faults.items():
        for _ in range(count):
            hub.faults[chosen.pop()] = [fault] * (2 if fault == "garbage" else 1)
    results: dict[int, Path | AssetFailure] = {}
    downloads.get_many([Wanted(hub.url + n, ".glb") for n in names], results.__setitem__)
    assert len(results) == 400
    codes = [r.code for r in results.values() if isinstance(r, AssetFailure)]
    assert sorted(codes) == [ErrorCode.FETCH_404] * 20 + [ErrorCode.SHA_MISMATCH] * 4
    before = hub.requests.total()
    downloads.get_many([Wanted(hub.url + n, ".glb") for n in names], results.__setitem__)
    assert hub.requests.total() - before <= 2 * 24  # the failed ones only, and their redirects


def test_processes_share_one_download(hub: Hub, tmp_path: Path) -> None:
    hub.files[GLB] = os.urandom(1 << 20)
    hub.faults[GLB] = ["slow"]
    both = [Downloader(Cache(tmp_path, 1 << 30)) for _ in range(2)]
    import threading

    threads = [threading.Thread(target=d.get, args=(Wanted(hub.url + GLB),)) for d in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert hub.requests[GLB] == 1
    for d in both:
        d.close()


def test_the_cache_stays_within_its_bound_and_keeps_what_is_in_use(hub: Hub, tmp_path: Path) -> None:
    cache = Cache(tmp_path, 100_000)
    downloads = Downloader(cache)
    for i in range(50):
        hub.files[f"/{i}"] = bytes([i]) * 10_000
        path = downloads.get(Wanted(hub.url + f"/{i}"))
        assert path.exists()
        if i == 0:
            first = path
    assert first.exists()  # held: within the last 64 that this process took
    cache.release()
    assert cache.trim() <= 100_000
    left = list(tmp_path.glob("blobs/*/*"))
    assert 0 < sum(p.stat().st_size for p in left) <= 100_000
    assert path in left and first not in left
    downloads.close()


def test_a_damaged_blob_is_fetched_again(hub: Hub, downloads: Downloader) -> None:
    hub.files[GLB] = b"model" * 1000
    path = downloads.get(Wanted(hub.url + GLB))
    downloads.cache.release()
    path.write_bytes(b"cut")
    assert downloads.get(Wanted(hub.url + GLB)).read_bytes() == hub.files[GLB]


def test_other_file_systems(downloads: Downloader) -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/models/x.glb", b"model")
    assert downloads.get(Wanted("memory://models/x.glb", ".glb")).read_bytes() == b"model"
    assert code_of(downloads, Wanted("memory://models/none.glb")) is ErrorCode.FETCH_404
    with pytest.raises(DataengineError, match="cannot open nowhere://x"):
        downloads.get(Wanted("nowhere://x"))


class HeldFileSystem(MemoryFileSystem):
    """Its one file gives a block, then nothing until it is released, then the rest."""

    protocol = "held"
    cachable = False
    released, ended = threading.Event(), threading.Event()

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        return {"name": path, "size": 2, "type": "file"}

    def open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        return _HeldFile()


class _HeldFile(io.BytesIO):
    def __init__(self) -> None:
        super().__init__(b"S" * (1 << 16))
        self.read_before = False

    def read(self, size: int | None = -1) -> bytes:
        if self.read_before:
            HeldFileSystem.released.wait(30)
        self.read_before = True
        return super().read(1 << 14)

    def close(self) -> None:
        super().close()
        HeldFileSystem.ended.set()


def test_a_copy_that_outlives_its_deadline_writes_into_no_other_file(downloads: Downloader, tmp_path: Path) -> None:
    fsspec.register_implementation("held", HeldFileSystem, clobber=True)
    assert code_of(downloads, Wanted("held://bucket/x.glb", seconds=0.3)) is ErrorCode.FETCH_TIMEOUT
    others = [(tmp_path / str(n)).open("w+b") for n in range(64)]  # one of them has the copy's descriptor now
    for other in others:
        other.write(b"other" * 1000)
        other.flush()
    HeldFileSystem.released.set()
    assert HeldFileSystem.ended.wait(30)
    for other in others:
        other.close()
    assert {Path(other.name).read_bytes() for other in others} == {b"other" * 1000}


def test_a_full_disk_is_no_fault_of_a_bucket(downloads: Downloader, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.filesystem("memory").pipe_file("/full/x.glb", b"model")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("os.pwrite", full)
        with pytest.raises(DataengineError, match="the disk is full; free some space"):
            downloads.get(Wanted("memory://full/x.glb", seconds=2))


def test_a_cache_that_cannot_be_written_is_one_clear_line(hub: Hub, tmp_path: Path) -> None:
    hub.files[GLB] = b"x"
    (tmp_path / "file").touch()
    downloads = Downloader(Cache(tmp_path / "file" / "cache", 1 << 30))
    with pytest.raises(DataengineError, match="is a file, not a folder"):
        downloads.get(Wanted(hub.url + GLB))
    downloads.close()


def test_a_full_disk_is_one_clear_line(hub: Hub, downloads: Downloader, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for i in range(8):
        hub.files[f"/{i}.glb"] = b"model"
    wanted = [Wanted(f"{hub.url}/{i}.glb") for i in range(8)]
    results: dict[int, Path | AssetFailure] = {}
    with monkeypatch.context() as patched:
        patched.setattr("os.pwrite", full)
        with pytest.raises(DataengineError, match="the disk is full; free some space"):
            downloads.get_many(wanted, results.__setitem__)
    downloads.get_many(wanted, results.__setitem__)
    assert all(isinstance(results[i], Path) for i in range(8))


def test_the_bound_of_the_cache_is_a_number(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATAENGINE_CACHE_BYTES", "lots")
    with pytest.raises(UsageError, match="DATAENGINE_CACHE_BYTES"):
        Cache(tmp_path)
