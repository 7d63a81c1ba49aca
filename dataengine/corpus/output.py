"""Files that a person asked for by name: they appear whole, or the old ones stay."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from dataengine.corpus.os_errors import explain
from dataengine.errors import UsageError


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to, which takes the place of `path` at the end of the block; an exception leaves `path` alone.

    Raises:
        UsageError: in one line, when the folder is missing or read-only, or the disk is full.
    """
    try:
        # A dot-file in the same folder: the same file system, so the rename is atomic.
        fd, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    except OSError as e:
        raise UsageError(explain(e, str(path))) from e
    try:
        with os.fdopen(fd, "wb") as file:
            yield file
        Path(name).chmod(0o644)  # mkstemp makes it private
        Path(name).replace(path)
    except OSError as e:
        raise UsageError(explain(e, str(path))) from e
    finally:
        Path(name).unlink(missing_ok=True)
