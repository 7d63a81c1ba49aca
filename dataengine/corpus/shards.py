"""Shards: plain WebDataset tars with fixed headers, and the byte range and hash of each member.

The same members in the same order give the same bytes: mtime 0, user and group empty, mode 0444. Any WebDataset
reader takes the tars unchanged; `read_member` needs no scan because the manifest holds the ranges.
"""

import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataengine.corpus.storage import Store
from dataengine.errors import DataengineError

GAP = 64 << 10
"""Bytes that are cheaper to read and drop than to begin another request for what comes after them."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a shard.

    Attributes:
        name: the extension behind `<uid>.`, such as `00.rgba.png`.
        offset: first byte of the content in the tar.
        size: bytes of the content.
        sha256: hex digest of the content.
    """

    name: str
    offset: int
    size: int
    sha256: str

    def as_row(self) -> dict[str, str | int]:
        return {"name": self.name, "offset": self.offset, "size": self.size, "sha256": self.sha256}


@dataclass(frozen=True, slots=True)
class WrittenShard:
    """A finished tar on local disk. `members` maps a uid to its members in the tar's order."""

    path: Path
    sha256: str
    size: int
    members: dict[str, list[Member]]


def write_shard(path: Path, groups: Iterable[tuple[str, Mapping[str, bytes]]]) -> WrittenShard:
    """Writes a WebDataset tar.

    Args:
        path: where to write, on local disk.
        groups: (uid, {extension: content}) in the order of the shard. Members of a group are sorted by extension.

    Raises:
        OSError: if the disk is full or not writable.
        ValueError: if a uid has a dot or a slash, which would break WebDataset's grouping.
    """
    hashes: dict[str, str] = {}
    with path.open("wb") as f, tarfile.open(fileobj=f, mode="w|") as tar:
        for uid, files in groups:
            if "." in uid or "/" in uid:
                raise ValueError(f"uid {uid!r} must have neither dots nor slashes")
            for extension, content in sorted(files.items()):
                info = tarfile.TarInfo(f"{uid}.{extension}")
                info.size, info.mode = len(content), 0o444  # no owner, no time: the same members, the same bytes
                tar.addfile(info, io.BytesIO(content))
                hashes[info.name] = hashlib.sha256(content).hexdigest()
    members: dict[str, list[Member]] = {}
    for info in _infos(path):
        uid, extension = info.name.split(".", 1)
        member = Member(extension, info.offset_data, info.size, hashes[info.name])
        members.setdefault(uid, []).append(member)
    return WrittenShard(path, file_sha256(path), path.stat().st_size, members)


def _infos(path: Path) -> Iterator[tarfile.TarInfo]:
    with tarfile.open(path, "r:") as tar:
        yield from tar


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a local file."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def read_member(store: Store, tar: str, member: Mapping[str, Any]) -> bytes:
    """Reads one member by its range, and compares its hash.

    Args:
        store: where the shard lives.
        tar: the tar's name in the store, as in the fragment's `tar` column.
        member: a struct of the fragment's `members` column (name, offset, size, sha256).

    Raises:
        DataengineError: if the tar is missing, too short, or the bytes are not those that were written.
    """
    return read_members(store, tar, [member])[0]


def read_members(store: Store, tar: str, members: Sequence[Mapping[str, Any]]) -> list[bytes]:
    """Reads some members, those that lie near each other in one request, and compares their hashes.

    Args:
        store, tar: as `read_member`.
        members: in any order; their contents come back in the same.

    Raises:
        DataengineError: as `read_member`.
    """
    found: dict[int, bytes] = {}
    for near in _neighbours(members):
        start = near[0]["offset"]
        end = max(m["offset"] + m["size"] for m in near)
        try:
            data = memoryview(store.read_range(tar, start, end - start))
        except FileNotFoundError as e:
            raise DataengineError(f"{store.url_of(tar)} is named by the manifest but is not there") from e
        for member in near:
            content = bytes(data[member["offset"] - start :][: member["size"]])
            if hashlib.sha256(content).hexdigest() != member["sha256"]:
                raise DataengineError(
                    f"{store.url_of(tar)}: member {member['name']} at byte {member['offset']} has changed"
                )
            found[member["offset"]] = content
    return [found[m["offset"]] for m in members]


def _neighbours(members: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """By offset, in groups without a gap that is larger than what a request costs."""
    groups: list[list[Mapping[str, Any]]] = []
    end = -GAP - 1
    for member in sorted(members, key=lambda m: m["offset"]):
        if member["offset"] - end > GAP:
            groups.append([])
        groups[-1].append(member)
        end = member["offset"] + member["size"]
    return groups
