"""plan/assets.parquet and corpus.yaml: read before planning again, and written so that a kill leaves no half of them.

corpus.yaml is removed first if it must change and is written last: a kill in between leaves a folder that is not
(yet) a corpus, never a plan and a config that disagree. The config is in the plan's metadata too, so that the next
`plan` still knows what the committed shards were made with.
"""

import hashlib
import io

import pyarrow as pa
import pyarrow.parquet as pq

from dataengine.corpus.config import CorpusConfig
from dataengine.corpus.corpus import CONFIG, PLAN
from dataengine.corpus.parquet import read_parquet
from dataengine.corpus.storage import Store
from dataengine.errors import DataengineError, UsageError

GROUP_ROWS = 8192  # rows of a Parquet row group, whole shards


def read_before(store: Store) -> tuple[CorpusConfig, pa.Table] | None:
    """The config and plan that are there, if any. The plan's own copy of the config counts: see the module's head.

    Raises:
        DataengineError: if the plan is damaged.
    """
    try:
        data = store.read(PLAN)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        table = read_parquet(data)
        text = table.schema.metadata[b"corpus.yaml"].decode()
    except (pa.ArrowException, KeyError, TypeError) as e:
        raise DataengineError(f"{store.url_of(PLAN)} is damaged: {e}; plan into a new folder") from e
    return CorpusConfig.from_yaml(text, store.url_of(PLAN)), table


def check_same(new: CorpusConfig, old: CorpusConfig, store: Store) -> None:
    """Shards are committed: what decides their bytes and rows must stay. Raises UsageError if it does not."""
    differing = []
    # Limits decide what fails, not what an asset looks like.
    was, now = (c.render.model_dump(mode="json", exclude=None if old.format == 1 else {"limits"}) for c in (old, new))
    for key in {**was, **now}:
        if was.get(key) != now.get(key):
            differing.append(f"{key} {was.get(key)} → {now.get(key)}")
    if old.shard_size != new.shard_size:
        differing.append(f"shard size {old.shard_size} → {new.shard_size}")
    for key in ("where", "limit", "sample", "guess_up"):
        if getattr(old, key) != getattr(new, key):
            differing.append(f"{key} {getattr(old, key)!r} → {getattr(new, key)!r}")
    gone = [s.spec for s in old.sources if s.spec not in {t.spec for t in new.sources}]
    if gone:
        differing.append(f"without source {', '.join(gone)}")
    if differing:
        raise UsageError(
            f"{store.url} has finished shards made with other settings ({'; '.join(differing)}); plan into a new folder"
        )


def write_plan(store: Store, config: CorpusConfig, table: pa.Table) -> None:
    """Writes both. Raises DataengineError if the store cannot be written."""
    text = config.to_yaml()
    buffer = io.BytesIO()
    schema = table.schema.with_metadata({"corpus.yaml": text})
    with pq.ParquetWriter(buffer, schema, compression="zstd", write_page_checksum=True) as writer:
        shards_a_group = max(GROUP_ROWS // config.shard_size, 1)
        for start, count in _row_groups(table, shards_a_group):
            writer.write_table(table.slice(start, count).replace_schema_metadata({"corpus.yaml": text}))
    plan_sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
    text = config.model_copy(update={"plan_sha256": plan_sha256}).to_yaml()
    try:
        current = store.read(CONFIG).decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        current = None
    if current is not None and current != text:
        store.delete(CONFIG)
    store.put(PLAN, buffer.getvalue())
    store.put(CONFIG, text.encode())


def _row_groups(table: pa.Table, shards_a_group: int) -> list[tuple[int, int]]:
    """(start, rows) of each row group: whole shards, so that a shard is found by the groups' statistics."""
    shard = table["shard"].combine_chunks().to_numpy(zero_copy_only=False)
    planned = int(table.num_rows - table["shard"].null_count)
    block = shard[:planned].astype("int64") // shards_a_group
    starts = [0, *((block[1:] != block[:-1]).nonzero()[0] + 1).tolist()] if planned else []
    starts += list(range(planned, table.num_rows, GROUP_ROWS))
    return [(a, b - a) for a, b in zip(starts, [*starts[1:], table.num_rows], strict=True)]
