"""Remote assets of several files: what a downloaded model refers to is fetched from beside it.

The main file is put into an empty folder under the path that it has at home, the format's own reader says which files
it looks for and does not find, these are fetched, and so on until nothing is missing that can be fetched: an OBJ names
its MTL, which names its textures. References lead nowhere but below the asset's home: a repository at its commit, a
bucket's folder, the folder of a list's URL. A file that is not there is left out: Blender's complaint or `preflight`
says so; one that is unavailable just now fails the asset, so that `--retry` asks again.
"""

import asyncio
import errno
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit

from dataengine.corpus.config import Limits
from dataengine.corpus.os_errors import explain
from dataengine.download.asset_files import AssetFiles, Downloaded, Remote, files_below
from dataengine.download.http import Downloader, together
from dataengine.download.wanted import Wanted
from dataengine.errors import AssetFailure, DataengineError, ErrorCode
from dataengine.model_files.model_info import ModelInfo
from dataengine.model_files.preflight import examine

FORMATS = ("gltf", "glb", "obj", "fbx", "dae", "usd")  # that may refer to other files
MOST = 512  # files of one asset
DEPTH = 64  # folders below the asset's own
WAVES = 8  # files that name files that name files
_NOT_THERE = (ErrorCode.FETCH_404, ErrorCode.FETCH_DENIED)  # a bucket that hides its list denies what it lacks
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
        if self.url.startswith(("http://", "https://")):
            return f"{self.url}{quote(path)}"
        head, mark, rest = self.url.partition("::")
        return f"{head}{path}{mark}{rest}"


@dataclass(frozen=True)
class Bundle(Downloaded):
    """A file behind a URL, and the files that it refers to.

    Attributes:
        main: the file itself.
        home: where it and they lie.
        format: the plan's `format`.
        key: what the cache knows the bundle by.
    """

    main: Remote
    home: Home
    format: str
    key: str

    async def download(self, downloads: Downloader, limits: Limits) -> AssetFiles:
        root = downloads.cache.find_bundle(self.key)
        if root is None:
            main = await self.main.download_main(downloads, limits)
            if _stands_alone(main):
                return AssetFiles(main, main.parent)
            root = await self._gather(downloads, main, limits)
        return files_below(root, self.home.path)

    async def _gather(self, downloads: Downloader, main: Path, limits: Limits) -> Path:
        """Fetches what is missing, wave by wave, into a bundle of the cache."""
        if ".." in PurePosixPath(self.home.path).parts or self.home.path.startswith("/"):
            raise AssetFailure(ErrorCode.UNSAFE_PATH, f"{self.main.wanted.url} leaves its own folder")
        gathering = _Gathering(self, downloads.cache.begin_bundle(), limits)
        try:
            gathering.add(gathering.main, main)
            for _ in range(WAVES):
                missing = await asyncio.to_thread(gathering.missing)
                if not missing:
                    break
                # All of a wave end before one's failure is the asset's: what is fetched serves the retry.
                failures = await together([gathering.fetch(downloads, target) for target in missing])
                if failure := next(filter(None, failures), None):
                    raise failure
            return downloads.cache.adopt_bundle(self.key, gathering.folder)
        finally:
            shutil.rmtree(gathering.folder, ignore_errors=True)


def home_of(url: str) -> Home | None:
    """Where the file at an address is at home; None if it has no neighbours that have addresses."""
    if not url.startswith(("http://", "https://")):
        folder, _, name = url.partition("::")[0].rpartition("/")
        return Home(f"{folder}/{url[len(folder) + 1 + len(name) :]}", name) if name else None
    try:
        parts = urlsplit(url)
    except ValueError:  # no address; fetching it says so
        return None
    names = parts.path.lstrip("/").split("/")
    depth = 3 if parts.netloc == _GITHUB_RAW else len(names) - 1
    if parts.query or "." not in names[-1] or len(names) <= depth:  # an address that is not a path names no neighbours
        return None
    above = "".join(f"{name}/" for name in names[:depth])
    return Home(f"{parts.scheme}://{parts.netloc}/{above}", unquote("/".join(names[depth:])))


def _stands_alone(main: Path) -> bool:
    """Whether a downloaded file is a GLB that names no other file, as nearly all are: it needs no folder of its own."""
    with main.open("rb") as f:
        head = f.read(20)
        if head[:4] != b"glTF" or len(head) < 20:
            return False
        left, before = int.from_bytes(head[12:16], "little"), b""
        while left > 0 and (block := f.read(min(left, 1 << 20))):
            if b'"uri"' in before + block:
                return False
            left, before = left - len(block), block[-4:]
        return True


@dataclass
class _Gathering:
    """One asset's files on their way into one folder."""

    bundle: Bundle
    folder: Path
    limits: Limits
    asked: set[Path] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._left = self.limits.file_bytes  # bytes that the asset may still have

    @property
    def main(self) -> Path:
        return self.folder / self.bundle.home.path

    def add(self, target: Path, blob: Path) -> None:
        """Puts a downloaded file in its place."""
        self._left -= blob.stat().st_size
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _link(blob, target)
        except FileExistsError:
            return
        except OSError as e:  # a name that no file can have here: it stays away
            if target == self.main or e.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DataengineError(explain(e, str(target))) from e

    def missing(self) -> list[Path]:
        """The files that the reader looks for now, and that were not asked for yet."""
        info = ModelInfo()
        with suppress(AssetFailure):  # preflight says it when the asset's turn comes
            examine(self.main, self.bundle.format, self.limits, self.folder, info)
        near = {path for path in info.missing if len(path.relative_to(self.folder).parts) <= DEPTH}
        found = sorted(near - self.asked)[: MOST - len(self.asked)]
        self.asked.update(found)
        return found

    async def fetch(self, downloads: Downloader, target: Path) -> AssetFailure | None:
        """Fetches one file to its place; returns why it is unavailable just now."""
        path = target.relative_to(self.folder).as_posix()
        wanted = Wanted(
            self.bundle.home.address(path),
            target.suffix.lower(),
            max_bytes=max(self._left, 1),
            seconds=self.limits.wall_seconds,
            version=self.bundle.main.wanted.version,
            from_list=self.bundle.main.wanted.from_list,
        )
        try:
            self.add(target, await downloads.fetch(wanted))
        except AssetFailure as e:
            return None if e.code in _NOT_THERE else e
        return None


def _link(source: Path, target: Path) -> None:
    """A second name for a file, or a copy where the file system knows no such thing."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        shutil.copyfile(source, target)
