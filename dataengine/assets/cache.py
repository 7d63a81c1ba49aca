"""Downloaded files on local disk: content-addressed, bounded, shared by any number of processes.

    blobs/ab/abcdef….glb     a file under its SHA-256 and extension, never changed
    urls/12/1234….json       which blob a URL was last seen to be
    partial/1234….part       a download under way; its flock says that somebody is at it

No daemon and no index to corrupt: every step is a rename, every lock is the kernel's and dies with its process. The
modification time of a blob is when it was last used; the oldest go first when the cache is over its bound, except
those that a process holds: it keeps a shared lock on the last files it took.
"""

import fcntl
import hashlib
import json
import os
import tempfile
import threading
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

from dataengine.errors import DataengineError, UsageError
from dataengine.storage import explain

DEFAULT_BYTES = 64 << 30
HELD = 64  # files a process may have in hand at once


def cache_bytes() -> int:
    """The cache's bound: DATAENGINE_CACHE_BYTES, or 64 GiB. Raises UsageError if that is no number."""
    text = os.environ.get("DATAENGINE_CACHE_BYTES", str(DEFAULT_BYTES))
    if not text.isdigit() or not int(text):
        raise UsageError(f"DATAENGINE_CACHE_BYTES is {text!r}; it must be a number of bytes")
    return int(text)


class Cache:
    """One process's view of a cache folder. Safe for threads.

    Args:
        root: the folder; made when it is first needed.
        limit: bytes of blobs to keep. Files in use, and those still being written, may go over it.
    """

    def __init__(self, root: Path, limit: int | None = None) -> None:
        self.root = root
        self.limit = limit or cache_bytes()
        self._held: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()
        self._unchecked: int | None = None  # bytes added since the last look at the whole; None: never looked

    def find(self, key: str, sha256: str | None = None, suffix: str = "") -> Path | None:
        """The blob that a key (or a published hash) stands for, marked as used and held; None if it is not here."""
        if sha256 is None:
            try:
                entry = json.loads(self._entry(key).read_bytes())
                name, size = str(entry["blob"]), int(entry["size"])
            except (OSError, ValueError, KeyError, TypeError):
                return None
        else:
            name, size = f"{sha256}{suffix}", None
        path = self._blob(name)
        return path if self._hold(path, size) else None

    def partial(self, key: str) -> Path:
        """Where a download is gathered."""
        path = self.root / "partial" / f"{_digest(key)}.part"
        self._make(path.parent)
        return path

    def adopt(self, key: str, part: Path, fd: int, sha256: str, suffix: str) -> Path:
        """Turns a finished download, locked through `fd`, into a blob that is held. Raises DataengineError."""
        size = os.fstat(fd).st_size
        path = self._blob(f"{sha256}{suffix}")
        self._make(path.parent)
        os.utime(part)
        part.replace(path)
        entry = self._entry(key)
        self._make(entry.parent)
        self._write(entry, json.dumps({"blob": path.name, "size": size, "url": key}).encode())
        fcntl.flock(fd, fcntl.LOCK_SH)  # the part's lock becomes the blob's: it is never without
        self._keep(path, os.dup(fd))
        with self._lock:
            due = self._unchecked is None or self._unchecked + size > max(self.limit // 20, 1)
            self._unchecked = 0 if due else (self._unchecked or 0) + size
        if due:
            self.trim()
        return path

    def trim(self) -> int:
        """Deletes the longest unused blobs until the cache is within its bound; returns the bytes that are left."""
        lock = os.open(self.root / "trim.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            blobs = []
            for folder in (self.root / "blobs").glob("*"):
                for entry in os.scandir(folder):
                    with suppress(FileNotFoundError):
                        info = entry.stat()
                        blobs.append((info.st_mtime_ns, info.st_size, entry.path))
            total = sum(size for _, size, _ in blobs)
            if total > self.limit:
                for _, size, path in sorted(blobs):
                    if total <= self.limit * 9 // 10:
                        break
                    total -= size if self._delete(path) else 0
            return total
        finally:
            os.close(lock)

    def release(self) -> None:
        """Lets go of every file that this process holds."""
        with self._lock:
            for fd in self._held.values():
                os.close(fd)
            self._held.clear()

    def _hold(self, path: Path, size: int | None) -> bool:
        """Locks a blob against deletion. False if it is gone or was damaged."""
        name = os.fspath(path)
        with self._lock:
            if name in self._held:
                self._held.move_to_end(name)
                return True
        try:
            fd = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return False
        fcntl.flock(fd, fcntl.LOCK_SH)
        info = os.fstat(fd)
        if not info.st_nlink or (size is not None and info.st_size != size):
            os.close(fd)  # deleted in this very moment, or cut short by a crash of the machine
            if info.st_nlink:
                path.unlink(missing_ok=True)
            return False
        with suppress(OSError):
            os.utime(path)
        self._keep(path, fd)
        return True

    def _keep(self, path: Path, fd: int) -> None:
        with self._lock:
            if os.fspath(path) in self._held:
                os.close(fd)
            else:
                self._held[os.fspath(path)] = fd
            while len(self._held) > HELD:
                os.close(self._held.popitem(last=False)[1])

    def _delete(self, path: str) -> bool:
        try:
            fd = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            Path(path).unlink(missing_ok=True)
        except BlockingIOError:
            return False
        finally:
            os.close(fd)
        return True

    def _blob(self, name: str) -> Path:
        return self.root / "blobs" / name[:2] / name

    def _entry(self, key: str) -> Path:
        digest = _digest(key)
        return self.root / "urls" / digest[:2] / f"{digest}.json"

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise DataengineError(explain(e, str(folder))) from e

    def _write(self, path: Path, content: bytes) -> None:
        try:
            fd, name = tempfile.mkstemp(dir=path.parent, prefix=".")
            with os.fdopen(fd, "wb") as f:
                f.write(content)
            Path(name).replace(path)
        except OSError as e:
            raise DataengineError(explain(e, str(path))) from e


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:40]
