"""Ordinary pictures with captions, as img2dataset writes them: tars of `KEY.jpg` and `KEY.txt`, or a folder of those.

They are listed for a plan as models are. Each picture is read once for its hash, so the same picture in two tars is one
asset; a tar's pictures are read again by their byte range, `tar://NAME@OFFSET+SIZE::TAR`, without a scan.
"""

import hashlib
import re
import tarfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from dataengine.corpus.config import Limits
from dataengine.corpus.storage import Store
from dataengine.errors import AssetFailure, ErrorCode, UsageError
from dataengine.model_files.paths import from_text, to_text
from dataengine.sources.listing import SourceListing, assets_table

PICTURES = {".jpg": "jpg", ".jpeg": "jpg", ".png": "png", ".webp": "webp"}
PASSED_OVER = (".json", ".parquet")  # what img2dataset writes besides
CAPTION_BYTES = 64 << 10
CHUNK = 1 << 20
READERS = 8  # tars or files at once: hashing and reading wait for the disk or the network, not for the interpreter

_IN_TAR = re.compile(r"tar://(?P<name>.*)@(?P<offset>\d+)\+(?P<size>\d+)::(?P<tar>.+)", re.DOTALL)


@dataclass
class _Found:
    """What one tar, or one folder of files, holds.

    Attributes:
        pictures: by key, in order: the columns of its row that the bytes decide.
        captions: by key.
        twice: keys of pictures after the first of that key.
        other: files of other kinds, by extension.
        notes: what was wrong with it.
    """

    pictures: dict[str, dict[str, Any]] = field(default_factory=dict)
    captions: dict[str, str] = field(default_factory=dict)
    twice: list[str] = field(default_factory=list)
    other: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, uri: str, file: IO[bytes]) -> None:
        """Takes a file that is a picture or a caption, and counts any other."""
        key, dot, extension = name.rpartition(".")
        extension = f"{dot}{extension}".lower()
        if extension == ".txt":
            text = file.read(CAPTION_BYTES).decode("utf-8", "replace").strip()
            self.captions.setdefault(key, text)
        elif extension not in PICTURES:
            if extension not in PASSED_OVER:
                self.other[extension] += 1
        elif key in self.pictures:
            self.twice.append(key)
        else:
            digest, size = hashlib.sha256(), 0
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
            sha256 = digest.hexdigest()
            row = {"uri": uri, "path": name, "format": PICTURES[extension], "bytes": size, "sha256": sha256}
            self.pictures[key] = row


def find_pictures(place: str) -> SourceListing:
    """All pictures of a place, in the order of their tars and names.

    Args:
        place: a tar, a folder of tars or of pictures, or a pattern such as `s3://bucket/cc3m/*.tar`; local or any URL
            that fsspec knows.

    Raises:
        UsageError: if there is nothing, or no picture among what there is.
        DataengineError: if it cannot be read.
    """
    store, names = _listed(place)
    tars = [n for n in names if n.lower().endswith(".tar")]
    with ThreadPoolExecutor(READERS) as readers:
        if tars:
            found = list(readers.map(lambda name: _read_tar(store, name), tars))
        else:
            found = [_read_folder(store, names, readers)]
    spec = f"images:{store.url}" if len(tars) != 1 else f"images:{store.url_of(tars[0])}"
    rows = [
        {**row, "caption": part.captions.get(key) or None, "stem": key.rpartition("/")[2]}
        for part in found
        for key, row in part.pictures.items()
    ]
    notes = _notes(found, rows)
    if tars and len(tars) < len(names) and (beside := [n for n in names if _is_picture(n)]):
        notes.append(f"{len(beside)} pictures beside the tars (such as {to_text(beside[0])}) are left out")
    if not rows:
        raise UsageError(f"{place} holds no pictures (jpg, png, webp)" + "".join(f"; {note}" for note in notes))
    uids = [row["sha256"][:32] for row in rows]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    columns |= {"uid": uids, "group_id": uids, "source": [spec] * len(rows)}
    return SourceListing(spec, None, assets_table(columns), tuple(notes))


