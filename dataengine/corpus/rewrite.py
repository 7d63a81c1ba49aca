"""Shards that are written again from their own members: nothing is made anew.

Members are copied byte for byte, each checked against its hash on the way; what changes is which assets are in the tar,
and what their captions say. The commit rule holds: the tar first, under the name of its new content, then the fragment.
"""

import hashlib
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dataengine.corpus.fragments import Fragment, rewrite_fragment, tar_name
from dataengine.corpus.os_errors import explain
from dataengine.corpus.shards import WrittenShard, write_shard
from dataengine.corpus.storage import Store
from dataengine.errors import DataengineError

Row = Mapping[str, Any]


def read_group(store: Store, row: Row) -> dict[str, bytes]:
    """An asset's members by name. They follow each other in the tar, so one read gets them all.

    Raises:
        DataengineError: if the tar is missing, or a member is not what was written.
    """
    members = row["members"] or []
    if not members:
        return {}
    where = store.url_of(row["tar"])
    start = min(m["offset"] for m in members)
    end = max(m["offset"] + m["size"] for m in members)
    try:
        content = memoryview(store.read_range(row["tar"], start, end - start))
    except FileNotFoundError as e:
        raise DataengineError(f"{where} is named by the manifest but is not there") from e
    group = {}
    for m in members:
        data = bytes(content[m["offset"] - start : m["offset"] - start + m["size"]])
        if hashlib.sha256(data).hexdigest() != m["sha256"]:
            raise DataengineError(
                f"{where}: member {row['uid']}.{m['name']} has changed; `dataengine verify` says more"
            )
        group[m["name"]] = data
    return group


def put_tar(
    store: Store, stage: str, shard: int, groups: Iterable[tuple[str, Mapping[str, bytes]]]
) -> tuple[str | None, WrittenShard]:
    """Writes groups as a shard's tar and puts it into the store; its name there, None where there are no members.

    Raises:
        DataengineError: as `read_group`, or if the store or the temporary folder cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="dataengine-rewrite-") as folder:
            tar = write_shard(Path(folder) / "shard.tar", ((uid, files) for uid, files in groups if files))
            if not tar.members:
                return None, tar
            name = tar_name(stage, shard, tar.sha256)
            store.put(name, tar.path)  # also where it is there: a fresh one is not pruned before its fragment names it
            return name, tar
    except OSError as e:
        raise DataengineError(explain(e, tempfile.gettempdir())) from e


def with_ranges(rows: Iterable[Row], tar: WrittenShard) -> list[dict[str, Any]]:
    """Rows with the byte ranges that their members have in a tar."""
    return [{**row, "members": [m.as_row() for m in tar.members.get(row["uid"], [])]} for row in rows]


def rewrite_shard(
    store: Store,
    fragment: Fragment,
    rows: Sequence[Row],
    *,
    input: str | None = None,
    texts: Mapping[str, bytes] | None = None,
) -> Fragment:
    """Commits a shard again with some of its rows, and with other captions.

    Args:
        store: of the corpus.
        fragment: the shard's.
        rows: those of its rows that stay, as they are in it.
        input: what it names from now on as the hash of what it was made from; None: what it names already.
        texts: uid → what its member `txt` says from now on.

    Raises:
        DataengineError: if a member cannot be read or is not what was written, or the store cannot be written.
    """
    texts = texts or {}

    def groups() -> Iterable[tuple[str, Mapping[str, bytes]]]:
        for row in rows:
            group = read_group(store, row)
            if group and row["uid"] in texts:
                group["txt"] = texts[row["uid"]]
            yield row["uid"], group

    name, tar = put_tar(store, fragment.stage, fragment.shard, groups())
    return rewrite_fragment(
        store,
        fragment,
        with_ranges(rows, tar),
        input=fragment.input if input is None else input,
        tar=name,
        tar_sha256=tar.sha256 if name else None,
    )
