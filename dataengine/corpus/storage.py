"""Files of a corpus, on a local disk or any fsspec URL: atomic put, ranged get, retry with back-off."""

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from dataengine.corpus.os_errors import explain, is_final
from dataengine.corpus.ranged_file import RangedFile
from dataengine.errors import DataengineError, UsageError

T = TypeVar("T")

ATTEMPTS = 5
# Here one PUT replaces an object whole (s3fs and gcsfs complete a multipart upload only at its end).
# Everywhere else (sftp, hdfs …) a file appears while it is written, so it is written aside and renamed.
_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "memory"}
# What tells two versions of a file apart, as each backend's listing calls it.
_VERSION_KEYS = (
    "ETag",
    "etag",
    "generation",
    "md5Hash",
    "blob_id",
    "mtime",
    "created",
    "LastModified",
    "last_modified",
)


class Store:
    """A folder that holds a corpus. Paths are relative, with forward slashes.

    Args:
        url: a local folder or any URL that fsspec knows (s3://bucket/corpus, gs://…, memory://…); one of the Hub
            (hf://datasets/OWNER/NAME[@REVISION][/PATH]) can only be read.

    Raises:
        UsageError: if the URL's protocol is unknown or needs a package that is not installed.
    """

    def __init__(self, url: str | Path) -> None:
        self.fs: Any
        self.root: str
        self._read_only = str(url).startswith("hf://")
        if self._read_only:
            from dataengine.corpus.hub_files import HubFiles, root_of

            self.fs, self.root = HubFiles(), root_of(str(url))
        else:
            self.fs, self.root = _files(url)
        protocols = {self.fs.protocol} if isinstance(self.fs.protocol, str) else set(self.fs.protocol)
        self.local: bool = "file" in protocols
        self._put_is_atomic = bool(protocols & _OBJECT_STORES)
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

    def signed_url(self, name: str, seconds: int) -> str:
        """An https URL under which anybody can read a file for so long; a local file's is its path.

        Raises:
            DataengineError: if the store can make none.
        """
        if self.local:
            return self.url_of(name)
        try:
            return str(self.fs.sign(self.path(name), expiration=seconds))
        except NotImplementedError as e:
            raise DataengineError(f"{self.url}: this kind of store makes no signed URLs") from e

    def local_path(self, name: str) -> Path | None:
        """The file's path where the store is a local folder, else None."""
        return Path(self.path(name)) if self.local else None

    def check_writable(self) -> None:
        """Raises UsageError for a store that can only be read: asked before any work is done for it."""
        if self._read_only:
            raise UsageError(
                f"{self.url} can only be read: each put would be a commit there, and the Hub limits their rate; "
                "work on a folder or a bucket, and share it with `dataengine publish`"
            )

    def exists(self, name: str = "") -> bool:
        return bool(self._retry(lambda: self.fs.exists(self.path(name)), name))

    def list(self, folder: str) -> list[str]:
        """Names of the files directly in a folder, relative to the store, sorted; empty if there is no such folder."""
        return sorted(self.versions(folder))

    def versions(self, folder: str, suffix: str = "", *, hidden: bool = False) -> dict[str, str]:
        """The files directly in a folder and a token for each that differs when the file was replaced.

        Args:
            folder: relative to the store.
            suffix: how the names end.
            hidden: whether to name the temporary files too that a killed writer may have left.
        """
        entries = self._scan(folder, suffix) if self.local else self._retry(lambda: self._ls(folder, suffix), folder)
        return {f"{folder}/{name}": version for name, version in entries if hidden or not name.startswith(".")}

    def folders(self, folder: str) -> Sequence[str]:
        """Names of the folders directly in a folder (`""`: the store itself), relative to the store; empty if none."""

        def ls() -> Sequence[str]:
            try:
                entries = self.fs.ls(self.path(folder), detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return []
            names = [e["name"].rstrip("/").rsplit("/", 1)[-1] for e in entries if e["type"] == "directory"]
            return sorted(f"{folder}/{n}".lstrip("/") for n in names if not n.startswith("."))

        return self._retry(ls, folder)

    def _scan(self, folder: str, suffix: str) -> Sequence[tuple[str, str]]:
        """(name in the folder, version) of its files."""
        # fsspec looks at every entry in five ways; forty thousand fragments would take seconds.
        try:
            with os.scandir(self.path(folder)) as entries:
                files = [(e.name, e.stat()) for e in entries if e.name.endswith(suffix) and e.is_file()]
        except FileNotFoundError:
            return []
        except OSError as e:
            raise DataengineError(explain(e, self.url_of(folder))) from e
        return [(name, f"{stat.st_size}-{stat.st_mtime_ns}") for name, stat in files]

    def _ls(self, folder: str, suffix: str) -> Sequence[tuple[str, str]]:
        try:
            entries = self.fs.ls(self.path(folder), detail=True)
        except FileNotFoundError:
            return []
        files = [(e["name"].rstrip("/").rsplit("/", 1)[-1], e) for e in entries if e["type"] == "file"]
        return [
            (name, "-".join([str(e["size"]), *(str(e[k]) for k in _VERSION_KEYS if k in e)]))
            for name, e in files
            if name.endswith(suffix)
        ]

    def modified(self, name: str) -> datetime:
        """When a file was written, UTC. Raises FileNotFoundError if it is not there."""
        when: datetime = self._retry(lambda: self.fs.modified(self.path(name)), name)
        return when if when.tzinfo else when.replace(tzinfo=UTC)

    def read(self, name: str) -> bytes:
        """A whole file. Raises FileNotFoundError if it is not there."""
        return bytes(self._retry(lambda: self.fs.cat_file(self.path(name)), name))

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`. Raises FileNotFoundError, or DataengineError if the file is shorter."""
        if not size:
            return b""  # HTTP knows no empty range: a bucket would send the whole file
        data = bytes(self._retry(lambda: self.fs.cat_file(self.path(name), start=offset, end=offset + size), name))
        if len(data) != size:
            raise DataengineError(f"{self.url_of(name)} ends before byte {offset + size}")
        return data

    def open(self, name: str, block_size: int = 4 << 20) -> Any:
        """A file to read from start to end or here and there, a block at a time; it knows its `size`.

        Raises:
            FileNotFoundError: if it is not there.
            DataengineError: if it cannot be read, now or later.
        """
        if self.local:
            return self._retry(lambda: self.fs.open(self.path(name), "rb"), name)
        size = int(self._retry(lambda: self.fs.size(self.path(name)), name))
        return RangedFile(size, lambda offset, count: self.read_range(name, offset, count), block_size)

    def put(self, name: str, content: bytes | Path) -> None:
        """Writes a whole file atomically: readers see the old file or the new one, whole, never a part.

        Raises:
            DataengineError: in one line, when the store is full, read-only or out of reach. Nothing is left behind.
        """
        self.check_writable()
        if self.local:
            self._put_local(name, content)
            return
        try:
            if self._put_is_atomic:
                self._retry(lambda: self._upload(content, self.path(name)), name)
            else:
                self._retry(lambda: self._upload_aside(content, self.path(name)), name)
        except FileNotFoundError as e:  # of the target: a bucket that does not exist
            raise DataengineError(f"{self.url_of(name)} cannot be written: {e}") from e

    def _upload(self, content: bytes | Path, path: str) -> None:
        if isinstance(content, bytes):
            self.fs.pipe_file(path, content)
        else:
            self.fs.put_file(os.fspath(content), path)

    def _upload_aside(self, content: bytes | Path, path: str) -> None:
        folder, _, name = path.rpartition("/")
        aside = f"{folder}/.{name}.{uuid.uuid4().hex}.tmp"
        self.fs.makedirs(folder, exist_ok=True)
        try:
            self._upload(content, aside)
            self.fs.mv(aside, path)
        except BaseException:
            with suppress(OSError):
                self.fs.rm_file(aside)
            raise

    def delete(self, name: str) -> None:
        self.check_writable()
        with suppress(FileNotFoundError):
            self._retry(lambda: self.fs.rm_file(self.path(name)), name)

    def move(self, name: str, target: str) -> None:
        """Gives a file another name. Raises FileNotFoundError if it is not there."""
        self.check_writable()

        def mv() -> None:
            if self.local:
                Path(self.path(name)).replace(self.path(target))
            else:
                self.fs.mv(self.path(name), self.path(target))

        self._retry(mv, name)

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
            sync(target.parent)  # a tar must not be lost to a power cut that its fragment survives
        except OSError as e:
            if temporary is not None:
                temporary.unlink(missing_ok=True)
            raise DataengineError(explain(e, str(target))) from e

    def _retry(self, call: Callable[[], T], name: str) -> T:
        for attempt in range(ATTEMPTS):
            try:
                return call()
            except (FileNotFoundError, DataengineError):
                raise
            except OSError as e:
                if self.local or is_final(e) or attempt == ATTEMPTS - 1:
                    raise DataengineError(explain(e, self.url_of(name))) from e
                time.sleep(0.1 * 4**attempt)
            except Exception as e:  # each fsspec backend raises its own client's errors
                # On a local disk there is no such client, and what went wrong goes wrong again.
                if self.local or attempt == ATTEMPTS - 1 or "Credential" in type(e).__name__:
                    raise DataengineError(f"{self.url_of(name)}: {' '.join(str(e).split())}") from e
                time.sleep(0.1 * 4**attempt)
        raise AssertionError("unreachable")


def _files(url: str | Path) -> tuple[Any, str]:
    """The file system of a path or URL, and its own path of it."""
    import fsspec  # here: it takes longer to import than all of the command line

    try:
        # fsspec's listing cache would answer `info` (a file's size and ETag) from before another node's commit.
        found: tuple[Any, str] = fsspec.core.url_to_fs(os.fspath(url), use_listings_cache=False)
    except (ValueError, ImportError) as e:
        raise UsageError(f"cannot open {str(url)!r}: {e}") from e
    return found


def sync(path: Path) -> None:
    """Waits until a file, or a folder's list of names, is on the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
