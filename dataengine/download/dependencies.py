"""Remote assets of several files: what a downloaded model refers to is fetched from beside it.

The main file is put into an empty folder under the path that it has at home, the format's own reader says which files
it looks for and does not find, these are fetched, and so on until nothing is missing that is to be had: an OBJ names
its MTL, which names its textures. References lead nowhere but below the asset's home: a repository at its commit, a
bucket's folder, the folder of a list's URL. A file that is not there is left out: Blender's complaint or `preflight`
says so; one that cannot be had just now fails the asset, so that `--retry` asks again.
"""

import errno
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from dataengine.corpus.config import Limits
from dataengine.corpus.storage import explain
from dataengine.download.http import Downloader
from dataengine.download.wanted import Wanted
from dataengine.errors import AssetFailure, DataengineError, ErrorCode
from dataengine.model_files.model_info import ModelInfo
from dataengine.model_files.paths import is_folder_url, noting_missing
from dataengine.model_files.preflight import examine

FORMATS = ("gltf", "glb", "obj", "fbx", "dae", "usd")
MOST = 512  # files of one asset
WAVES = 8  # files that name files that name files
_NOT_THERE = (ErrorCode.FETCH_404, ErrorCode.FETCH_DENIED)  # a bucket that hides its list denies what it lacks
_WHOLE = ("objaverse", "hssd", "abo")  # sources of GLB files that refer to nothing
_GITHUB_RAW = "raw.githubusercontent.com"


@dataclass(frozen=True)
class Home:
    """Where a remote asset's files lie.

    Attributes:
        url: of the folder that its references may not leave, with a slash at its end.
        path: of the main file below it.
    """

    url: str
    path: str

    def address(self, path: str) -> str:
        """The URL of a file below the folder."""
        head, mark, rest = self.url.partition("::")
        return f"{head}{quote(path) if head.startswith(('http://', 'https://')) else path}{mark}{rest}"


def home_of(row: Mapping[str, Any]) -> Home | None:
    """A remote row's home, or None if its format or source knows no files but the main one."""
    source, uri = str(row["source"]), str(row["uri"])
    if row["format"] not in FORMATS or source.partition(":")[0] in _WHOLE or "://" not in uri:
        return None
    if is_folder_url(source) and uri.startswith(source.partition("::")[0]):  # a folder of models
        path = uri.partition("::")[0][len(source.partition("::")[0]) :].lstrip("/")
        return Home(folder_url(source), unquote(path) if uri.startswith("http") else path)
    if not uri.startswith(("http://", "https://")):
        folder, _, name = uri.partition("::")[0].rpartition("/")
        return Home(f"{folder}/{uri[len(folder) + 1 + len(name) :]}", name) if name else None
    parts = urlsplit(uri)
    names = parts.path.lstrip("/").split("/")
    depth = 3 if parts.netloc == _GITHUB_RAW else len(names) - 1
    if parts.query or "." not in names[-1] or len(names) <= depth:  # an address that is not a path names no neighbours
        return None
    above = "".join(f"{name}/" for name in names[:depth])
    return Home(f"{parts.scheme}://{parts.netloc}/{above}", unquote("/".join(names[depth:])))


def stands_alone(main: Path) -> bool:
    """Whether a downloaded file is a GLB that names no other file, as nearly all are: it needs no folder of its own."""
    with main.open("rb") as f:
        head = f.read(20)
        if head[:4] != b"glTF" or len(head) < 20:
            return False
        return b'"uri"' not in f.read(int.from_bytes(head[12:16], "little"))


def folder_url(url: str) -> str:
    """With a slash at the end of its path: zip://models::s3://a/b.zip has two URLs in one."""
    head, mark, rest = url.partition("::")
    return f"{head if head.endswith('://') else head.rstrip('/') + '/'}{mark}{rest}"


@dataclass
class Gathering:
    """One asset's files on their way into one folder."""

    row: Mapping[str, Any]
    home: Home
    folder: Path
    left: int  # bytes that the asset may still have
    asked: set[Path] = field(default_factory=set)
    failure: AssetFailure | None = None

    @property
    def main(self) -> Path:
        return self.folder / self.home.path

    def add(self, target: Path, blob: Path) -> None:
        """Puts a downloaded file in its place."""
        self.left -= blob.stat().st_size
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            link(blob, target)
        except FileExistsError:
            return
        except OSError as e:  # a name that no file can have here: it stays away
            if target == self.main or e.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DataengineError(explain(e, str(target))) from e

    def missing(self, limits: Limits) -> list[Path]:
        """The files that the reader looks for now, and that were not asked for yet."""
        with noting_missing() as noted, suppress(AssetFailure):  # preflight says it when the asset's turn comes
            examine(self.main, self.row["format"], limits, self.folder, ModelInfo())
        found = sorted(noted - self.asked)[: MOST - len(self.asked)]
        self.asked.update(found)
        return found


def begin(downloads: Downloader, row: Mapping[str, Any], home: Home, main: Path, limits: Limits) -> Gathering:
    """Starts with the downloaded main file. Raises AssetFailure if its own path leaves its home."""
    if ".." in PurePosixPath(home.path).parts or home.path.startswith("/"):
        raise AssetFailure(ErrorCode.UNSAFE_PATH, f"{row['uri']} leaves its own folder")
    gathering = Gathering(row, home, downloads.cache.begin_bundle(), limits.file_bytes)
    gathering.add(gathering.main, main)
    return gathering


def finish(downloads: Downloader, gatherings: Sequence[Gathering], limits: Limits, done: Callable[..., None]) -> None:
    """Fetches what is missing, wave by wave; calls `done(gathering, main file or failure)` for each.

    Raises:
        DataengineError: if the cache cannot be written.
    """
    open_ = list(gatherings)
    for _ in range(WAVES):
        jobs = [(g, target) for g in open_ for target in g.missing(limits)]
        if not jobs:
            break

        def placed(index: int, outcome: Path | AssetFailure, jobs: list[tuple[Gathering, Path]] = jobs) -> None:
            gathering, target = jobs[index]
            if isinstance(outcome, Path):
                gathering.add(target, outcome)
            elif outcome.code not in _NOT_THERE:
                gathering.failure = outcome

        downloads.get_many([_wanted(g, target, limits) for g, target in jobs], placed)
        asked = {id(g) for g, _ in jobs}
        open_ = [g for g in open_ if id(g) in asked and g.failure is None]
    for gathering in gatherings:
        if gathering.failure is not None:
            shutil.rmtree(gathering.folder)
            done(gathering, gathering.failure)
        else:
            folder = downloads.cache.adopt_bundle(bundle_key(gathering.row), gathering.folder)
            done(gathering, folder / gathering.home.path)


def bundle_key(row: Mapping[str, Any]) -> str:
    """What the cache knows a row's bundle by."""
    return f"{row['uri']}\n{row['uid']}"


def _wanted(gathering: Gathering, target: Path, limits: Limits) -> Wanted:
    path = target.relative_to(gathering.folder).as_posix()
    return Wanted(
        gathering.home.address(path),
        target.suffix.lower(),
        max_bytes=max(gathering.left, 1),
        seconds=limits.wall_seconds,
        version=str(gathering.row["uid"]) if is_folder_url(gathering.row["source"]) else "",
    )


def link(source: Path, target: Path) -> None:
    """A second name for a file, or a copy where the file system knows no such thing."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        shutil.copyfile(source, target)
