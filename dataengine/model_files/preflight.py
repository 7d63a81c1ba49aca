"""What can be refused before Blender sees a file: broken containers, dangerous paths, bombs.

Strict about danger, lenient about what Blender reads well. Every check is bounded: headers, one streamed pass, or
arrays inflated block by block; and it runs in a process that is killed when it is not (isolated.py). What only Blender
can see is left to its process, which has limits of its own.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dataengine import isolated
from dataengine.corpus.config import Limits
from dataengine.errors import AssetFailure, ErrorCode
from dataengine.model_files.formats import blend, dae, fbx, gltf, obj, ply, stl, usd
from dataengine.model_files.model_info import ModelInfo, malformed, show, too_large, unsupported
from dataengine.model_files.paths import regular_file
from dataengine.model_files.references import FolderIndex, References

DECLARED = (
    "face_count",
    "vertex_count",
    "material_count",
    "texture_count",
    "animation_count",
    "guessed_up",
    "fingerprint",
)
MOST = 2**63 - 1
Reader = Callable[[Path, References, Limits, ModelInfo], None]

READERS: dict[str, Reader] = {
    "glb": gltf.read,
    "gltf": gltf.read,
    "obj": obj.read,
    "fbx": fbx.read,
    "dae": dae.read,
    "stl": stl.read,
    "ply": ply.read,
    "usd": usd.read,
    "blend": blend.read,
}


def preflight(path: Path, format: str, limits: Limits, root: Path | None = None) -> None:
    """Checks a model file without Blender.

    Args:
        path: the main file.
        format: the plan's `format`.
        limits: of the corpus.
        root: the folder that references may not leave; None: the file's own folder.

    Raises:
        AssetFailure: UNSAFE_PATH, TOO_LARGE, MALFORMED, UNSUPPORTED, BAD_GEOMETRY, or FETCH_404 for a buffer that is
            not there.
    """
    examine(path, format, limits, root or path.parent, ModelInfo())


def examine(
    path: Path, format: str, limits: Limits, root: Path, info: ModelInfo, index: FolderIndex | None = None
) -> None:
    """As `preflight`, and fills `info` with what the file declares, as far as the reader came.

    Args:
        index: to share between models of one folder that nobody changes meanwhile.
    """
    found = isolated.call(
        f"{__name__}:examine_here",
        {
            "path": str(path),
            "format": format,
            "limits": limits.model_dump(),
            "root": str(root),
            "index": index.name if index else None,
        },
        cpu_seconds=limits.cpu_seconds,
        wall_seconds=limits.wall_seconds,
        memory_bytes=limits.memory_bytes,
    )
    for name in DECLARED:
        setattr(info, name, found[name])
    info.dependencies = {Path(name) for name in found["dependencies"]}
    info.missing = {Path(name) for name in found["missing"]}
    if found["failure"] is not None:
        code, message = found["failure"]
        raise AssetFailure(ErrorCode(code), message)


def examine_here(path: str, format: str, limits: Mapping[str, Any], root: str, index: str | None) -> dict[str, Any]:
    """What `examine` does, in the process that may be killed for it. A failure is returned, beside what was found.

    Raises:
        OSError, MemoryError, Exception: what reading the file ends in; see `isolated.call`.
    """
    info = ModelInfo()
    references = References(Path(root), _kept_index(index) if index else None)
    failure = None
    try:
        _examine(Path(path), format, Limits(**limits), references, info)
    except AssetFailure as e:
        failure = [e.code.value, e.message]
    return {
        **{name: _stored(getattr(info, name)) for name in DECLARED},
        "dependencies": sorted(map(str, info.dependencies)),
        "missing": sorted(map(str, references.missing)),
        "failure": failure,
    }


@functools.lru_cache(maxsize=4)
def _kept_index(_: str) -> FolderIndex:
    """This process's own index for a caller's."""
    return FolderIndex()


def _stored(value: Any) -> Any:
    """As a column of 64-bit integers can hold it: a file may declare any number."""
    return min(value, MOST) if isinstance(value, int) else value


def _examine(path: Path, format: str, limits: Limits, references: References, info: ModelInfo) -> None:
    try:
        size = regular_file(path, None).st_size
    except FileNotFoundError as e:
        raise AssetFailure(ErrorCode.FETCH_404, f"{show(path.name)} is not there") from e
    if size > limits.file_bytes:
        too_large(f"{size} bytes (limit {limits.file_bytes})")
    if not format:
        unsupported("no known format: its address has no extension, and the list no column `format` that says it")
    if format not in READERS:
        unsupported(f"format {show(format, 20)}")
    _check_disguise(path, size)
    READERS[format](path, references, limits, info)
    total = size + sum(d.stat().st_size for d in info.dependencies)
    if total > limits.file_bytes:
        too_large(f"{total} bytes with the files it refers to (limit {limits.file_bytes})")


def _check_disguise(path: Path, size: int) -> None:
    """What downloads leave behind under a model's name."""
    if not size:
        malformed("an empty file")
    with path.open("rb") as f:
        head = f.read(256).lstrip().lower()
    if head.startswith(b"version https://git-lfs"):
        malformed("a git-lfs pointer, not the model; run `git lfs pull` in its repository")
    if head.startswith((b"<!doctype html", b"<html")):
        malformed("an HTML page, not a model")
