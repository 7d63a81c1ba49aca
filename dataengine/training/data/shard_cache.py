"""Shards on local disk: where they lie, or as whole copies in a cache of bounded size.

Copies are named by their content's hash, so corpora and processes may share the folder.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path

from dataengine.corpus.os_errors import explain
from dataengine.corpus.storage import Store
from dataengine.errors import DataengineError
from dataengine.training.config import CACHE_BYTES

_BLOCK = 32 << 20  # bytes a request: a shard may not fit into memory


class ShardCache:
    """Opens shards, fetching those that are not on a local disk.

    Args:
        store: the corpus.
        folder: for the copies; None: one of this user's, among the temporary files.
        nbytes: how much it may hold. What is open stays readable when it is dropped.
    """

    def __init__(self, store: Store, folder: Path | None = None, nbytes: int = CACHE_BYTES) -> None:
        self._store = store
        self._folder = folder or Path(tempfile.gettempdir()) / f"dataengine-{os.getuid()}"
        self._nbytes = nbytes

    def open(self, tar: str) -> BufferedReader:
        """A shard, to be read here and there.

        Raises:
            DataengineError: if it has vanished, or cannot be read or copied.
        """
        local = self._store.local_path(tar)
        try:
            if local is not None:
                return local.open("rb")
            while True:
                copy = self._copy(tar)
                # It may be dropped in the moment before it is opened, to make room for another.
                with suppress(FileNotFoundError):
                    return copy.open("rb")
        except FileNotFoundError as e:
            raise vanished(self._store, tar) from e
        except OSError as e:
            raise DataengineError(explain(e, str(local or self._folder))) from e

    def _copy(self, tar: str) -> Path:
        copy = self._folder / f"{digest(tar)}.tar"
        if _used_now(copy):
            return copy
        self._folder.mkdir(parents=True, exist_ok=True)
        with _locked(copy.with_suffix(".lock")):  # one of the threads and processes that want it fetches it
            if not _used_now(copy):
                self._fetch(tar, copy)
        return copy

    def _fetch(self, tar: str, copy: Path) -> None:
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix=".", suffix=".part", delete=False) as part:
            try:
                with self._store.open(tar, _BLOCK) as content:
                    shutil.copyfileobj(content, part, _BLOCK)
                with _locked(self._folder / "room.lock"):
                    self._make_room(part.tell())
                    Path(part.name).replace(copy)
            except BaseException:
                Path(part.name).unlink(missing_ok=True)
                raise

    def _make_room(self, size: int) -> None:
        """Drops the copies that were not used for longest."""
        copies = []
        for file in self._folder.glob("*.tar"):
            stat = file.stat()
            copies.append((stat.st_mtime_ns, stat.st_size, file))
        used = size + sum(s for _, s, _ in copies)
        for _, freed, file in sorted(copies):
            if used <= self._nbytes:
                return
            file.unlink(missing_ok=True)
            file.with_suffix(".lock").unlink(missing_ok=True)
            used -= freed


def _used_now(copy: Path) -> bool:
    """Whether the copy is there; its time, which `_make_room` goes by, is then now."""
    try:
        os.utime(copy)
    except FileNotFoundError:
        return False
    return True


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    with file.open("w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


def changed(store: Store, tar: str) -> DataengineError:
    """The error for a shard whose bytes are not what the manifest says."""
    return DataengineError(
        f"{store.url_of(tar)} has changed: it is not the shard with SHA-256 {digest(tar)}… that the manifest names; "
        f"run `dataengine verify` and {_make_again(tar)}"
    )


def vanished(store: Store, tar: str) -> DataengineError:
    """The error for a shard that is not there."""
    return DataengineError(
        f"{store.url_of(tar)} (SHA-256 {digest(tar)}…) is named by the manifest but is not there; {_make_again(tar)}"
    )


def _make_again(tar: str) -> str:
    return f"{'render' if tar.startswith('views') else 'tokenize'} that shard again"


def digest(tar: str) -> str:
    """The start of the SHA-256 of a shard's content, from its name."""
    return tar.rsplit("-", 1)[-1].removesuffix(".tar")
