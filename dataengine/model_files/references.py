"""What a model refers to: which file a name in it means, and where it may lead.

A reference is followed only to a regular file inside the asset's root: the folder that was given as the source, or
the main file's own folder. Blender itself follows any path: a glTF buffer `../../etc/passwd` becomes vertices.
"""

import filecmp
import os
import re
import uuid
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

from dataengine.model_files.model_info import malformed, show, unsafe
from dataengine.model_files.paths import in_store, is_inside, regular_file

SEARCHED = 10_000  # files below a model's folder among which a texture that moved is looked for
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+:")  # two letters at least: C:\ is a drive
_DRIVE = re.compile(r"^(?:[A-Za-z]:|//|\\\\)")
_GAZEBO = "../materials/textures"  # from meshes/, where a model's MTL names its textures by bare name


class FolderIndex:
    """The files below folders, by name; each folder is read once, so it serves while nothing changes there."""

    def __init__(self) -> None:
        self.name = uuid.uuid4().hex  # by which other processes know that it is the same one
        self._files_below = lru_cache(maxsize=64)(_files_below)

    def only(self, name: str, folder: Path) -> Path | None:
        """The one file of that name below a folder; None too where several differ: any choice could be wrong."""
        found = self._files_below(folder).get(name.lower(), [])
        if not found or not all(filecmp.cmp(found[0], other, shallow=False) for other in found[1:]):
            return None
        return found[0]


class References:
    """Finds the files that one model refers to.

    Args:
        root: the folder that they may not leave.
        index: of the folders, where several models lie in one.

    Attributes:
        missing: the places inside the root where a file was looked for and is not there.
    """

    def __init__(self, root: Path, index: FolderIndex | None = None) -> None:
        self.root = root
        self.missing: set[Path] = set()
        self._index = index or FolderIndex()

    def find_uri(self, uri: str, folder: Path) -> Path | None:
        """The file that a glTF URI names, or None if it is not there. A URI that is absolute or leaves root is refused.

        Args:
            folder: of the file that says so.

        Raises:
            AssetFailure: UNSAFE_PATH, or MALFORMED for what cannot be a name.
        """
        if _SCHEME.match(uri):
            unsafe(f"refers to the URL {show(uri)}; only files beside the model are read")
        name = unquote(uri)
        if name.startswith(("/", "\\")) or _DRIVE.match(name) or _SCHEME.match(name):
            unsafe(f"refers to the absolute path {show(name)}")
        return self._find(name, folder, strict=True)

    def find_image(self, uri: str, folder: Path) -> Path | None:
        """As `find_uri`, for an image, which the model can do without: an absolute path is its author's, so that the
        bare name is looked for instead, as in the other formats; so is an image whose name differs in case or place."""
        if _SCHEME.match(uri):
            unsafe(f"refers to the URL {show(uri)}; only files beside the model are read")
        return self.find_path(unquote(uri), folder)

    def find_path(self, name: str, folder: Path, *, strict: bool = True) -> Path | None:
        """The file that an OBJ, MTL, DAE, FBX or USD names, or None if it is not there.

        These formats are full of paths on their author's disk: an absolute path is refused only where it leads to
        something here. Then the bare name is looked for beside the model, and at last in the folders below: what is
        found is a dependency like any other, and Blender is told where it is.

        Args:
            folder: of the file that says so.
            strict: refuse a relative path that leaves root even if nothing is there. FBX writes such paths as a habit.

        Raises:
            AssetFailure: UNSAFE_PATH, or MALFORMED for what cannot be a name.
        """
        if name.lower().startswith("file:"):
            name = unquote(re.sub(r"^file:(//[^/]*)?", "", name, flags=re.IGNORECASE))
            name = name[1:] if re.match(r"^/[A-Za-z]:", name) else name
        name = name.strip().replace("\\", "/")
        if not name or _SCHEME.match(name):
            return None
        found = None if _DRIVE.match(name) else self._find(name, folder, strict=strict and not name.startswith("/"))
        bare = name.rsplit("/", 1)[-1]
        return (
            found
            or self._find(bare, folder, strict=False)
            or self._beside_meshes(bare, folder)
            or self._index.only(bare, folder)
        )

    def _beside_meshes(self, name: str, folder: Path) -> Path | None:
        target = Path(os.path.normpath(folder / _GAZEBO / name))
        return target if is_inside(str(target), self.root) and target.is_file() and not target.is_symlink() else None

    def _find(self, name: str, folder: Path, *, strict: bool) -> Path | None:
        if "\0" in name:
            malformed(f"refers to a name with a NUL byte: {show(name)}")
        target = os.path.normpath(folder / name)
        inside = is_inside(target, self.root)
        if not inside and strict:
            unsafe(f"refers to {show(name)}, which is outside {self.root}")
        try:
            there = os.path.lexists(target)
        except ValueError:
            malformed(f"refers to {show(name)}, which is no file name")
        if not there or Path(target).is_dir():
            if inside and not there:
                self.missing.add(Path(target))
            return None
        if not inside:
            unsafe(f"refers to {show(name)}, which is outside {self.root}")
        try:
            regular_file(Path(target), self.root)
        except FileNotFoundError:
            return None
        return Path(target)


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
            if path.is_file() and (not path.is_symlink() or in_store(path)):
                yield path
