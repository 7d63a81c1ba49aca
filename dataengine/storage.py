"""Files of a corpus, on a local disk or any fsspec URL: atomic put, ranged get, retry with back-off."""

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import fsspec

from dataengine.errors import DataengineError, UsageError

T = TypeVar("T")

ATTEMPTS = 5
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
_FINAL_ERRNO = {errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG}


class Store:
    """A folder that holds a corpus. Paths are relative, with forward slashes.

    Args:
        url: a local folder or any URL that fsspec knows (s3://bucket/corpus, gs://…, memory://…).

    Raises:
        UsageError: if the URL's protocol is unknown or needs a package that is not installed.
    """

    def __init__(self, url: str | Path) -> None:
        try:
            self.fs, self.root = fsspec.core.url_to_fs(os.fspath(url))
        except (ValueError, ImportError) as e:
            raise UsageError(f"cannot open {str(url)!r}: {e}") from e
        self.local: bool = self.fs.protocol == "file" or "file" in self.fs.protocol
        self.root = self.root.rstrip("/") or "/"
        self.url: str = self.root if self.local else self.fs.unstrip_protocol(self.root)

    def __reduce__(self) -> tuple[type["Store"], tuple[str]]:
        return Store, (self.url,)

    def path(self, name: str) -> str:
        """The file system's own path of a file."""
        return f"{self.root}/{name}" if name else self.root

    def url_of(self, name: str) -> str:
        """The URL (local: absolute path) under which any reader finds a file."""
        return f"{self.url}/{name}"

    def local_path(self, name: str) -> Path | None:
        """The file's path where the store is a local folder, else None."""
        return Path(self.path(name)) if self.local else None

    def exists(self, name: str = "") -> bool:
        return bool(self._retry(lambda: self.fs.exists(self.path(name)), name))

    def list(self, folder: str) -> list[str]:
        """Names of the files directly in a folder, relative to the store, sorted; empty if there is no such folder."""

        def ls() -> list[str]:
            self.fs.invalidate_cache(self.path(folder))
            try:
                entries = self.fs.ls(self.path(folder), detail=True)
            except FileNotFoundError:
                return []
            names = [e["name"].rstrip("/").rsplit("/", 1)[-1] for e in entries if e["type"] == "file"]
            return sorted(f"{folder}/{n}" for n in names if n)

        return self._retry(ls, folder)

    def read(self, name: str) -> bytes:
        """A whole file. Raises FileNotFoundError if it is not there."""
        return bytes(self._retry(lambda: self.fs.cat_file(self.path(name)), name))

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`. Raises FileNotFoundError, or DataengineError if the file is shorter."""
        data = bytes(self._retry(lambda: self.fs.cat_file(self.path(name), start=offset, end=offset + size), name))
        if len(data) != size:
            raise DataengineError(f"{self.url_of(name)} ends before byte {offset + size}")
        return data

    def put(self, name: str, content: bytes | Path) -> None:
        """Writes a whole file atomically: readers see the old file or the new one, whole, never a part.

        Raises:
            DataengineError: in one line, when the store is full, read-only or out of reach. Nothing is left behind.
        """
        if self.local:
            self._put_local(name, content)
        elif isinstance(content, bytes):
            self._retry(lambda: self.fs.pipe_file(self.path(name), content), name)
        else:
            self._retry(lambda: self.fs.put_file(os.fspath(content), self.path(name)), name)

    def delete(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._retry(lambda: self.fs.rm_file(self.path(name)), name)

    def _put_local(self, name: str, content: bytes | Path) -> None:
        target = Path(self.path(name))
        temporary: Path | None = None
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            # A dot-file in the same folder: same file system, so the rename is atomic, and listings can skip it.
            fd, temp_name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
            temporary = Path(temp_name)
            with os.fdopen(fd, "wb") as f:
                if isinstance(content, bytes):
                    f.write(content)
                else:
                    with content.open("rb") as source:
                        shutil.copyfileobj(source, f, 1 << 20)
                f.flush()
                os.fsync(f.fileno())
            temporary.chmod(0o644)  # mkstemp makes it private; a corpus is meant to be read
            temporary.replace(target)
        except OSError as e:
            if temporary is not None:
                temporary.unlink(missing_ok=True)
            raise DataengineError(explain(e, str(target))) from e

    def _retry(self, call: Callable[[], T], name: str) -> T:
        for attempt in range(ATTEMPTS):
            try:
                return call()
            except _FINAL:
                raise
            except OSError as e:
                if self.local or e.errno in _FINAL_ERRNO or attempt == ATTEMPTS - 1:
                    raise DataengineError(explain(e, self.url_of(name))) from e
                time.sleep(0.1 * 4**attempt)
            except Exception as e:  # each fsspec backend raises its own client's errors
                if attempt == ATTEMPTS - 1:
                    raise DataengineError(f"{self.url_of(name)}: {type(e).__name__}: {e}") from e
                time.sleep(0.1 * 4**attempt)
        raise AssertionError("unreachable")


def explain(error: OSError, where: str) -> str:
    """One line that says what an operating system error means for the person who sees it."""
    hints: dict[int | None, str] = {
        errno.ENOSPC: "the disk is full; free some space and run the same command again, what is done is kept",
        errno.EDQUOT: "the disk quota is used up; free some space and run the same command again, what is done is kept",
        errno.EROFS: "the file system is read-only; choose a folder that can be written",
        errno.EACCES: "no permission to write there; choose another folder or change its permissions",
        errno.EPERM: "the operation is not permitted there; choose another folder or change its permissions",
        errno.ENOTDIR: "a part of the path is a file, not a folder",
    }
    return f"{where}: {hints.get(error.errno, error.strerror or str(error))}"


def open_file(url: str, mode: str = "rb", **options: Any) -> Any:
    """Opens any path or fsspec URL for reading."""
    return fsspec.open(url, mode, **options).open()
