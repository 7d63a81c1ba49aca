"""Fragments: the Parquet file whose existence commits a shard.

A fragment's file metadata (key `dataengine`, JSON) says what the rows cannot: the tar and its hash, the stage, what it
was made from, and the stage's own settings. A stage's name is a folder: `views`, `tokens/<tokenizer>`, `<kind>/<name>`.
"""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataengine.corpus.config import content_hash
from dataengine.corpus.parquet import ParquetRows, read_parquet
from dataengine.corpus.schema import VOLATILE, token_ranges
from dataengine.corpus.storage import Store
from dataengine.errors import DataengineError

FORMAT_VERSION = 2
_NO_STAGES = ("plan", "compact", "lights", "summaries")
_ROWS_SHA256 = "rows_sha256"  # of a fragment that was rewritten: over its rows and its head, `sha256` included
METADATA_BYTES = 64 << 10  # what Arrow reads first of a file's end; a fragment's metadata takes less


@dataclass(frozen=True)
class Fragment:
    """One committed shard of a stage.

    Attributes:
        stage: its name.
        shard: the shard's number.
        input: hash of what it was made from: the plan's `shard_input`, or the `sha256` of another stage's fragment.
        spec: hash of what else decides the results, such as the tokenizer; None where the input says it all.
        tar: name of the tar in the store, or None when no asset of the shard succeeded.
        tar_sha256: hash of the whole tar.
        settings: what the stage wants known of the whole shard (versions, tokenizer spec …).
        table: the rows, one per asset, in plan order.
        sha256: hash of this fragment, as it was made, without its volatile columns; what the next stage names as its
            input. It stays when the shard is rewritten with other captions or without some assets: no result changed.
    """

    stage: str
    shard: int
    input: str
    spec: str | None
    tar: str | None
    tar_sha256: str | None
    settings: Mapping[str, Any]
    table: pa.Table
    sha256: str
    head: Mapping[str, Any] = field(repr=False)  # the metadata as it stands, for `is_as_written`


def fragment_name(stage: str, shard: int) -> str:
    return f"{stage}/{shard:05d}.parquet"


def tar_name(stage: str, shard: int, sha256: str) -> str:
    return f"{stage}/{shard:05d}-{sha256[:16]}.tar"


def write_fragment(
    store: Store,
    stage: str,
    shard: int,
    *,
    schema: pa.Schema,
    input: str,
    made_from: str | None = None,
    spec: str | None = None,
    plan: str | None = None,
    tar: str | None,
    tar_sha256: str | None,
    settings: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
) -> Fragment:
    """Commits a shard: writes its rows atomically. The tar must be in the store already.

    Raises:
        DataengineError: if the store cannot be written.
    """
    more = {"made_from": made_from, "input": input, "fragment": None, "spec": spec}
    # what a stage has no column for falls away
    content = [{**r, **token_ranges(r.get("members") or ()), **more} for r in rows]
    table = pa.Table.from_pylist(content, schema=schema)
    head = {
        "format": FORMAT_VERSION,
        "stage": stage,
        "shard": shard,
        "made_from": made_from,
        "input": input,
        "spec": spec,
        "tar": tar,
        "tar_sha256": tar_sha256,
        "settings": dict(settings),
    }
    head["sha256"] = _content_hash(table, head)
    head["plan"] = plan  # a plan that grows changes no shard
    own = pa.array([head["sha256"]] * table.num_rows, pa.string())
    table = table.set_column(table.schema.get_field_index("fragment"), "fragment", own)
    return _put(store, head, table)


