"""A remote corpus's files as DuckDB reads them: as few requests as can be.

DuckDB asks a Python file system seven questions before it reads a byte of a file, each a request to the bucket, and
opens a file once for each mention in a query. Here only reading asks: a fragment, and a plan that is not large, comes
whole in one request and is kept for as long as the listing shows the same version; large plans and compacted files come
in ranges.
"""

import io
from collections.abc import Mapping
from datetime import UTC, datetime
from threading import Lock
from typing import Any

from fsspec import AbstractFileSystem

from dataengine.corpus.storage import Store

PROTOCOL = "corpus"
RANGE = 1 << 20
KEPT_BYTES = 256 << 20
PLAN_BYTES = 16 << 20  # of 100,000 assets and more; a query mentions the plan up to five times


def url(name: str) -> str:
    return f"{PROTOCOL}://{name}"


class CorpusFiles(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """`corpus://views/00017.parquet` and the like, read from a store."""

    protocol = PROTOCOL
    cachable = False

    def __init__(self, store: Store) -> None:
        super().__init__(use_listings_cache=False)
        self.store = store
        self.versions: Mapping[str, str] = {}
        self._sizes: dict[str, int] = {}
        self._kept: dict[tuple[str, str], bytes] = {}
        self._kept_bytes = 0
        self._lock = Lock()

    def glob(self, path: str, **_: Any) -> list[str]:
        return [path]  # the catalog names files, never patterns

    def exists(self, path: str, **_: Any) -> bool:
        return self.isfile(path)

    def isfile(self, path: str) -> bool:
        return str(path).endswith(".parquet")

    def size(self, path: str) -> int:
        return self._sizes[_name(path)]

    def modified(self, path: str) -> datetime:
        return datetime.fromtimestamp(0, UTC)  # DuckDB wants it for caches that are off

    def open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        name = _name(path)
        if mode != "rb":
            raise PermissionError(f"{name}: the catalog only reads")
        if name.startswith(("views/", "tokens/")):
            data = self._whole(name)
            self._sizes[name] = len(data)
            return io.BytesIO(data)
        key = (name, self.versions.get(name, ""))
        if (kept := self._found(key)) is not None:
            self._sizes[name] = len(kept)
            return io.BytesIO(kept)
        file = self.store.open(name, block_size=RANGE)
        self._sizes[name] = file.size
        return io.BytesIO(self._keep(key, file.read())) if key[1] and file.size <= PLAN_BYTES else file

    def _whole(self, name: str) -> bytes:
        """A fragment. It may be newer than the version listed, never older."""
        key = (name, self.versions.get(name, ""))
        data = self._found(key)
        return self._keep(key, self.store.read(name)) if data is None else data

    def _found(self, key: tuple[str, str]) -> bytes | None:
        with self._lock:
            return self._kept.get(key) if key[1] else None

    def _keep(self, key: tuple[str, str], data: bytes) -> bytes:
        with self._lock:
            if key[1] and key not in self._kept:
                self._kept[key] = data
                self._kept_bytes += len(data)
            while self._kept_bytes > KEPT_BYTES:
                self._kept_bytes -= len(self._kept.pop(next(iter(self._kept))))
        return data


def _name(path: str) -> str:
    return str(path).removeprefix(f"{PROTOCOL}:").lstrip("/")
