"""Rows of the plan whose files are on this machine: they are read where they lie, and are what was planned or fail."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dataengine.corpus.config import Limits
from dataengine.corpus.os_errors import explain, is_machine_fault
from dataengine.corpus.shards import file_sha256
from dataengine.download.asset_files import AssetFiles
from dataengine.errors import AssetFailure, DataengineError, ErrorCode
from dataengine.model_files.model_info import show
from dataengine.model_files.paths import from_text, regular_file


@dataclass(frozen=True)
class LocalFile:
    """A file of a folder that is a source.

    Attributes:
        path: of the main file.
        root: the source's folder.
        format: the plan's `format`.
        uid: as planned: of the main file's bytes and its dependencies'; None: it could not be read when it was planned.
        dependencies: names relative to the main file, as `to_text` writes them.
    """

    path: Path
    root: Path
    format: str
    uid: str | None
    dependencies: tuple[str, ...]

    def fetch(self, cache: Path, limits: Limits) -> AssetFiles:
        """The files, after a look at each: they are what was planned.

        Raises:
            AssetFailure: FETCH_404, SHA_MISMATCH, UNSAFE_PATH or TOO_LARGE.
        """
        files = {name: self.path.parent / from_text(name) for name in self.dependencies}
        try:
            size = regular_file(self.path, None).st_size
            if size > limits.file_bytes:
                raise AssetFailure(ErrorCode.TOO_LARGE, f"{size} bytes (limit {limits.file_bytes})")
            if self.uid is not None:
                for file in files.values():
                    regular_file(file, self.root)
                hashes = {name: file_sha256(file) for name, file in files.items()}
                if local_uid(self.format, file_sha256(self.path), hashes) != self.uid:
                    raise AssetFailure(
                        ErrorCode.SHA_MISMATCH,
                        "the file, or one that it refers to, has changed since it was planned; plan again",
                    )
        except FileNotFoundError as e:
            raise AssetFailure(ErrorCode.FETCH_404, f"{show(str(e.filename), 200)} is not there any more") from e
        except OSError as e:
            raise _unreadable(e, self.path) from e
        return AssetFiles(self.path, self.root, tuple(files.values()))


@dataclass(frozen=True)
class ListedFile:
    """A file that a list names.

    Attributes:
        path: of the file.
        folder: the list's own, where it must lie: Blender may read there.
        sha256: as the list has it.
    """

    path: Path
    folder: Path
    sha256: str | None

    def fetch(self, cache: Path, limits: Limits) -> AssetFiles:
        """The file, after a look at it.

        Raises:
            AssetFailure: FETCH_404, SHA_MISMATCH, UNSAFE_PATH or TOO_LARGE.
        """
        name = show(self.path.name)
        try:
            if regular_file(self.path, self.folder).st_size > limits.file_bytes:
                raise AssetFailure(ErrorCode.TOO_LARGE, f"{name} is over {limits.file_bytes} bytes")
            if self.sha256 is not None and file_sha256(self.path) != self.sha256:
                raise AssetFailure(ErrorCode.SHA_MISMATCH, f"the SHA-256 of {name} is not the list's")
        except OSError as e:
            raise _unreadable(e, self.path) from e
        return AssetFiles(self.path, self.path.parent)


def _unreadable(error: OSError, path: Path) -> DataengineError:
    """What it means that a file of this machine cannot be read: the asset's fault, or the machine's."""
    name = error.filename if isinstance(error.filename, str) else str(path)
    if is_machine_fault(error):
        return DataengineError(explain(error, name))
    return AssetFailure(ErrorCode.FETCH_404, f"{show(name, 200)} cannot be read: {error.strerror}")


def local_uid(format: str, sha256: str, dependencies: Mapping[str, str]) -> str:
    """The uid of a local asset: 32 hex digits over its importer, its bytes, and its dependencies' names and bytes."""
    digest = hashlib.sha256(f"{'gltf' if format == 'glb' else format}\n{sha256}\n".encode())
    for name in sorted(dependencies):
        digest.update(f"{name}\0{dependencies[name]}\n".encode())
    return digest.hexdigest()[:32]
