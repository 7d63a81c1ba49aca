"""Names of files: odd ones as text that Parquet can hold, and which may be opened."""

import os
import re
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


def regular_file(path: Path, root: Path | None) -> os.stat_result:
    """Checks that a file may be opened: regular, and inside `root` after every link is followed, or in the content
    store that the folder's links lead to.

    Args:
        path: of the file.
        root: None: a link may lead anywhere. For what a person named or listed, not for what a file refers to.

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
    if root is not None and not is_inside(os.path.realpath(path), Path(os.path.realpath(root))) and not in_store(path):
        unsafe(f"{show(path.name)} is a link that leaves {root}")
    return info


def in_store(link: Path) -> bool:
    """Whether a link leads into the content store of the tree that it stands in: the blobs of a Hugging Face cache
    (`snapshots/REVISION/…` → `blobs/…`), the objects of git-annex, a DVC cache. Programs made such links, not authors,
    and what lies there is named by its own hash."""
    here, there = os.path.abspath(link), os.path.realpath(link)  # noqa: PTH100 - the link itself, not its target
    if match := re.match(r"(.*)/blobs/[0-9a-f]{40,64}$", there):
        return is_inside(here, Path(match[1]) / "snapshots") or is_inside(_parents(here), Path(match[1]) / "snapshots")
    if match := re.match(r"(.*)/\.git/annex/objects/", there):
        return is_inside(_parents(here), Path(match[1]))
    return re.search(r"/md5/[0-9a-f]{2}/[0-9a-f]{30}$", there) is not None


def _parents(path: str) -> str:
    """The path with the links among its folders followed, but not its own."""
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))  # noqa: PTH118, PTH119, PTH120


def stores_of(root: Path) -> list[Path]:
    """The content stores that links in a folder may lead into, as far as they are there."""
    found = []
    for folder in [root, *root.parents]:
        found += [folder / name for name in (".git/annex/objects", ".dvc/cache") if (folder / name).is_dir()]
        if folder.name == "snapshots" and (folder.parent / "blobs").is_dir():
            found.append(folder.parent / "blobs")
    return found
