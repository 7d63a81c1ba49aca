"""Models inside ZIP archives: `zip://MEMBER::ARCHIVE`, as fsspec writes it. ARCHIVE is a path or a URL."""

import functools
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from dataengine.corpus.config import Limits
from dataengine.corpus.storage import explain
from dataengine.download.dependencies import bundle_key
from dataengine.download.http import Downloader
from dataengine.download.wanted import Wanted
from dataengine.errors import AssetFailure, DataengineError, ErrorCode
from dataengine.model_files.model_info import show, too_large
from dataengine.model_files.paths import from_text, is_folder_url, to_text

MEMBERS = 10_000  # of one model


def zipped(archive: str | Path, member: str) -> str:
    """The URI of a member."""
    return f"zip://{member}::{archive if isinstance(archive, str) else to_text(archive)}"


def archive_of(row: Mapping[str, Any]) -> tuple[str, str] | None:
    """(archive, member) of a row whose model lies in a ZIP; None for any other."""
    if not str(row["uri"]).startswith("zip://") or is_folder_url(row["source"]):
        return None
    member, _, archive = str(row["uri"]).removeprefix("zip://").partition("::")
    return archive, member


def model_folder(member: str) -> str:
    """The folder of the archive that is the model's own, '' or with a slash at its end: Gazebo's have the OBJ in
    meshes/ and its textures in materials/."""
    folder = PurePosixPath(member).parent
    folder = folder.parent if folder.name == "meshes" else folder
    return "" if str(folder) == "." else f"{folder}/"


def path_inside(member: str) -> str:
    """The member's path below its model's own folder."""
    return member.removeprefix(model_folder(member))


def wanted_archive(archive: str, limits: Limits) -> Wanted:
    """The download of an archive."""
    return Wanted(archive, ".zip", max_bytes=limits.file_bytes, seconds=limits.wall_seconds)


def unpack(downloads: Downloader, row: Mapping[str, Any], archive: Path, limits: Limits) -> Path:
    """The model's files as a bundle of the cache; returns its main file.

    Raises:
        AssetFailure: FETCH_404 if the archive or the member is not there, MALFORMED, TOO_LARGE.
        DataengineError: if the cache cannot be written.
    """
    place = archive_of(row)
    assert place is not None
    member = place[1]
    folder = downloads.cache.begin_bundle()
    try:
        _extract(_opened(archive, archive.stat().st_mtime_ns), model_folder(member), folder, limits)
        if not (folder / path_inside(member)).is_file():
            raise AssetFailure(ErrorCode.FETCH_404, f"{archive.name} has no {show(member)}")
        return downloads.cache.adopt_bundle(bundle_key(row), folder) / path_inside(member)
    except FileNotFoundError as e:
        raise AssetFailure(ErrorCode.FETCH_404, f"{archive} is not there") from e
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as e:
        raise AssetFailure(ErrorCode.MALFORMED, f"{archive.name} is no ZIP archive that can be read: {e}") from e
    except OSError as e:
        raise DataengineError(explain(e, str(folder))) from e
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _extract(archive: zipfile.ZipFile, prefix: str, folder: Path, limits: Limits) -> None:
    members = [i for i in archive.infolist() if i.filename.startswith(prefix) and not i.is_dir()]
    if len(members) > MEMBERS:
        too_large(f"{len(members)} files in the archive (limit {MEMBERS})")
    left = limits.file_bytes
    if sum(i.file_size for i in members) > left:
        too_large(f"unpacks to over {left} bytes")
    for info in members:
        name = PurePosixPath(info.filename.removeprefix(prefix))
        if name.is_absolute() or ".." in name.parts:
            continue  # nothing that a model may refer to
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(info) as source, target.open("wb") as f:
            while block := source.read(1 << 20):
                left -= len(block)
                if left < 0:
                    too_large(f"unpacks to over {limits.file_bytes} bytes")
                f.write(block)


@functools.lru_cache(maxsize=4)
def _opened(path: Path, _: int) -> zipfile.ZipFile:
    """A big archive's list of members is read once. The handle may be shared: zipfile locks around its reads."""
    return zipfile.ZipFile(path)


def local_archive(archive: str) -> Path | None:
    """The archive's path where it is a file of this machine."""
    return None if "://" in archive else from_text(archive)
