"""Shards as open files: where they lie locally, or as whole copies in a cache of bounded size.

Bytes are read with `preadv` straight into the batch: measured as fast as a memory map, but a file that was cut short is
an error with a name and not a bus error. Whatever is read from was hashed first, once a process.
"""

import os
import tempfile
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dataengine.errors import DataengineError
from dataengine.shards import file_sha256
from dataengine.storage import Store, explain

CACHE_BYTES = 64 << 30
_OPEN = 4096


class ShardFiles:
    """Opens shards by number.

    Args:
        store: the corpus.
        tars: the shards' names; each ends in the first 16 digits of the tar's SHA-256.
        cache: folder for copies of shards that are not on a local disk; several processes may share it.
        cache_bytes: how much it may hold. Shards of the batch in hand are never dropped.
    """

    def __init__(
        self, store: Store, tars: list[str], cache: Path | None = None, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self._store, self._tars = store, tars
        self._cache = cache or Path(tempfile.gettempdir()) / f"dataengine-{os.getuid()}"
        self._cache_bytes = cache_bytes
        self._verified: set[int] = set()
        self._open: dict[int, int] = {}
        self._pool = ThreadPoolExecutor(min(16, 4 * (os.cpu_count() or 1)), "shards")
        self._evicting = threading.Lock()

    def descriptors(self, shards: Iterable[int]) -> dict[int, int]:
        """File descriptors by shard, of these at least, valid until the next call.

        Shards that are not open yet are fetched and hashed in parallel.

        Raises:
            DataengineError: if a shard has vanished or is not the one that the manifest names.
        """
        wanted = set(shards)
        new = sorted(wanted - self._open.keys())
        if new:
            self._close_some(len(new), wanted)
            self._open.update(zip(new, self._pool.map(self._open_one, new), strict=True))
        return self._open

    def _close_some(self, count: int, wanted: set[int]) -> None:
        """Makes room for so many more, closing what was opened first."""
        spare = [shard for shard in self._open if shard not in wanted]
        for shard in spare[: max(0, len(self._open) + count - _OPEN)]:
            os.close(self._open.pop(shard))

    def changed(self, shard: int) -> DataengineError:
        """The error for a shard whose bytes are not what the manifest says."""
        tar = self._tars[shard]
        return DataengineError(
            f"{self._store.url_of(tar)} has changed: it is not the shard with SHA-256 {_digest(tar)}… that the "
            "manifest names; run `dataengine verify` and tokenize that shard again"
        )

    def close(self) -> None:
        self._pool.shutdown()
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def _open_one(self, shard: int) -> int:
        tar = self._tars[shard]
        path = self._store.local_path(tar) or self._cached(shard)
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError as e:
            raise self._vanished(shard) from e
        except OSError as e:
            raise DataengineError(explain(e, str(path))) from e
        if shard not in self._verified:
            if not file_sha256(path).startswith(_digest(tar)):
                os.close(descriptor)
                raise self.changed(shard)
            self._verified.add(shard)
        return descriptor

    def _vanished(self, shard: int) -> DataengineError:
        tar = self._tars[shard]
        return DataengineError(
            f"{self._store.url_of(tar)} (SHA-256 {_digest(tar)}…) is named by the manifest but is not there; "
            "tokenize that shard again"
        )

    def _cached(self, shard: int) -> Path:
        """The shard's copy on local disk, fetched if need be. Named by its hash, so corpora may share the folder."""
        tar = self._tars[shard]
        copy = self._cache / f"{_digest(tar)}.tar"
        if copy.exists():
            os.utime(copy)  # what `_make_room` goes by
            return copy
        try:
            content = self._store.read(tar)
            self._make_room(len(content))
            Store(self._cache).put(copy.name, content)
        except FileNotFoundError as e:
            raise self._vanished(shard) from e
        return copy

    def _make_room(self, size: int) -> None:
        """Drops the copies that were not used for longest. One that is still open elsewhere stays readable there."""
        with self._evicting:
            copies = []
            for file in self._cache.glob("*.tar"):
                try:
                    stat = file.stat()
                except FileNotFoundError:  # another process dropped it
                    continue
                copies.append((stat.st_mtime_ns, stat.st_size, file))
            used = size + sum(s for _, s, _ in copies)
            for _, freed, file in sorted(copies):
                if used <= self._cache_bytes:
                    return
                file.unlink(missing_ok=True)
                used -= freed


def _digest(tar: str) -> str:
    return tar.rsplit("-", 1)[-1].removesuffix(".tar")
