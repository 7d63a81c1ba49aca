"""Removed assets in a folder that is no corpus: one that was published, exported, or copied for somebody.

Whatever is called after a uid is deleted. Tars lose its members, tables their rows, lists their entries; the rest of
each file stays as it is. What cannot be read that way and has the uid in it is told, and left.
"""

import csv
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dataengine.corpus.output import whole_file
from dataengine.corpus.parquet import read_parquet
from dataengine.errors import DataengineError, UsageError

_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 1 << 20


@dataclass
class Cleaned:
    """What was done to a folder.

    Attributes:
        deleted: files and folders that were called after a removed asset.
        changed: files that lost what they had of one.
        left: files that have the uid in them still: nothing here reads their kind.
    """

    deleted: list[Path] = field(default_factory=list)
    changed: list[Path] = field(default_factory=list)
    left: list[Path] = field(default_factory=list)


def clean_folder(folder: Path, uids: Set[str]) -> Cleaned:
    """Takes removed assets out of a folder; a kill costs the file in hand.

    Raises:
        UsageError: if there is no such folder, or it cannot be written.
        DataengineError: if a file is damaged.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder")
    done = Cleaned()
    for path in sorted(folder.rglob("*"), key=lambda p: (len(p.parts), p)):
        if not path.exists() and not path.is_symlink():
            continue  # gone with its folder
        if any(uid in path.name for uid in uids):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            done.deleted.append(path)
        elif path.is_file() and not path.is_symlink():
            change = _KINDS.get(path.suffix.lower())
            try:
                if change is not None and change(path, uids):
                    done.changed.append(path)
            except (pa.ArrowException, tarfile.TarError, UnicodeDecodeError, ValueError, csv.Error) as e:
                raise DataengineError(f"{path} cannot be read: {' '.join(str(e).split())}") from e
            if path.exists() and _mentions(path, uids):
                done.left.append(path)
    return done


def _tar(path: Path, uids: Set[str]) -> bool:
    """Copies the members that stay, headers and all."""
    with tarfile.open(path, "r:") as tar:
        infos = tar.getmembers()
    ends = [*(i.offset for i in infos[1:]), infos[-1].offset_data - -infos[-1].size // _BLOCK * _BLOCK if infos else 0]
    kept = [
        (info.offset, end)
        for info, end in zip(infos, ends, strict=False)
        if not any(uid in part for uid in uids for part in info.name.split("/"))
    ]
    if len(kept) == len(infos):
        return False
    size = sum(end - start for start, end in kept)
    with path.open("rb") as source, whole_file(path) as target:
        for start, end in kept:
            source.seek(start)
            for at in range(start, end, _CHUNK):
                target.write(source.read(min(_CHUNK, end - at)))
        target.write(bytes(2 * _BLOCK + -(size + 2 * _BLOCK) % tarfile.RECORDSIZE))
    return True


def _parquet(path: Path, uids: Set[str]) -> bool:
    table = read_parquet(path.read_bytes())
    named = pa.array([False] * table.num_rows)
    for column in table.columns:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            for uid in uids:
                named = pc.or_(named, pc.fill_null(pc.match_substring(column.combine_chunks(), uid), False))
    if not pc.any(named).as_py():
        return False
    with whole_file(path) as file:
        pq.write_table(table.filter(pc.invert(named)), file, compression="zstd", write_page_checksum=True)
    return True


def _json(path: Path, uids: Set[str]) -> bool:
    text = path.read_text(encoding="utf-8")
    if not any(uid in text for uid in uids):
        return False
    content = json.loads(text)
    if _is_of(content, uids):  # a record of the asset alone
        path.unlink()
        return True
    kept = _without(content, uids)
    indent = 1 if "\n" in text.strip() else None
    with whole_file(path) as file:
        file.write(json.dumps(kept, indent=indent, ensure_ascii=False).encode())
    return True


def _without(value: Any, uids: Set[str]) -> Any:
    """A JSON value without the entries whose key is, and the items that have, a uid."""
    if isinstance(value, dict):
        return {k: _without(v, uids) for k, v in value.items() if not _has(k, uids) and not _is_of(v, uids)}
    if isinstance(value, list):
        return [_without(v, uids) for v in value if not _is_of(v, uids)]
    return value


def _has(value: Any, uids: Set[str]) -> bool:
    return isinstance(value, str) and any(uid in value for uid in uids)


def _is_of(item: Any, uids: Set[str]) -> bool:
    """Whether a list's item is an asset's: its name, or a record in which a value has it."""
    return _has(item, uids) or (isinstance(item, dict) and any(_has(v, uids) for v in item.values()))


def _lines(path: Path, uids: Set[str]) -> bool:
    return _records(path, uids, lambda lines: ([line] for line in lines))


def _table(path: Path, uids: Set[str]) -> bool:
    """A row of a CSV may have several lines."""

    def rows(lines: Iterator[str]) -> Iterator[list[str]]:
        taken: list[str] = []

        def watched() -> Iterator[str]:
            for line in lines:
                taken.append(line)
                yield line

        for _ in csv.reader(watched()):
            yield taken.copy()
            taken.clear()

    return _records(path, uids, rows)


def _records(path: Path, uids: Set[str], split: Callable[[Iterator[str]], Iterator[list[str]]]) -> bool:
    if not _mentions(path, uids):
        return False
    with path.open(encoding="utf-8", newline="") as source, whole_file(path) as target:
        for record in split(iter(source)):
            text = "".join(record)
            if not any(uid in text for uid in uids):
                target.write(text.encode())
    return True


def _mentions(path: Path, uids: Set[str]) -> bool:
    wanted = [uid.encode() for uid in uids]
    longest = max(map(len, wanted), default=1)
    before = b""
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            if any(uid in before + block for uid in wanted):
                return True
            before = block[-longest:]
    return False


_KINDS: Mapping[str, Callable[[Path, Set[str]], bool]] = {
    ".tar": _tar,
    ".parquet": _parquet,
    ".json": _json,
    ".jsonl": _lines,
    ".txt": _lines,
    ".md": _lines,
    ".csv": _table,
    ".tsv": _table,
}
