"""Finished assets wait here until their shard commits, so that a kill costs the assets in hand and no more.

The spool is local, disposable and keyed by what decides the result: losing it costs time, never correctness. Each
file begins with a digest of all that is in it, so that one which a disk or a power cut has damaged is not there.
Set DATAENGINE_SPOOL to choose the folder; the default is the user's cache folder.
"""

import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from dataengine.corpus.os_errors import explain
from dataengine.corpus.result import Result
from dataengine.corpus.spooled import NAME
from dataengine.errors import DataengineError
from dataengine.paths import spool_root

ROW = "row.json"
DIGEST_BYTES = 32  # SHA-256, before the tar


class Spool:
    """Results of one shard in the making.

    Args:
        key: names what the results depend on: another key never sees them.
        shard: which shard it is, for `status`: see corpus/spooled.py.
    """

    def __init__(self, key: str, shard: Mapping[str, Any] | None = None) -> None:
        self.key = key
        self.folder = spool_root() / key
        self._shard = shard

    def get(self, uid: str) -> Result | None:
        """A result that was finished before, or None. A damaged file counts as not there.

        Raises:
            DataengineError: in one line, if the disk fails.
        """
        path = self.folder / f"{uid}.tar"
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as e:
            raise DataengineError(explain(e, str(path))) from e
        digest, tar = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
        if digest != self._digest(uid, tar):
            return None
        return _unpacked(tar)

    def take(self, uid: str) -> Result:
        """A result that must be there.

        Raises:
            FileNotFoundError: if it is not: another run has committed the shard, and cleared what it was made of.
        """
        result = self.get(uid)
        if result is None:
            raise FileNotFoundError(self.folder / f"{uid}.tar")
        return result

    def put(self, uid: str, result: Result) -> None:
        """Keeps a result, atomically.

        Raises:
            DataengineError: in one line, if the disk is full or not writable.
        """
        try:
            try:
                self._put(uid, result)
            except FileNotFoundError:  # another run has committed the shard, and removed the folder under us
                self._put(uid, result)
        except OSError as e:
            raise DataengineError(explain(e, str(self.folder))) from e

    def _put(self, uid: str, result: Result) -> None:
        tar = _packed(result)
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._shard is not None and not (self.folder / NAME).exists():
            self._write(self.folder / NAME, json.dumps(self._shard).encode())
        self._write(self.folder / f"{uid}.tar", self._digest(uid, tar), tar)

    def _write(self, path: Path, *content: bytes) -> None:
        fd, name = tempfile.mkstemp(dir=self.folder, suffix=".tmp")
        try:
            with os.fdopen(fd, "wb") as f:
                f.writelines(content)
                f.flush()
                os.fsync(f.fileno())  # or a power cut leaves the name, and zeros behind it
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _digest(self, uid: str, tar: bytes) -> bytes:
        """Over everything that `get` gives, and over whose and what for it is."""
        return hashlib.sha256(f"{self.key}\0{uid}\0".encode() + tar).digest()

    def clear(self) -> None:
        """Forgets the shard's results: it has been committed."""
        # Another run of the same shard may be writing or clearing here too; what it leaves, it clears itself.
        shutil.rmtree(self.folder, ignore_errors=True)


def _packed(result: Result) -> bytes:
    """Row and members as a tar, which people can look into: `tail -c +33 UID.tar | tar t`."""
    buffer = io.BytesIO()
    row = json.dumps(result.row, default=_plain).encode()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for member, content in [(ROW, row), *result.members.items()]:
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _unpacked(content: bytes) -> Result:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
        files = {i.name: f.read() for i in tar if (f := tar.extractfile(i)) is not None}
    row = json.loads(files.pop(ROW))
    row["finished_at"] = datetime.fromisoformat(row["finished_at"])
    return Result(row, files)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} in a row")
