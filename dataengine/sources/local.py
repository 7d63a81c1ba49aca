"""Source `local:DIR`: a folder of models, in any depth.

Every file with a model's extension becomes a row, also one that cannot be used: what is wrong with it is said by the
row it becomes, not by its absence. Hidden files and folders are passed over; links to files are followed, links to
folders are not.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from dataengine import isolated
from dataengine.corpus.config import Limits
from dataengine.corpus.os_errors import explain, is_machine_fault
from dataengine.corpus.shards import file_sha256
from dataengine.download.archives import Member
from dataengine.errors import AssetFailure, DataengineError, UsageError
from dataengine.model_files.model_info import EXTENSIONS, ModelInfo
from dataengine.model_files.paths import from_text, regular_file, to_text
from dataengine.model_files.preflight import examine
from dataengine.model_files.references import FolderIndex
from dataengine.sources.listing import ASSETS, SourceListing
from dataengine.sources.local_file import LocalFile, local_uid
from dataengine.sources.remote import locate_member
from dataengine.sources.sidecar import read_sidecar
from dataengine.sources.source import Row, Source
from dataengine.sources.split_groups import group_ids

BATCH = 10_000
_INFO = ("face_count", "vertex_count", "material_count", "texture_count", "animation_count")


def find_local(
    folder: str, limits: Limits, kind: str = "local", wanted: Callable[[str], bool] = lambda name: True
) -> SourceListing:
    """All models under a folder, in the order of their paths' bytes.

    Args:
        folder: of this machine.
        limits: of the corpus.
        kind: the source's name.
        wanted: of a relative path: whether it is one of the source's models.

    Raises:
        UsageError: if the folder is missing, is no folder, or holds no model; if its CSV is wrong.
    """
    root = Path(os.path.abspath(Path(folder).expanduser()))  # noqa: PTH100 - the links in it stay as given
    _check_folder(root, folder)
    notes: list[str] = []
    files = sorted(filter(wanted, _walk(root, notes)), key=os.fsencode)
    if not files:
        detail = "holds no models" if any(root.iterdir()) else "is empty"
        raise UsageError(f"{root} {detail}; dataengine reads {', '.join(EXTENSIONS)}")
    spec = f"{kind}:{to_text(root)}"
    sidecar = read_sidecar(root)
    known = sidecar.rows
    notes += sidecar.notes
    # Textures are often shared: each is hashed once.
    sha256 = lru_cache(maxsize=1 << 16)(file_sha256)
    index = FolderIndex()
    fingerprints: list[str | None] = []
    batches = []
    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 8)) as pool:
        try:
            described = pool.map(lambda name: describe_file(root, name, spec, limits, sha256, index), files)
            while batch := list(islice(described, BATCH)):
                fingerprints += [fingerprint for _, fingerprint in batch]
                rows = [_with_sidecar(row, known.get(row["path"], {})) for row, _ in batch]
                batches.append(pa.Table.from_pylist(rows, schema=ASSETS))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            isolated.stop()  # so that the threads which wait for a reader end too
            raise
    table = pa.concat_tables(batches)
    groups = pa.array(group_ids(files, fingerprints, [sidecar.groups.get(to_text(n)) for n in files]), pa.string())
    table = table.set_column(table.schema.get_field_index("group_id"), "group_id", groups)
    if sidecar.name and (unused := len(known.keys() - set(table["path"].to_pylist()))):
        notes.append(f"{sidecar.name} also names {unused} files that are no models here")
    return SourceListing(spec, None, table, tuple(notes))


def find_file(file: Path, limits: Limits) -> SourceListing:
    """One model alone, as its folder's listing would have it but for what a CSV there says.

    Raises:
        UsageError: if there is no such file, or it is called like no model.
    """
    path = Path(os.path.abspath(file.expanduser()))  # noqa: PTH100 - the links in it stay as given
    if path.suffix.lower().removeprefix(".") not in EXTENSIONS:
        raise UsageError(f"{file} is not called like a model; dataengine reads {', '.join(EXTENSIONS)}")
    if not path.exists():
        raise UsageError(f"there is no file {file}")
    spec = f"local:{to_text(path.parent)}"
    row, fingerprint = describe_file(path.parent, path.name, spec, limits, file_sha256, FolderIndex())
    table = pa.Table.from_pylist([_with_sidecar(row, {})], schema=ASSETS)
    groups = pa.array(group_ids([path.name], [fingerprint], [None]), pa.string())
    return SourceListing(spec, None, table.set_column(table.schema.get_field_index("group_id"), "group_id", groups))


def _check_folder(root: Path, given: str) -> None:
    if not given:
        raise UsageError("local: needs a folder, as in local:models, or a URL, as in s3://bucket/models")
    try:
        exists, is_folder = root.exists(), root.is_dir()
        if is_folder:
            next(root.iterdir(), None)
    except OSError as e:
        raise UsageError(f"{root} cannot be read: {e.strerror}") from e
    if not exists:
        raise UsageError(f"there is no folder {root}")
    if not is_folder:
        raise UsageError(f"{root} is a file; give the folder that holds the models")


def _walk(root: Path, notes: list[str]) -> Iterator[str]:
    """Relative paths of everything that is called like a model."""
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            entries = list(os.scandir(root / folder))
        except OSError as e:
            notes.append(f"{to_text(folder)} was passed over: {e.strerror}")
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            name = f"{folder}/{entry.name}" if folder else entry.name
            is_folder = entry.is_dir(follow_symlinks=False)
            if is_folder:
                pending.append(name)
            if entry.name.rpartition(".")[2].lower() in EXTENSIONS and "." in entry.name:
                yield name  # a folder too: its row says why there is no model
            elif entry.is_symlink() and Path(entry.path).is_dir():
                notes.append(f"{to_text(name)} is a link to a folder and was not followed")


def _with_sidecar(row: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    if known.get("up"):
        return {**row, **known, "up_source": "source"}
    up = row.get("up")
    return {**row, **known, "up": up, "up_source": "guessed" if up else "format"}


def describe_file(
    root: Path, name: str, spec: str, limits: Limits, sha256: Callable[[Path], str], index: FolderIndex
) -> tuple[dict[str, Any], str | None]:
    """What a file says of itself as a row of ASSETS, and the fingerprint of its geometry (None: it cannot be read).

    Args:
        root: the folder that the file's references may not leave.
        name: of the file, relative to `root`.
        spec: the row's `source`.
        limits: of the corpus.
        sha256: of a file.
        index: of the folder.

    Raises:
        DataengineError: if this machine cannot read the file, through no fault of its own.
    """
    path = root / name
    row: dict[str, Any] = {
        "source": spec,
        "uri": to_text(path),
        "path": to_text(name),
        "stem": to_text(name.rpartition("/")[2].rpartition(".")[0]),
        "format": EXTENSIONS[name.rpartition(".")[2].lower()],
        "dependencies": [],
        "tags": [],
    }
    try:
        size = regular_file(path, None).st_size
        if size > limits.file_bytes:
            return {**row, "uid": nominal_uid(row["source"], row["path"], size), "bytes": size}, None
        row["format"] = _gltf_kind(path, row["format"])
        info = ModelInfo()
        with suppress(AssetFailure):  # preflight raises it again; here only what was declared matters
            examine(path, row["format"], limits, root, info, index)
        dependencies = {to_text(os.path.relpath(d, path.parent)): d for d in info.dependencies}
        digest = sha256(path)
        row |= {
            "uid": local_uid(row["format"], digest, {n: sha256(d) for n, d in dependencies.items()}),
            "sha256": digest,
            "bytes": size + sum(d.stat().st_size for d in dependencies.values()),
            "dependencies": sorted(dependencies),
            "up": info.guessed_up,
            **{name: getattr(info, name) for name in _INFO},
        }
        return row, info.fingerprint or digest
    except (AssetFailure, OSError) as e:
        if isinstance(e, OSError) and is_machine_fault(e):
            raise DataengineError(explain(e, str(path))) from e
        # No regular file, no permission: the row fails when it is fetched, and says why.
        return {**row, "uid": nominal_uid(row["source"], row["path"], None)}, None


def _gltf_kind(path: Path, format: str) -> str:
    """Blender tells .glb from .gltf by content; so does the plan, or a renamed copy would not be a duplicate."""
    if format not in ("glb", "gltf"):
        return format
    with path.open("rb") as f:
        return "glb" if f.read(4) == b"glTF" else "gltf"


def nominal_uid(source: str, name: str, size: int | None) -> str:
    """For a file whose bytes cannot be hashed, or not yet."""
    return hashlib.sha256(f"unread\n{source}\n{name}\n{size}".encode()).hexdigest()[:32]


def locate_local(row: Row) -> LocalFile | Member:
    """Of a folder of this machine, or of an archive."""
    if "://" in row["uri"]:
        return locate_member(row)
    _, _, folder = str(row["source"]).partition(":")
    uid = None if row["sha256"] is None else row["uid"]
    return LocalFile(from_text(row["uri"]), folder_of(folder), row["format"], uid, tuple(row["dependencies"] or ()))


def folder_of(path: str) -> Path:
    """The folder of a source as corpus.yaml names it; of one that is a file, the folder that it lies in."""
    found = from_text(path)
    return found.parent if found.is_file() else found


SOURCE = Source("local", "local:DIR", lambda folder, query: find_local(folder, query.limits), locate_local, folder_of)
