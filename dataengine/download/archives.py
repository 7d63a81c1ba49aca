"""Models inside ZIP archives: `zip://MEMBER::ARCHIVE`, as fsspec writes it. ARCHIVE is a path or a URL."""

import asyncio
import errno
import functools
import lzma
import os
import shutil
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dataengine import isolated
from dataengine.corpus.config import Limits
from dataengine.corpus.os_errors import explain
from dataengine.corpus.shards import file_sha256
from dataengine.download.asset_files import AssetFiles, Downloaded, files_below
from dataengine.download.cache import Cache
from dataengine.download.http import Downloader
from dataengine.download.wanted import Wanted
from dataengine.errors import AssetFailure, DataengineError, ErrorCode
from dataengine.model_files.model_info import malformed, show, too_large
from dataengine.model_files.paths import from_text, to_text

MEMBERS = 10_000  # of one model
DEPTH = 64  # folders
FAULTS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError, EOFError, ValueError)


@dataclass(frozen=True)
class Member(Downloaded):
    """A model inside a ZIP archive, unpacked into the cache with the files of its own folder.

    Attributes:
        archive: path (as `to_text` writes it) or URL.
        name: of the model in it.
        key: what the cache knows the unpacked model by.
        sha256: of the model, where it is known.
        from_list: whether a stranger may have written the archive's URL.
    """

    archive: str
    name: str
    key: str
    sha256: str | None = None
    from_list: bool = False

    async def download(self, downloads: Downloader, limits: Limits) -> AssetFiles:
        root = downloads.cache.find_bundle(self.key)
        if root is None:
            archive = await self._archive(downloads, limits)
            root = await asyncio.to_thread(self._unpack, downloads.cache, archive, limits)
        return files_below(root, path_inside(self.name))

    async def _archive(self, downloads: Downloader, limits: Limits) -> Path:
        if "://" not in self.archive:
            if self.from_list:  # a list names files beside itself, and an archive by its address
                raise AssetFailure(ErrorCode.UNSAFE_PATH, f"{show(self.archive)} is no address that a list may name")
            return from_text(self.archive)
        wanted = Wanted(
            self.archive,
            ".zip",
            max_bytes=limits.file_bytes,
            seconds=limits.wall_seconds,
            from_list=self.from_list,
        )
        return await downloads.fetch(wanted)

    def _unpack(self, cache: Cache, archive: Path, limits: Limits) -> Path:
        """The model's files as a bundle of the cache."""
        folder = cache.begin_bundle()
        try:
            main = extract(archive, self.name, folder, limits)
            if self.sha256 is not None and file_sha256(main) != self.sha256:
                message = f"{archive.name} has changed since it was planned; plan again"
                raise AssetFailure(ErrorCode.SHA_MISMATCH, message)
            return cache.adopt_bundle(self.key, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def zipped(archive: str | Path, member: str) -> str:
    """The URI of a member."""
    return f"zip://{member}::{archive if isinstance(archive, str) else to_text(archive)}"


def model_folder(member: str) -> str:
    """The folder of the archive that is the model's own, '' or with a slash at its end: Gazebo's have the OBJ in
    meshes/ and its textures in materials/."""
    folder = PurePosixPath(member).parent
    folder = folder.parent if folder.name == "meshes" else folder
    return "" if str(folder) == "." else f"{folder}/"


def path_inside(member: str) -> str:
    """The member's path below its model's own folder."""
    return member.removeprefix(model_folder(member))


def extract(archive: Path, member: str, folder: Path, limits: Limits) -> Path:
    """Unpacks what lies in a model's own folder of an archive; returns the model's main file.

    Args:
        archive: a ZIP.
        member: the main file's name in it.
        folder: where to, an empty folder.
        limits: of the corpus.

    Raises:
        AssetFailure: FETCH_404 if the archive or the member is not there, MALFORMED, TOO_LARGE.
        DataengineError: if the folder cannot be written.
    """
    isolated.call(
        f"{__name__}:extract_here",
        {
            "archive": os.fspath(archive),
            "prefix": model_folder(member),
            "folder": os.fspath(folder),
            "most_bytes": limits.file_bytes,
        },
        cpu_seconds=limits.cpu_seconds,
        wall_seconds=limits.wall_seconds,
        memory_bytes=limits.memory_bytes,
    )
    main = folder / path_inside(member)
    if not main.is_file():
        raise AssetFailure(ErrorCode.FETCH_404, f"{archive.name} has no {show(member)}")
    return main


def extract_here(archive: str, prefix: str, folder: str, most_bytes: int) -> None:
    """Unpacks the members below `prefix`, in the process that may be killed for it (see `isolated.call`).

    Raises:
        AssetFailure: FETCH_404 if the archive is not there, MALFORMED, TOO_LARGE.
        DataengineError: if the folder cannot be written.
    """
    path = Path(archive)
    try:
        opened = _opened(path, path.stat().st_mtime_ns)
    except FileNotFoundError as e:
        raise AssetFailure(ErrorCode.FETCH_404, f"{archive} is not there") from e
    except (zipfile.BadZipFile, NotImplementedError) as e:
        raise _broken(path, e) from e
    try:
        _extract(opened, prefix, Path(folder), most_bytes)
    except OSError as e:
        # Two members of one name, a name that is too long or a folder's: the archive's fault, for its folder was empty.
        if e.errno in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL):
            raise _broken(path, e) from e
        raise DataengineError(explain(e, folder)) from e
    except FAULTS as e:
        raise _broken(path, e) from e


def _broken(archive: Path, error: Exception) -> AssetFailure:
    words = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
    return AssetFailure(ErrorCode.MALFORMED, f"{archive.name} is no ZIP archive that can be unpacked: {words}")


def _extract(archive: zipfile.ZipFile, prefix: str, folder: Path, most_bytes: int) -> None:
    members = [i for i in archive.infolist() if i.filename.startswith(prefix) and not i.is_dir()]
    if len(members) > MEMBERS:
        too_large(f"{len(members)} files in the archive (limit {MEMBERS})")
    left = most_bytes
    if sum(i.file_size for i in members) > left:
        too_large(f"unpacks to over {left} bytes")
    for info in members:
        name = PurePosixPath(info.filename.removeprefix(prefix))
        if name.is_absolute() or ".." in name.parts:
            continue  # nothing that a model may refer to
        if len(name.parts) > DEPTH:
            malformed(f"a file in the archive lies {len(name.parts)} folders deep (limit {DEPTH})")
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(info) as source, target.open("wb") as f:
            while block := source.read(1 << 20):
                left -= len(block)
                if left < 0:
                    too_large(f"unpacks to over {most_bytes} bytes")
                f.write(block)


@functools.lru_cache(maxsize=4)
def _opened(path: Path, _: int) -> zipfile.ZipFile:
    """A big archive's list of members is read once. The handle may be shared: zipfile locks around its reads."""
    return zipfile.ZipFile(path)
