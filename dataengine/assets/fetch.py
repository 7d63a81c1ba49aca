"""From a row of the plan to a file on local disk."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dataengine.assets.download import Wanted, downloads_in
from dataengine.assets.facts import show
from dataengine.assets.lists import list_folder
from dataengine.assets.local import file_sha256, local_root, local_uid
from dataengine.assets.paths import from_text, regular_file
from dataengine.config import Limits
from dataengine.errors import AssetFailure, ErrorCode


def fetch(row: Mapping[str, Any], cache: Path, limits: Limits) -> Path:
    """The asset's main file, its dependencies beside it.

    A local file is read where it lies. Another is downloaded, or found in the cache, where it stays until this process
    has fetched 64 more.

    Args:
        row: of the plan.
        cache: folder that keeps what is downloaded; safe to share between processes.
        limits: of the corpus.

    Raises:
        AssetFailure: FETCH_404, FETCH_TIMEOUT, FETCH_DENIED, SHA_MISMATCH, UNSAFE_PATH or TOO_LARGE.
        DataengineError: if the cache cannot be written.
    """
    if is_local(row):
        return _check_local(row, limits)
    if not is_remote(row):
        return _check_file(row, limits)
    return downloads_in(cache).get(wanted(row, limits))


def wanted(row: Mapping[str, Any], limits: Limits) -> Wanted:
    """The download that a row of a remote source stands for."""
    return Wanted(
        url=row["uri"],
        suffix=_suffix(row),
        sha256=row["sha256"],
        max_bytes=limits.file_bytes,
        seconds=limits.wall_seconds,
    )


def is_local(row: Mapping[str, Any]) -> bool:
    """Whether a row comes from a local folder, with its dependencies planned."""
    return str(row["source"]).startswith("local:")


def is_remote(row: Mapping[str, Any]) -> bool:
    """Whether a row's file has to be downloaded."""
    return "://" in row["uri"] and not is_local(row)


def readable_folders(sources: Sequence[str]) -> list[Path]:
    """The folders of this machine in which the models of sources lie: what Blender must be allowed to read."""
    local = [local_root(s) for s in sources if s.startswith("local:")]
    return local + [list_folder(s) for s in sources if s.startswith("csv:")]


def root_of(row: Mapping[str, Any]) -> Path | None:
    """The folder that the asset's references may not leave, as `preflight` wants it; None: the file's own."""
    return local_root(row["source"]) if is_local(row) else None


def _suffix(row: Mapping[str, Any]) -> str:
    """Blender and the readers go by the extension; a USD has four."""
    extension = Path(urlsplit(row["uri"]).path).suffix.lower()
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
