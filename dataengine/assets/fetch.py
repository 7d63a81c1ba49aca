"""From a row of the plan to a file on local disk."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataengine.assets.facts import show
from dataengine.assets.local import file_sha256, local_root, local_uid
from dataengine.assets.paths import from_text, regular_file
from dataengine.config import Limits
from dataengine.errors import AssetFailure, ErrorCode


def fetch(row: Mapping[str, Any], cache: Path, limits: Limits) -> Path:
    """The asset's main file, its dependencies beside it.

    Args:
        row: of the plan.
        cache: folder for what must be downloaded; local sources are read where they lie.
        limits: of the corpus.

    Raises:
        AssetFailure: FETCH_404 if it is gone, SHA_MISMATCH if it is not what was planned, UNSAFE_PATH if it is no
            regular file, TOO_LARGE.
    """
    del cache
    return _check_local(row, limits)


def root_of(row: Mapping[str, Any]) -> Path:
    """The folder that the asset's references may not leave; what `preflight` wants as `root`."""
    return local_root(row["source"])


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
