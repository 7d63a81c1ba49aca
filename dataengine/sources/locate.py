"""From a row of the plan to a file on local disk."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dataengine.corpus.config import Limits
from dataengine.download.archives import archive_of, local_archive, path_inside, unpack, wanted_archive
from dataengine.download.cache import is_bundle
from dataengine.download.dependencies import Gathering, begin, bundle_key, finish, home_of, stands_alone
from dataengine.download.http import downloads_in
from dataengine.download.wanted import Wanted
from dataengine.errors import AssetFailure, ErrorCode
from dataengine.model_files.model_info import show
from dataengine.model_files.paths import from_text, is_folder_url, regular_file
from dataengine.sources.bucket import unchanged
from dataengine.sources.local import FOLDERS, file_sha256, local_root, local_uid
from dataengine.sources.url_lists import list_folder


def fetch(row: Mapping[str, Any], cache: Path, limits: Limits) -> Path:
    """The asset's main file, the files that it refers to around it.

    A local file is read where it lies. Another is downloaded, or found in the cache, where it stays until this process
    has fetched 64 more.

    Args:
        row: of the plan.
        cache: folder that keeps what is downloaded; safe to share between processes.
        limits: of the corpus.

    Raises:
        AssetFailure: FETCH_404, FETCH_TIMEOUT, FETCH_DENIED, SHA_MISMATCH, UNSAFE_PATH, TOO_LARGE or MALFORMED.
        DataengineError: if the cache cannot be written.
    """
    outcome: list[Path | AssetFailure] = []
    fetch_many([row], cache, limits, lambda _, found: outcome.append(found))
    if isinstance(outcome[0], AssetFailure):
        raise outcome[0]
    return outcome[0]


def fetch_many(
    rows: Sequence[Mapping[str, Any]],
    cache: Path,
    limits: Limits,
    done: Callable[[Mapping[str, Any], Path | AssetFailure], None],
    *,
    at_once: int = 64,
) -> None:
    """As `fetch`, many downloads at once; `done(row, main file or failure)` is called once for each row.

    Raises:
        DataengineError: if the cache cannot be written. What is fetched stays.
    """
    gatherings: list[Gathering] = []
    jobs: list[tuple[Mapping[str, Any], Wanted]] = []
    for row in rows:
        try:
            if not is_remote(row):
                done(row, _check_local(row, limits) if is_local(row) else _check_file(row, limits))
            elif (found := _gathered(row, cache)) is not None:
                done(row, found)
            elif (archive := _local_archive(row)) is not None:
                done(row, unpack(downloads_in(cache), row, archive, limits))
            else:
                jobs.append((row, wanted(row, limits)))
        except AssetFailure as e:
            done(row, e)

    def arrived(index: int, outcome: Path | AssetFailure) -> None:
        row = jobs[index][0]
        try:
            if isinstance(outcome, AssetFailure):
                done(row, outcome)
            elif archive_of(row) is not None:
                done(row, unpack(downloads_in(cache), row, outcome, limits))
            elif (home := home_of(row)) is not None and not stands_alone(outcome):
                gatherings.append(begin(downloads_in(cache), row, home, outcome, limits))
            else:
                done(row, outcome)
        except AssetFailure as e:
            done(row, e)

    if jobs:
        downloads_in(cache).get_many([w for _, w in jobs], arrived, at_once=at_once)
    if gatherings:
        finish(downloads_in(cache), gatherings, limits, lambda gathering, found: done(gathering.row, found))


def wanted(row: Mapping[str, Any], limits: Limits) -> Wanted:
    """The download that a row of a remote source stands for: its main file, or the archive that it lies in."""
    place = archive_of(row)
    if place is not None:
        return wanted_archive(place[0], limits)
    folder = is_folder_url(row["source"])
    return Wanted(
        url=row["uri"],
        suffix=_suffix(row),
        sha256=row["sha256"],
        max_bytes=limits.file_bytes,
        seconds=limits.wall_seconds,
        version=row["uid"] if folder else "",
        unchanged=unchanged(row) if folder else None,
    )


def is_local(row: Mapping[str, Any]) -> bool:
    """Whether a row comes from a local folder, with its dependencies planned."""
    return not is_remote(row) and str(row["source"]).partition(":")[0] in FOLDERS


def is_remote(row: Mapping[str, Any]) -> bool:
    """Whether a row's files have to be downloaded or unpacked."""
    return "://" in row["uri"]