def read_picture(uri: str, limits: Limits) -> bytes:
    """The file of a picture, by the `uri` of its row.

    Raises:
        AssetFailure: FETCH_404 if its tar or file is gone, SHA_MISMATCH if that is shorter than it was, TOO_LARGE.
        DataengineError: if the store cannot be reached.
    """
    inside = _IN_TAR.fullmatch(uri)
    path = inside["tar"] if inside else uri
    folder, _, name = _plain(path).rpartition("/")
    store = _store(folder or "/")
    try:
        with store.open(name) as file:
            size = int(inside["size"]) if inside else _size(file)
            if size > limits.file_bytes:
                raise AssetFailure(ErrorCode.TOO_LARGE, f"has {size} bytes (limit {limits.file_bytes})")
            file.seek(int(inside["offset"]) if inside else 0)
            content = bytes(file.read(size))
    except FileNotFoundError as e:
        raise AssetFailure(ErrorCode.FETCH_404, f"{path} is not there") from e
    if len(content) < size:
        raise AssetFailure(ErrorCode.SHA_MISMATCH, f"{path} is shorter than when it was planned")
    return content


def _listed(place: str) -> tuple[Store, list[str]]:
    """The store that a place lies in, and the names of its files there, in order. Hidden ones are passed over."""
    if any(c in place for c in "*?["):
        root = re.split(r"[^/]*[*?\[]", place, maxsplit=1)[0] or "."
        store = Store(_absolute(root.rstrip("/") or "/"))
        paths = store.fs.glob(store.path(place[len(root) :]))
    else:
        store = Store(_absolute(place))
        if store.fs.isfile(store.root):
            folder, _, name = store.url.rpartition("/")
            return Store(folder or "/"), [name]
        paths = store.fs.find(store.root)
    names = [p[len(store.root.rstrip("/")) + 1 :] for p in paths]
    names = sorted(n for n in names if not any(part.startswith(".") for part in n.split("/")))
    if not names:
        raise UsageError(f"{place}: no such file, folder or pattern with files")
    return store, names


def _read_tar(store: Store, name: str) -> _Found:
    found = _Found()
    where = store.url_of(name)
    try:
        with store.open(name, CHUNK) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for info in tar:
                tar.members = []  # type: ignore[attr-defined]  # tarfile keeps every header it has seen
                content = tar.extractfile(info) if info.isreg() else None
                if content is None or info.name.rpartition("/")[2].startswith("."):
                    continue
                member = to_text(info.name)
                uri = f"tar://{member}@{info.offset_data}+{info.size}::{_uri(store, name)}"
                found.add(member, uri, content)
            file.seek(tar.offset)
            if len(file.read(tarfile.BLOCKSIZE)) < tarfile.BLOCKSIZE:
                found.notes.append(f"{where} has no end mark: it may have been cut short")
    except tarfile.TarError as e:
        found.notes.append(f"{where} cannot be read to its end ({e}): what stands before counts")
    return found


def _read_folder(store: Store, names: Sequence[str], readers: ThreadPoolExecutor) -> _Found:
    def read(name: str) -> _Found:
        one = _Found()
        with store.open(name) as file:
            one.add(to_text(name), _uri(store, name), file)
        return one

    found = _Found()
    for one in readers.map(read, names):
        for key, row in one.pictures.items():
            if key in found.pictures:
                found.twice.append(key)
            else:
                found.pictures[key] = row
        found.captions |= one.captions
        found.other += one.other
    return found


def _notes(found: Sequence[_Found], rows: Sequence[dict[str, Any]]) -> list[str]:
    notes = [note for part in found for note in part.notes]
    lonely = [key for part in found for key in part.captions if key not in part.pictures]
    twice = [key for part in found for key in part.twice]
    other = sum((part.other for part in found), Counter[str]())
    silent = sum(row["caption"] is None for row in rows)
    if twice:
        notes.append(f"{len(twice)} pictures have a key that came before (such as {twice[0]}): the first counts")
    if lonely:
        notes.append(f"{len(lonely)} captions have no picture (such as {lonely[0]}.txt)")
    if silent:
        notes.append(f"{silent} of {len(rows)} pictures have no caption")
    if other:
        kinds = ", ".join(f"{n} {extension or 'without extension'}" for extension, n in other.most_common(5))
        notes.append(f"{other.total()} files of other kinds are left out ({kinds})")
    return notes


def _is_picture(name: str) -> bool:
    return f".{name.rpartition('.')[2]}".lower() in PICTURES


def _absolute(place: str) -> str:
    return place if "://" in place else str(Path(place).expanduser().absolute())


def _uri(store: Store, name: str) -> str:
    url = store.url_of(name)
    return to_text(url) if store.local else url


def _plain(uri: str) -> str:
    return uri if "://" in uri else str(from_text(uri))


def _size(file: Any) -> int:
    size = file.seek(0, 2)
    return int(size if size is not None else file.tell())


@lru_cache(maxsize=64)
def _store(url: str) -> Store:
    return Store(url)