def rewrite_fragment(
    store: Store,
    fragment: Fragment,
    rows: Sequence[Mapping[str, Any]],
    *,
    input: str,
    tar: str | None,
    tar_sha256: str | None,
) -> Fragment:
    """Puts other rows in the place of a fragment's, of the same results: its hash stays, so that nothing becomes stale.

    Args:
        fragment: that is there.
        rows: in its schema, with the byte ranges of the new tar.
        input: what it names as the hash of what it was made from.
        tar, tar_sha256: the tar that holds the rows' members, which must be in the store already.

    Raises:
        DataengineError: if the store cannot be written.
    """
    content = [{**r, **token_ranges(r["members"] or ()), "tar": tar, "input": input} for r in rows]
    table = pa.Table.from_pylist(content, schema=fragment.table.schema.remove_metadata())
    head = {**fragment.head, "input": input, "tar": tar, "tar_sha256": tar_sha256}
    head[_ROWS_SHA256] = _content_hash(table, {k: v for k, v in head.items() if k not in (_ROWS_SHA256, "plan")})
    return _put(store, head, table)


def _put(store: Store, head: Mapping[str, Any], table: pa.Table) -> Fragment:
    table = table.replace_schema_metadata({"dataengine": json.dumps(head, sort_keys=True)})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    store.put(fragment_name(head["stage"], head["shard"]), buffer.getvalue())
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
    if head["format"] not in (1, FORMAT_VERSION):
        raise DataengineError(f"{where} has format {head['format']}, this dataengine reads 1 to {FORMAT_VERSION}")
    return head


def list_fragments(store: Store, stage: str) -> dict[int, str]:
    """The shards of a stage that have a fragment, and a token of each fragment's version (see `Store.versions`).

    A listing says that a fragment is there and whether it was replaced, never what it says: read it for that.
    """
    found = store.versions(stage, ".parquet")
    stems = ((name[len(stage) + 1 : -len(".parquet")], version) for name, version in found.items())
    return {int(stem): version for stem, version in stems if stem.isdecimal() and len(stem) >= 5}


def list_stages(store: Store) -> list[str]:
    """KIND/NAME of every stage that has a folder, views first; format 1 has its views in `views` itself."""
    return [name for name, _ in _stages(store)]


def list_all(store: Store) -> dict[str, dict[int, str]]:
    """Every stage with its `list_fragments`; each folder is listed once."""
    return {name: list_fragments(store, name) if listed is None else listed for name, listed in _stages(store)}


def _stages(store: Store) -> Iterator[tuple[str, dict[int, str] | None]]:
    """(stage, its fragments where they had to be listed to know that it is one)."""
    if listed := list_fragments(store, "views"):
        yield "views", listed
    for kind in sorted(store.folders(""), key=lambda kind: (kind != "views", kind)):
        if kind in ("views", "tokens"):
            yield from ((name, None) for name in store.folders(kind))
        elif kind not in _NO_STAGES and not store.exists(f"{kind}/corpus.yaml"):
            # Any other folder is a stage's only if it holds a fragment.
            yield from ((name, listed) for name in store.folders(kind) if (listed := list_fragments(store, name)))


def is_as_written(fragment: Fragment) -> bool:
    """Whether the rows are those that the fragment's hash was made of: its own, or that of its rewriting."""
    own = _ROWS_SHA256 if _ROWS_SHA256 in fragment.head else "sha256"
    head = {k: v for k, v in fragment.head.items() if k not in (own, "plan")}
    return bool(_content_hash(fragment.table, head) == fragment.head[own])


def _fragment(head: Mapping[str, Any], table: pa.Table) -> Fragment:
    settings = head["settings"]
    return Fragment(
        stage=head["stage"],
        shard=head["shard"],
        input=head["input"],
        spec=head["spec"] if "spec" in head else spec_hash(settings.get("tokenizer")),  # older ones do not say
        tar=head["tar"],
        tar_sha256=head["tar_sha256"],
        settings=settings,
        table=table,
        sha256=head["sha256"],
        head=head,
    )


def _content_hash(table: pa.Table, head: Mapping[str, Any]) -> str:
    stable = table.drop_columns([c for c in (*VOLATILE, "fragment") if c in table.column_names])
    text = json.dumps([head, stable.to_pylist()], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
