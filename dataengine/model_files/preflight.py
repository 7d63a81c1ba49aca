"""What can be refused before Blender sees a file: broken containers, dangerous paths, bombs.

Strict about danger, lenient about what Blender reads well. Every check is bounded: headers, one streamed pass, or
arrays inflated block by block. What only Blender can see is left to its process, which has limits of its own.
"""

from collections.abc import Callable
from pathlib import Path

from dataengine.corpus.config import Limits
from dataengine.errors import AssetFailure, ErrorCode
from dataengine.model_files.formats import blend, dae, fbx, gltf, obj, ply, stl, usd
from dataengine.model_files.model_info import ModelInfo, malformed, show, too_large, unsupported
from dataengine.model_files.paths import regular_file
from dataengine.model_files.references import FolderIndex, References

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
        AssetFailure: UNSAFE_PATH, TOO_LARGE, MALFORMED, UNSUPPORTED, or FETCH_404 for a buffer that is not there.
    """
    examine(path, format, limits, root or path.parent, ModelInfo())


def examine(
    path: Path, format: str, limits: Limits, root: Path, info: ModelInfo, index: FolderIndex | None = None
) -> None:
    """As `preflight`, and fills `info` with what the file declares, as far as the reader came.

    Args:
        index: to share between models of one folder that nobody changes meanwhile.
    """
    references = References(root, index)
    info.missing = references.missing
    try:
        size = regular_file(path, root).st_size
    except FileNotFoundError as e:
        raise AssetFailure(ErrorCode.FETCH_404, f"{show(path.name)} is not there") from e
    if size > limits.file_bytes:
        too_large(f"{size} bytes (limit {limits.file_bytes})")
    if format not in READERS:
        unsupported(f"format {show(format, 20)}")
    try:
        _check_disguise(path, size)
        READERS[format](path, references, limits, info)
    except RecursionError:
        malformed("nested too deeply")
    except (OSError, MemoryError) as e:
        raise AssetFailure(ErrorCode.MALFORMED, f"cannot be read: {e}") from e
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
