# A thousand files per second leave no time for Path objects.
# ruff: noqa: PTH116
"""A download under way: its bytes on disk, their running hash, and the lock that keeps others off."""

import asyncio
import fcntl
import hashlib
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

RESUMED_BYTES = 1 << 18  # what a killed process leaves behind is continued from here on


class PartialFile:
    """What is there of a file. After `close` it takes no more bytes, whoever still holds it.

    A copy that outlives its deadline goes on in its thread: it must find this file closed, not a descriptor's number
    that another file has by now. So the descriptor is used and closed under one lock.
    """

    def __init__(self, path: str, fd: int, waited: bool) -> None:
        self.path, self.fd, self.waited = path, fd, waited
        self._lock = threading.Lock()
        self._hash = hashlib.sha256()
        self.size = 0
        self.etag = self._noted = ""
        self._stale = bool(os.fstat(fd).st_size)  # bytes of an earlier attempt
        if self._stale:
            with suppress(OSError, UnicodeDecodeError):
                self.etag = self._noted = _etag_file(path).read_text()
        if self.etag:
            while block := os.pread(fd, 1 << 20, self.size):
                self._hash.update(block)
                self.size += len(block)

    def clear(self) -> None:
        """Throws away what was gathered."""
        with self._lock:
            if self.size or self._stale:
                os.ftruncate(self.fd, 0)
                self._hash = hashlib.sha256()
                self.size, self._stale = 0, False

    def begin(self, etag: str) -> None:
        """Says what is being gathered, so that a later attempt continues only the same content."""
        self.etag = etag

    def write(self, block: bytes) -> None:
        """Appends. Raises OSError (EBADF) once the file is closed."""
        with self._lock:
            view = memoryview(block)
            at = self.size
            while view:
                written = os.pwrite(self.fd, view, at)
                view, at = view[written:], at + written
            self._hash.update(block)
            self.size = at
            if at > RESUMED_BYTES and self.etag != self._noted:  # less is not worth a second file
                _etag_file(self.path).write_text(self.etag)
                self._noted = self.etag

    def finish(self) -> None:
        """Forgets what a later attempt would have needed."""
        if self._noted:
            _etag_file(self.path).unlink(missing_ok=True)

    def digest(self) -> str:
        """SHA-256 of what is there, as hex."""
        return self._hash.hexdigest()

    def close(self) -> None:
        """Lets go of the descriptor, and with it of the lock against others."""
        with self._lock:
            fd, self.fd = self.fd, -1  # no file has this number
            os.close(fd)


@asynccontextmanager
async def alone_with(path: str) -> AsyncIterator[PartialFile]:
    """The partial file at a path, locked against other processes and tasks."""
    waited = False
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            while not (free := _locked(fd)) and _is_at(path, fd):
                waited = True
                await asyncio.sleep(0.05)
            if not free or (os.fstat(fd).st_size and not _is_at(path, fd)):
                waited = True  # it was finished and renamed while we waited
                os.close(fd)
                continue
            part = PartialFile(path, fd, waited)
        except BaseException:
            os.close(fd)
            raise
        try:
            yield part
        finally:
            part.close()
        return


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(path: str, fd: int) -> bool:
    info = os.fstat(fd)
    try:
        return os.stat(path).st_ino == info.st_ino
    except FileNotFoundError:
        return False


def _etag_file(part: str) -> Path:
    return Path(f"{part}.etag")
