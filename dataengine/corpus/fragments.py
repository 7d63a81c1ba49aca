"""Fragments: the Parquet file whose existence commits a shard.

A fragment's file metadata (key `dataengine`, JSON) says what the rows cannot: the tar and its hash, the hash of what
it was made from (`input`), the stage, and the stage's own settings. A stage is `views` or `tokens/<tokenizer>`.
"""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataengine.corpus import schema
from dataengine.corpus.config import content_hash
from dataengine.corpus.parquet import ParquetRows, read_parquet
from dataengine.corpus.storage import Store
from dataengine.errors import DataengineError

FORMAT_VERSION = 1
METADATA_BYTES = 64 << 10  # what Arrow reads first of a file's end; a fragment's metadata takes less


@dataclass(frozen=True)
class Fragment:
    """One committed shard of a stage.

    Attributes:
        stage: `views` or `tokens/<tokenizer>`.
        shard: the shard's number.
        input: hash of what it was made from: the plan's `shard_input`, or the views fragment's `sha256`.
        tar: name of the tar in the store, or None when no asset of the shard succeeded.
        tar_sha256: hash of the whole tar.
        settings: what the stage wants known of the whole shard (versions, tokenizer spec …).
        table: the rows, one an asset, in plan order.
        sha256: hash of this fragment without its volatile columns; what the next stage names as its input.
    """

    stage: str
    shard: int
    input: str
    tar: str | None
    tar_sha256: str | None
    settings: Mapping[str, Any]
    table: pa.Table
    sha256: str


def fragment_name(stage: str, shard: int) -> str:
    return f"{stage}/{shard:05d}.parquet"


def tar_name(stage: str, shard: int, sha256: str) -> str:
    return f"{stage}/{shard:05d}-{sha256[:16]}.tar"


def write_fragment(
    store: Store,
    stage: str,
    shard: int,
    *,
    input: str,
    tar: str | None,
    tar_sha256: str | None,
    settings: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
) -> Fragment:
    """Commits a shard: writes its rows atomically. The tar must be in the store already.

    Raises:
        DataengineError: if the store cannot be written.
    """
    more = {"input": input, "fragment": None, "spec": spec_hash(settings.get("tokenizer"))}
    # what a stage has no column for falls away
    content = [{**r, **schema.token_ranges(r.get("members") or ()), **more} for r in rows]
    table = pa.Table.from_pylist(content, schema=_schema(stage))
    head = {
        "format": FORMAT_VERSION,
        "stage": stage,
        "shard": shard,
        "input": input,
        "tar": tar,
        "tar_sha256": tar_sha256,
        "settings": dict(settings),
    }
    head["sha256"] = _content_hash(table, head)
    own = pa.array([head["sha256"]] * table.num_rows, pa.string())
    table = table.set_column(table.schema.get_field_index("fragment"), "fragment", own)
    table = table.replace_schema_metadata({"dataengine": json.dumps(head, sort_keys=True)})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    store.put(fragment_name(stage, shard), buffer.getvalue())
    return _fragment(head, table)


def spec_hash(tokenizer: Mapping[str, Any] | None) -> str | None:
    """What the rows of a tokens shard say of their tokenizer, so that SQL sees which shards another one made."""
    return None if tokenizer is None else content_hash(tokenizer)


def read_fragment(store: Store, stage: str, shard: int) -> Fragment | None:
    """The shard's fragment, or None when the shard is not committed.

    Raises:
        DataengineError: if the file is there but is not a fragment that this version can read.
    """
    try:
        data = store.read(fragment_name(stage, shard))
    except FileNotFoundError:
        return None
    with _reading(store, stage, shard) as where:
        table = read_parquet(data)
        return _fragment(_head(table.schema.metadata, where), table)


def read_tar_name(store: Store, stage: str, shard: int) -> str | None:
    """The tar that the shard's fragment names, if any: the file's metadata is all that is read.

    Raises:
        DataengineError: as read_fragment.
    """
    try:
        file = store.open(fragment_name(stage, shard), METADATA_BYTES)
    except FileNotFoundError:
        return None
    with _reading(store, stage, shard) as where, file:
        tar: str | None = _head(ParquetRows(file).metadata, where)["tar"]
        return tar


@contextmanager
def _reading(store: Store, stage: str, shard: int) -> Iterator[str]:
    where = store.url_of(fragment_name(stage, shard))
    try:
        yield where
    except (pa.ArrowException, KeyError, TypeError, ValueError) as e:
        raise DataengineError(f"{where} is not a fragment: {e}") from e


def _head(metadata: Mapping[bytes, bytes], where: str) -> dict[str, Any]:
    head: dict[str, Any] = json.loads(metadata[b"dataengine"])
    if head["format"] != FORMAT_VERSION:
        raise DataengineError(f"{where} has format {head['format']}, this dataengine reads {FORMAT_VERSION}")
    return head


def list_fragments(store: Store, stage: str) -> dict[int, str]:
    """The shards of a stage that have a fragment, and a token of each fragment's version (see `Store.versions`).

    A listing says that a fragment is there and whether it was replaced, never what it says: read it for that.
    """
    found = store.versions(stage, ".parquet")
    stems = ((name[len(stage) + 1 : -len(".parquet")], version) for name, version in found.items())
    return {int(stem): version for stem, version in stems if stem.isdecimal() and len(stem) >= 5}


def list_stages(store: Store) -> list[str]:
    """`views`, and `tokens/<tokenizer>` for each tokenizer that has a folder."""
    return ["views", *store.folders("tokens")]


def recompute_hash(fragment: Fragment) -> str:
    """What `fragment.sha256` must be, from the rows themselves."""
    head = {
        "format": FORMAT_VERSION,
        "stage": fragment.stage,
        "shard": fragment.shard,
        "input": fragment.input,
        "tar": fragment.tar,
        "tar_sha256": fragment.tar_sha256,
        "settings": dict(fragment.settings),
    }
    return _content_hash(fragment.table, head)


def _fragment(head: Mapping[str, Any], table: pa.Table) -> Fragment:
    return Fragment(
        stage=head["stage"],
        shard=head["shard"],
        input=head["input"],
        tar=head["tar"],
        tar_sha256=head["tar_sha256"],
        settings=head["settings"],
        table=table,
        sha256=head["sha256"],
    )


def _schema(stage: str) -> pa.Schema:
    return schema.VIEWS if stage == "views" else schema.TOKENS


def _content_hash(table: pa.Table, head: Mapping[str, Any]) -> str:
    stable = table.drop_columns([c for c in (*schema.VOLATILE, "fragment") if c in table.column_names])
    text = json.dumps([head, stable.to_pylist()], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
