"""Names of files: odd ones as text that Parquet can hold, and which may be opened."""

import os
import stat
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from dataengine.model_files.model_info import show, unsafe


def to_text(path: str | Path) -> str:
    """A path as the plan writes it: itself where it is printable text, else `file:` and percent-encoded bytes."""
    text = os.fspath(path)
    if text.isprintable() and not text.startswith("file:"):
        return text
    return "file:" + quote_from_bytes(os.fsencode(text))


def from_text(text: str) -> Path:
    """The inverse of `to_text`."""
    return Path(os.fsdecode(unquote_to_bytes(text[5:]))) if text.startswith("file:") else Path(text)


def is_inside(path: str, root: Path) -> bool:
    folder = os.fspath(root)
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def regular_file(path: Path, root: Path) -> os.stat_result:
    """Checks that a file may be opened: regular, and inside `root` after every link is followed.

    Raises:
        AssetFailure: UNSAFE_PATH.
        FileNotFoundError: if it is not there, or is a link to nothing.
    """
    try:
        info = path.stat()
    except FileNotFoundError:
        raise
    except OSError as e:  # a loop of links, a folder without permission
        unsafe(f"{show(path.name)} cannot be opened: {e.strerror}")
    if not stat.S_ISREG(info.st_mode):
        kind = "a folder" if stat.S_ISDIR(info.st_mode) else "no regular file"
        unsafe(f"{show(path.name)} is {kind}")
    if not is_inside(os.path.realpath(path), Path(os.path.realpath(root))):
        unsafe(f"{show(path.name)} is a link that leaves {root}")
    return info
