# A thousand files per second leave no time for Path objects.
# ruff: noqa: PTH103, PTH104, PTH105, PTH108, PTH112, PTH115, PTH116, PTH120, PTH211
"""Downloaded files on local disk: content-addressed, bounded, shared by any number of processes.

    blobs/a/abcdef….glb      a file under its SHA-256 and extension, never changed
    urls/1/1234…             which blob a URL was last seen to be: a symbolic link whose text is `size hash suffix`,
                             short enough (the hash is in base 64) for ext4 to keep it in the inode
    bundles/5/5678…/         an asset of several files as it wants to lie: hard links to blobs, or an unpacked archive
    partial/1234….part       a download under way; its flock says that somebody is at it

No daemon and no index to corrupt: every step is a rename, every lock is the kernel's and dies with its process. The
modification time of a blob or bundle is when it was last used; the oldest go first when the cache is over its bound,
except those that a process holds: it keeps a shared lock on the last files it took.
"""

import base64
import errno
import fcntl
import functools
import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dataengine.corpus.os_errors import explain
from dataengine.errors import DataengineError, UsageError

DEFAULT_BYTES = 64 << 30
HELD = 64  # files that a process may have in hand at once
_ABANDONED = 24 * 3600  # seconds after which a bundle that nobody finished is swept away


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
        limit: bytes of blobs and bundles to keep. Files in use, and those still being written, may go over it.
    """

    def __init__(self, root: Path, limit: int | None = None) -> None:
        self.root = root
        self._root = os.fspath(root)
        self._made: set[str] = set()
        self.limit = limit or cache_bytes()
        self._held: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()
        self._unchecked: int | None = None  # bytes added since the last look at the whole; None: never looked

    def find(self, key: str, sha256: str | None = None, suffix: str = "") -> Path | None:
        """The blob that a key (or a published hash) stands for, marked as used and held; None if it is not here."""
        if sha256 is not None:
            return self._held_path(self._blob(f"{sha256}{suffix}"), None)
        try:
            size, digest, suffix = os.readlink(self._entry(key)).split(" ")
            name = base64.urlsafe_b64decode(f"{digest}=").hex() + suffix
        except (OSError, ValueError):
            return None
        return self._held_path(self._blob(name), int(size))

    def _held_path(self, path: str, size: int | None) -> Path | None:
        return Path(path) if self._hold(path, size) else None

    def partial(self, key: str) -> str:
        """Where a download is gathered."""
        return f"{self._partials()}/{_digest(key)}.part"

    def adopt(self, key: str | None, part: str, fd: int, size: int, sha256: str, suffix: str) -> Path:
        """Turns a finished download, locked through `fd`, into a blob that is held.

        Args:
            key: what `find` shall know it by, besides its hash.

        Raises:
            DataengineError: if the cache cannot be written.
        """
        name = f"{sha256}{suffix}"
        path = self._blob(name)
        self._make(os.path.dirname(path))
        if key is not None:  # before the blob: a process that is killed in between leaves none that nobody finds
            digest = base64.urlsafe_b64encode(bytes.fromhex(sha256)).decode().rstrip("=")
            self._note(key, f"{size} {digest} {suffix}")
        os.replace(part, path)
        fcntl.flock(fd, fcntl.LOCK_SH)  # the part's lock becomes the blob's: it is never without
        self._keep(path, os.dup(fd))
        self._added(size)
        return Path(path)

    def find_bundle(self, key: str) -> Path | None:
        """The folder of a bundle, marked as used and held; None if it is not here."""
        return self._held_path(self._bundle(key), None)

    def begin_bundle(self) -> Path:
        """An empty folder to gather a bundle in. Raises DataengineError if the cache cannot be written."""
        try:
            return Path(tempfile.mkdtemp(prefix="bundle-", dir=self._partials()))
        except OSError as e:
            raise DataengineError(explain(e, self._partials())) from e

    def adopt_bundle(self, key: str, folder: Path) -> Path:
        """Turns a gathered folder into the bundle of that key, which is held; the first of several processes wins."""
        path = self._bundle(key)
        self._make(os.path.dirname(path))
        size = sum(info.st_size // info.st_nlink for info in map(os.stat, _files_in(str(folder))))
        while not self._hold(path, None):
            try:
                os.rename(folder, path)
            except OSError as e:
                if e.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
        shutil.rmtree(folder, ignore_errors=True)  # where another process was faster
        self._added(size)
        return Path(path)

    def forget(self, key: str, sha256: str | None = None) -> int:
        """Deletes what a key, or a hash, stands for, in use or not; returns how many files were there."""
        with suppress(OSError, ValueError):
            _, digest, _ = os.readlink(self._entry(key)).split(" ")
            sha256 = sha256 or base64.urlsafe_b64decode(f"{digest}=").hex()
        blobs = [str(path) for path in Path(self._blob(sha256)).parent.glob(f"{sha256}*")] if sha256 else []
        return sum(self._drop(path) for path in [self._entry(key), self.partial(key), *blobs])

    def forget_bundle(self, key: str) -> int:
        """Deletes a bundle, and the blobs that its files are names of; returns how many were there."""
        folder = self._bundle(key)
        if not os.path.isdir(folder):
            return 0
        hashes = {_file_sha256(path) for path in _files_in(folder)}
        self._let_go(folder)
        shutil.rmtree(folder)
        blobs = [str(path) for h in hashes for path in Path(self._blob(h)).parent.glob(f"{h}*")]
        return 1 + sum(self._drop(path) for path in blobs)

    def _drop(self, path: str) -> bool:
        """Deletes a file, in use or not; whether it was there."""
        self._let_go(path)
        try:
            os.unlink(path)
        except FileNotFoundError:
            return False
        return True

    def _let_go(self, path: str) -> None:
        with self._lock:
            if path in self._held:
                os.close(self._held.pop(path))

    def _added(self, size: int) -> None:
        with self._lock:
            due = self._unchecked is None or self._unchecked + size > max(self.limit // 20, 1)
            self._unchecked = 0 if due else (self._unchecked or 0) + size
        if due:
            self.trim()

    def _note(self, key: str, text: str) -> None:
        entry = self._entry(key)
        self._make(os.path.dirname(entry))
        try:
            os.symlink(text, entry)  # whole or not at all, in one step
        except FileExistsError:
            os.unlink(entry)
            with suppress(FileExistsError):  # another process was faster, and says the same
                os.symlink(text, entry)

    def trim(self) -> int:
        """Deletes what was longest unused until the cache is within its bound; returns the bytes that are left."""
        lock = os.open(self.root / "trim.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._sweep()
            while True:
                # A file that several names share counts in parts: it is gone when the last of them is.
                found = sorted(self._scan())
                total = sum(size for _, size, _ in found)
                if total <= self.limit:
                    return total
                deleted, left = False, total
                for _, size, path in found:
                    if left <= self.limit * 9 // 10:
                        break
                    if self._delete(path):
                        deleted, left = True, left - size
                if not deleted:  # all of it is in use
                    return total
        finally:
            os.close(lock)

    def _scan(self) -> Iterator[tuple[int, int, str]]:
        """(last used, bytes, path) of every blob and bundle."""
        for folder in (self.root / "blobs").glob("*"):
            for entry in os.scandir(folder):
                with suppress(FileNotFoundError):
                    info = entry.stat()
                    yield info.st_mtime_ns, info.st_size // max(info.st_nlink, 1), entry.path
        for folder in (self.root / "bundles").glob("*"):
            for entry in os.scandir(folder):
                with suppress(FileNotFoundError):
                    sizes = [info.st_size // max(info.st_nlink, 1) for info in map(os.stat, _files_in(entry.path))]
                    yield entry.stat().st_mtime_ns, sum(sizes), entry.path

    def _sweep(self) -> None:
        """Removes the bundles that killed processes were gathering."""
        for folder in (self.root / "partial").glob("bundle-*"):
            with suppress(FileNotFoundError):
                if folder.stat().st_mtime < time.time() - _ABANDONED:
                    shutil.rmtree(folder, ignore_errors=True)

    def release(self) -> None:
        """Lets go of every file that this process holds."""
        with self._lock:
            for fd in self._held.values():
                os.close(fd)
            self._held.clear()

    def _hold(self, path: str, size: int | None) -> bool:
        """Locks a blob or bundle against deletion. False if it is gone or was damaged."""
        with self._lock:
            if path in self._held:
                self._held.move_to_end(path)
                return True
        try:
            fd = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return False
        fcntl.flock(fd, fcntl.LOCK_SH)
        info = os.fstat(fd)
        there = _inode(path) == info.st_ino
        if not there or (size is not None and info.st_size != size):
            os.close(fd)  # deleted in this very moment, or cut short by a crash of the machine
            if there:
                os.unlink(path)
            return False
        with suppress(OSError):
            os.utime(path)
        self._keep(path, fd)
        return True

    def _keep(self, path: str, fd: int) -> None:
        with self._lock:
            if path in self._held:
                os.close(fd)
            else:
                self._held[path] = fd
            while len(self._held) > HELD:
                os.close(self._held.popitem(last=False)[1])

    def _delete(self, path: str) -> bool:
        try:
            fd = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.isdir(path):
                gone = tempfile.mkdtemp(prefix="bundle-", dir=self._partials())
                os.rename(path, f"{gone}/gone")  # in one step: nobody finds half a bundle
                shutil.rmtree(gone)
            else:
                Path(path).unlink(missing_ok=True)
        except BlockingIOError:
            return False
        finally:
            os.close(fd)
        return True

    def _blob(self, name: str) -> str:
        return f"{self._root}/blobs/{name[:1]}/{name}"

    def _bundle(self, key: str) -> str:
        digest = _digest(key)
        return f"{self._root}/bundles/{digest[:1]}/{digest}"

    def _partials(self) -> str:
        folder = f"{self._root}/partial"
        self._make(folder)
        return folder

    def _entry(self, key: str) -> str:
        digest = _digest(key)
        return f"{self._root}/urls/{digest[:1]}/{digest}"

    def _make(self, folder: str) -> None:
        if folder in self._made:
            return
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as e:
            raise DataengineError(explain(e, folder)) from e
        self._made.add(folder)


@functools.lru_cache(maxsize=1024)
def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:40]


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return None


def _file_sha256(path: str) -> str:
    with Path(path).open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _files_in(folder: str) -> Iterator[str]:
    for parent, _, names in os.walk(folder):
        yield from (f"{parent}/{name}" for name in names)
