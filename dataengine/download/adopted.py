"""Models that the `objaverse` package has downloaded already: they are taken from its folder, `~/.objaverse`.

    hf-objaverse-v1/glbs/000-001/<uid>.glb     Objaverse 1.0, and Objaverse-XL's Sketchfab part
    smithsonian/objects/<uuid5 of URL>.glb     Objaverse-XL
    thingiverse/thing-<id>-file-<id>.stl
    github/repos/<org>/<repo>/…                repositories that were saved as files

The package keeps no record of what a file should be. One whose hash the plan knows is compared with it; a GLB says in
its head how long it is, and one that is cut short is left alone. Its lists are of no revision that one could name, so
`plan` reads those of the pinned one.
"""

import os
import re
import uuid
from functools import lru_cache
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from dataengine.download.hub import endpoint
from dataengine.download.partial import PartialFile
from dataengine.download.wanted import Wanted

_OBJAVERSE = "/datasets/allenai/objaverse/resolve/"
_THINGIVERSE = re.compile(r"^https://www\.thingiverse\.com/download:(\d+)$")
_THING = re.compile(r"^thing-\d+-file-(\d+)\.stl$")
_BLOCK = 1 << 20


def copy_adopted(wanted: Wanted, f: PartialFile) -> bool:
    """Fills a download from the package's folder; False if it has no such file, or another one.

    Raises:
        OSError: if the download cannot be written.
    """
    path = adopted(wanted)
    if path is None:
        return False
    try:
        with path.open("rb") as source:
            if os.fstat(source.fileno()).st_size > wanted.max_bytes or not _whole(path):
                return False
            f.clear()
            while block := source.read(_BLOCK):
                f.write(block)
    except FileNotFoundError:
        return False
    if wanted.sha256 is not None and f.digest() != wanted.sha256:
        f.clear()
        return False
    return True


def adopted(wanted: Wanted) -> Path | None:
    """Where the package would have put a file, if it is there."""
    folder = package_folder()
    hub = f"{endpoint()}{_OBJAVERSE}"
    if wanted.url.startswith(hub):
        path = unquote(wanted.url.removeprefix(hub).partition("/")[2])
        return _inside(folder / "hf-objaverse-v1", path) if path.startswith("glbs/") else None
    if wanted.sha256 is None:  # nothing would tell whether it is the file that is wanted
        return None
    if thing := _THINGIVERSE.match(wanted.url):
        return _things(folder / "thingiverse").get(thing[1])
    parts = urlsplit(wanted.url)
    if parts.netloc == "raw.githubusercontent.com":
        names = unquote(parts.path).lstrip("/").split("/")
        return _inside(folder / "github" / "repos", "/".join([*names[:2], *names[3:]]))  # without the commit
    return _inside(folder / "smithsonian" / "objects", f"{uuid.uuid5(uuid.NAMESPACE_DNS, wanted.url)}.glb")


def package_folder() -> Path:
    """Where the package keeps what it downloads."""
    import objaverse  # whose constant it is; its import takes a moment

    return Path(objaverse.BASE_PATH)


def _inside(folder: Path, path: str) -> Path | None:
    """A file below a folder; a list may be a stranger's."""
    if ".." in PurePosixPath(path).parts or path.startswith("/"):
        return None
    found = folder / path
    return found if found.is_file() else None


@lru_cache(maxsize=4)
def _things(folder: Path) -> dict[str, Path]:
    """File id → the file."""
    if not folder.is_dir():
        return {}
    return {match[1]: path for path in folder.iterdir() if (match := _THING.match(path.name))}


def _whole(path: Path) -> bool:
    if path.suffix != ".glb":
        return True
    with path.open("rb") as f:
        head = f.read(12)
    return head[:4] == b"glTF" and int.from_bytes(head[8:12], "little") == path.stat().st_size
