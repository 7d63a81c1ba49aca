"""Names of files: where an asset's references may lead, and odd names as text that Parquet can hold.

A reference is followed only to a regular file inside the asset's root: the folder that was given as the source, or
the main file's own folder. Blender itself follows any path: a glTF buffer `../../etc/passwd` becomes vertices.
"""

import filecmp
import functools
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote, unquote_to_bytes

from dataengine.model_files.model_info import malformed, show, unsafe

_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+:")  # two letters at least: C:\ is a drive
SEARCHED = 10_000  # files below a model's folder among which a texture that moved is looked for
_DRIVE = re.compile(r"^(?:[A-Za-z]:|//|\\\\)")
_GAZEBO = "../materials/textures"  # from meshes/, where a model's MTL names its textures by bare name
_missing: ContextVar[set[Path] | None] = ContextVar("_missing", default=None)


def is_folder_url(source: str) -> bool:
    """Whether a plan row's source is a folder behind a URL."""
    return "://" in source


@contextmanager
def noting_missing() -> Iterator[set[Path]]:
    """Collects the places inside the root where readers looked for a file that a model refers to and found none."""
    noted: set[Path] = set()
    token = _missing.set(noted)
    try:
        yield noted
    finally:
        _missing.reset(token)


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


def locate_uri(uri: str, folder: Path, root: Path) -> Path | None:
    """The file that a glTF URI names, or None if it is not there. A URI that is absolute or leaves root is refused."""
    if _SCHEME.match(uri):
        unsafe(f"refers to the URL {show(uri)}; only files beside the model are read")
    name = unquote(uri)
    if name.startswith(("/", "\\")) or _DRIVE.match(name) or _SCHEME.match(name):
        unsafe(f"refers to the absolute path {show(name)}")
    return _locate(name, folder, root, strict=True)


def locate_path(name: str, folder: Path, root: Path, *, strict: bool = True) -> Path | None:
    """The file that an OBJ, MTL, DAE, FBX or USD names, or None if it is not there.

    These formats are full of paths on their author's disk: an absolute path is refused only where it leads to
    something here. Then the bare name is looked for beside the model, and at last in the folders below: what is found
    is a dependency like any other, and Blender is told where it is.

    Args:
        strict: refuse a relative path that leaves root even if nothing is there. FBX writes such paths as a habit.
    """
    if name.lower().startswith("file:"):
        name = unquote(re.sub(r"^file:(//[^/]*)?", "", name, flags=re.IGNORECASE))
        name = name[1:] if re.match(r"^/[A-Za-z]:", name) else name
    name = name.strip().replace("\\", "/")
    if not name or _SCHEME.match(name):
        return None
    found = None if _DRIVE.match(name) else _locate(name, folder, root, strict=strict and not name.startswith("/"))
    bare = name.rsplit("/", 1)[-1]
    return (
        found
        or _locate(bare, folder, root, strict=False)
        or _beside_meshes(bare, folder, root)
        or _search(bare, folder)
    )


def _beside_meshes(name: str, folder: Path, root: Path) -> Path | None:
    target = Path(os.path.normpath(folder / _GAZEBO / name))
    return target if is_inside(str(target), root) and target.is_file() and not target.is_symlink() else None


def _search(name: str, folder: Path) -> Path | None:
    """The one file of that name below a folder; None too where several differ: any choice could be the wrong one."""
    found = _files_below(folder).get(name.lower(), [])
    if not found or not all(filecmp.cmp(found[0], other, shallow=False) for other in found[1:]):
        return None
    return found[0]


@functools.lru_cache(maxsize=64)
def _files_below(folder: Path) -> dict[str, list[Path]]:
    """Regular files by lower-case name, in order; nothing at all where there are too many to look through."""
    found: dict[str, list[Path]] = {}
    for count, path in enumerate(_walk(folder)):
        if count >= SEARCHED:
            return {}
        found.setdefault(path.name.lower(), []).append(path)
    return found


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(parent) / name
            if not path.is_symlink() and path.is_file():
                yield path


def _locate(name: str, folder: Path, root: Path, *, strict: bool) -> Path | None:
    if "\0" in name:
        malformed(f"refers to a name with a NUL byte: {show(name)}")
    target = os.path.normpath(folder / name)
    inside = is_inside(target, root)
    if not inside and strict:
        unsafe(f"refers to {show(name)}, which is outside {root}")
    try:
        there = os.path.lexists(target)
    except ValueError:
        malformed(f"refers to {show(name)}, which is no file name")
    if not there or Path(target).is_dir():
        noted = _missing.get()
        if noted is not None and inside and not there:
            noted.add(Path(target))
        return None
    if not inside:
        unsafe(f"refers to {show(name)}, which is outside {root}")
    try:
        regular_file(Path(target), root)
    except FileNotFoundError:
        return None
    return Path(target)