def readable_folders(sources: Sequence[str]) -> list[Path]:
    """The folders of this machine in which the models of sources lie: what Blender must be allowed to read."""
    local = [local_root(s) for s in sources if s.partition(":")[0] in FOLDERS and s.partition(":")[2]]
    return local + [list_folder(s) for s in sources if s.startswith("csv:")]


def root_of(row: Mapping[str, Any], path: Path | None = None) -> Path | None:
    """The folder that the asset's references may not leave, as `preflight` wants it; None: the file's own.

    Args:
        row: of the plan.
        path: its main file as `fetch` gave it.
    """
    if is_local(row):
        return local_root(row["source"])
    inside = _path_in_bundle(row)
    if path is None or inside is None:
        return None
    root = path.parents[inside.count("/")]
    return root if is_bundle(root) else None


def companions(row: Mapping[str, Any], path: Path) -> list[Path]:
    """The files that came with an asset's main file: where Blender finds textures that are not where the file says."""
    root = root_of(row, path)
    if is_remote(row):
        return sorted(p for p in root.rglob("*") if p.is_file() and p != path) if root is not None else []
    return [path.parent / from_text(name) for name in row["dependencies"] or ()]


def _gathered(row: Mapping[str, Any], cache: Path) -> Path | None:
    """The main file of an asset of several files that the cache has whole."""
    inside = _path_in_bundle(row)
    folder = downloads_in(cache).cache.find_bundle(bundle_key(row)) if inside is not None else None
    return folder / inside if folder is not None and inside is not None else None


def _path_in_bundle(row: Mapping[str, Any]) -> str | None:
    """Where in its folder of the cache the main file of an asset of several files lies; None: it has no such folder."""
    place = archive_of(row)
    if place is not None:
        return path_inside(place[1])
    home = home_of(row)
    return home.path if home is not None else None


def _local_archive(row: Mapping[str, Any]) -> Path | None:
    place = archive_of(row)
    return local_archive(place[0]) if place is not None else None


def _suffix(row: Mapping[str, Any]) -> str:
    """Blender and the readers go by the extension; a USD has four."""
    extension = Path(urlsplit(str(row["uri"]).partition("::")[0]).path).suffix.lower()
    return extension if row["format"] == "usd" and extension else f".{row['format']}"


def _check_file(row: Mapping[str, Any], limits: Limits) -> Path:
    """A file on this machine that a list names: in the list's folder, where Blender may read it."""
    path = from_text(row["uri"])
    try:
        if regular_file(path, list_folder(row["source"])).st_size > limits.file_bytes:
            raise AssetFailure(ErrorCode.TOO_LARGE, f"{show(path.name)} is over {limits.file_bytes} bytes")
        if row["sha256"] is not None and file_sha256(path) != row["sha256"]:
            raise AssetFailure(ErrorCode.SHA_MISMATCH, f"the SHA-256 of {show(path.name)} is not the list's")
    except OSError as e:
        raise AssetFailure(ErrorCode.FETCH_404, f"{show(str(path), 200)} cannot be read: {e.strerror}") from e
    return path


def _check_local(row: Mapping[str, Any], limits: Limits) -> Path:
    path, root = from_text(row["uri"]), local_root(row["source"])
    try:
        size = regular_file(path, root).st_size
        if size > limits.file_bytes:
            raise AssetFailure(ErrorCode.TOO_LARGE, f"{size} bytes (limit {limits.file_bytes})")
        if row["sha256"] is None:  # it could not be read when it was planned
            return path
        dependencies = {}
        for name in row["dependencies"] or []:
            file = path.parent / from_text(name)
            regular_file(file, root)
            dependencies[name] = file_sha256(file)
        found = local_uid(row["format"], file_sha256(path), dependencies)
    except FileNotFoundError as e:
        raise AssetFailure(ErrorCode.FETCH_404, f"{show(str(e.filename), 200)} is not there any more") from e
    except OSError as e:
        raise AssetFailure(ErrorCode.FETCH_404, f"{show(str(e.filename), 200)} cannot be read: {e.strerror}") from e
    if found != row["uid"]:
        raise AssetFailure(
            ErrorCode.SHA_MISMATCH, "the file, or one that it refers to, has changed since it was planned; plan again"
        )
    return path
