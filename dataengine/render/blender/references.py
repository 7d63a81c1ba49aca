"""Files that a model refers to, found although the reference does not lead there as it stands."""

from collections.abc import Iterable
from pathlib import Path

BOM = b"\xef\xbb\xbf"


class Files:
    """The files that the asset is known to need, by name.

    Preflight finds them as people would: whatever the case of their names, from Windows paths and from paths on their
    author's disk by the bare name. Importers open the path that is written, so we write one that they can open.
    """

    def __init__(self, folder: Path, known: Iterable[str]) -> None:
        self.folder = folder
        self._known = {bare_name(name): Path(name) for name in sorted(known, reverse=True)}

    def as_written(self, name: str) -> bool:
        """Whether the path leads to a file as it stands."""
        return is_file(self.folder / name)

    def find(self, name: str) -> Path | None:
        """The file that a path names: where it leads, else the one among those known that has the same bare name."""
        plain = name.strip().strip('"').replace("\\", "/")
        if plain and not plain.startswith("/") and is_file(self.folder / plain):
            return self.folder / plain
        return self._known.get(bare_name(plain))


def is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def bare_name(path: str) -> str:
    """The last part of a path, POSIX or Windows, in lower case."""
    return path.replace("\\", "/").rsplit("/", 1)[-1].lower()


def lines_of(data: bytes) -> bytes:
    """Text without a byte-order mark, its lines ended by LF where they were ended by CR alone."""
    data = data.removeprefix(BOM)
    return data.replace(b"\r", b"\n") if b"\r" in data and b"\n" not in data else data
