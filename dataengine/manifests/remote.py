"""A remote corpus's files as DuckDB reads them: few requests, nothing cached.

DuckDB asks a Python file system seven questions before it reads a byte of a file, each a request to the bucket.
Here only reading asks: a fragment comes whole in one request, a compacted file or the plan in ranges.
"""

import io
from typing import Any

from fsspec import AbstractFileSystem

from dataengine.storage import Store

PROTOCOL = "corpus"
RANGE = 1 << 20


def url(name: str) -> str:
    return f"{PROTOCOL}://{name}"


class CorpusFiles(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """`corpus://views/00017.parquet` and the like, read from a store."""

    protocol = PROTOCOL
    cachable = False

    def __init__(self, store: Store) -> None:
        super().__init__(use_listings_cache=False)
        self.store = store
        self.sizes: dict[str, int] = {}

    def glob(self, path: str, **_: Any) -> list[str]:
        return [self._strip_protocol(path)]  # the catalog names files, never patterns

    def exists(self, path: str, **_: Any) -> bool:
        return self.isfile(path)

    def isfile(self, path: str) -> bool:
        return str(path).endswith(".parquet")

    def size(self, path: str) -> int:
        return self.sizes[self._name(path)]

    def modified(self, path: str) -> Any:
        return self.store.modified(self._name(path))

    def open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        name = self._name(path)
        if mode != "rb":
            raise PermissionError(f"{name}: the catalog only reads")
        if name.startswith(("views/", "tokens/")):
            data = self.store.read(name)
            self.sizes[name] = len(data)
            return io.BytesIO(data)
        file = self.store.open(name, block_size=RANGE)
        self.sizes[name] = file.size
        return file

    def _name(self, path: str) -> str:
        return str(self._strip_protocol(path)).lstrip("/")
