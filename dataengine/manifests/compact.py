"""Compaction: thousands of fragments into few sorted Parquet files, while readers read.

    compact/assets-00000-<hash>.parquet     plan ⋈ the first view set of some shards, by (status, licence, face_count)
    compact/views-<set>-00000-….parquet     rows of some shards of another view set
    compact/tokens-<tokenizer>-00000-….parquet   tokens rows of some shards
    compact/uids-<hash>.parquet             uid → shard, row; sorted by uid in row groups of 20k: point look-ups
    compact/index.parquet                   put last: which file holds which shard's fragment, its version, and counts

The fragments stay the truth. A reader uses a compacted row only if its shard's fragment is still the version that the
index names, so files may be compacted at any time, by anybody, and a retry or a new shard is seen at once. A damaged
index is as good as none. Files that the index stops naming stay for an hour from then on, for readers that have just
read an older one; the index says since when.
"""

import io
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dataengine.corpus.corpus import PLAN, Corpus
from dataengine.corpus.fragments import fragment_name, list_all
from dataengine.corpus.parquet import read_parquet
from dataengine.corpus.shards import file_sha256
from dataengine.corpus.storage import Store
from dataengine.manifests import connection
from dataengine.manifests.first_look import look_at
from dataengine.manifests.guard import sql_errors
from dataengine.manifests.remote_files import CorpusFiles

FORMAT = 3
FOLDER = "compact"
TOKENS = "tokens/"
INDEX = f"{FOLDER}/index.parquet"
ASSETS_PER_FILE = 1_000_000
MEMORY_LIMIT = "4GB"  # of DuckDB while it joins and sorts one file's rows; beyond it spills to the temporary folder
GRACE = timedelta(hours=1)

SHARDS = pa.schema(
    [
        ("stage", pa.string()),
        ("shard", pa.int32()),
        ("file", pa.string()),
        ("version", pa.string()),  # of the fragment as listed; null = there was none
        ("made_from", pa.string()),  # the stage that it was made from; null: the plan
        ("input", pa.string()),
        ("fragment", pa.string()),  # the fragment's own hash
        ("spec", pa.string()),  # see schema.RESULT_TAIL
        ("ok", pa.int64()),  # what the fragment holds, for `status`: see sql/shards.sql
        ("failed", pa.int64()),
        ("views", pa.int64()),
        ("cpu_seconds", pa.float64()),
        ("finished_at", pa.timestamp("us", tz="UTC")),
        ("shard_input", pa.string()),  # the plan's; the views' stage only
        ("assets", pa.int64()),  # planned in the shard; the views' stage only
    ]
)


@dataclass(frozen=True)
class CompactIndex:
    """What compact/index.parquet says.

    Attributes:
        plan: version of the plan's file that was compacted.
        uids: name of the uid index.
        shards: rows of SHARDS, one per stage and shard that is covered.
        retired: files in the folder that it does not name, and since when no index does.
    """

    plan: str
    uids: str
    shards: pa.Table
    retired: Mapping[str, datetime] = field(default_factory=dict)

    @cached_property
    def stages(self) -> dict[str, dict[int, tuple[str, str | None]]]:
        """stage → shard → (file, version of the fragment)."""
        found: dict[str, dict[int, tuple[str, str | None]]] = {}
        columns = (self.shards[c].to_pylist() for c in ("stage", "shard", "file", "version"))
        for stage, shard, file, version in zip(*columns, strict=True):
            found.setdefault(stage, {})[shard] = (file, version)
        return found

    @cached_property
    def files(self) -> set[str]:
        return {self.uids, *self.shards["file"].unique().to_pylist()}


@dataclass(frozen=True)
class Part:
    """How to read a stage: compacted files without the changed shards, and the changed shards' fragments.

    Attributes:
        files: compacted files.
        changed: shards whose compacted rows no longer hold, or that were never compacted.
        present: those of `changed` that have a fragment.
    """

    files: list[str] = field(default_factory=list)
    changed: set[int] = field(default_factory=set)
    present: set[int] = field(default_factory=set)


def split(stage: str, listed: Mapping[int, str], index: CompactIndex | None) -> Part:
    """Which rows of a stage to take from where.

    Args:
        stage: its name.
        listed: shard → version of its fragment, as listed now.
        index: the index in force, if any.
    """
    covered = index.stages.get(stage, {}) if index else {}
    changed = {n for n, (_, version) in covered.items() if listed.get(n) != version} | (listed.keys() - covered.keys())
    files = {file for n, (file, _) in covered.items() if n not in changed}
    return Part(sorted(files), changed, changed & listed.keys())


def empty_rows(stage: str) -> str:
    """The connection's empty table with the columns that every fragment of such a stage has."""
    return (
        "no_views" if stage.partition("/")[0] == "views" else "no_tokens" if stage.startswith(TOKENS) else "no_results"
    )


def read_index(store: Store, plan: str | None) -> CompactIndex | None:
    """The index, or None if there is none, it is damaged, of another plan or format, or a file that it names is gone.

    Args:
        store: the corpus's.
        plan: version of the plan's file as listed now.
    """
    index = _read_index(store)
    if index is None or index.plan != plan or not index.files <= store.versions(FOLDER).keys():
        return None
    return index


def _read_index(store: Store) -> CompactIndex | None:
    """The index of whatever plan."""
    try:
        data = store.read(INDEX)
    except FileNotFoundError:
        return None
    try:
        table = read_parquet(data)
        head = json.loads(table.schema.metadata[b"dataengine"])
        if head["format"] != FORMAT:
            return None
        table = table.select(SHARDS.names).cast(SHARDS)
        table.validate(full=True)
        retired = {name: datetime.fromisoformat(since) for name, since in head.get("retired", {}).items()}
        return CompactIndex(head["plan"], head["uids"], table, retired)
    except (pa.ArrowException, KeyError, TypeError, ValueError, AttributeError):
        return None  # the fragments are the truth, and the next compaction writes another


@dataclass(frozen=True)
class Compacted:
    """What `compact` did."""

    shards: int
    files: int
    rewritten: int
    bytes: int


def compact(
    corpus: Corpus, *, assets_per_file: int = ASSETS_PER_FILE, progress: Callable[[str], None] = lambda _: None
) -> Compacted:
    """Compacts a corpus. Files whose shards did not change are kept, so that doing it often is cheap.

    Args:
        corpus: any corpus, also one that is being rendered.
        assets_per_file: how many planned assets to put into one file.
        progress: told of each file that was written.

    Raises:
        DataengineError: if the store cannot be read or written, or a fragment is damaged.
    """
    store = corpus.store
    store.check_writable()
    # Versions first, rows after: a fragment that is replaced in between is seen as changed by every reader.
    plan = store.versions("plan")[PLAN]
    listed = list_all(store)
    old = read_index(store, plan)
    if not corpus.shards():
        return Compacted(0, 0, 0, 0)
    with tempfile.TemporaryDirectory(prefix="dataengine-compact-") as folder, sql_errors():
        run = _Compaction(
            corpus, connection.connect(CorpusFiles(store), memory_limit=MEMORY_LIMIT), Path(folder), progress
        )
        index = run.index(plan, listed, old, assets_per_file)
    retired = _retired(store, index)
    now = datetime.now(UTC)
    kept = {name: since.isoformat() for name, since in retired.items() if now - since <= GRACE}
    buffer = io.BytesIO()
    head = {"format": FORMAT, "plan": plan, "uids": index.uids, "retired": kept}
    table = index.shards.replace_schema_metadata({"dataengine": json.dumps(head)})
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    store.put(INDEX, buffer.getvalue())
    for name in retired.keys() - kept.keys():
        store.delete(name)
    shards = len({n for part in index.stages.values() for n in part})
    return Compacted(shards, len(index.files), run.written, run.bytes)


def _retired(store: Store, index: CompactIndex) -> dict[str, datetime]:
    """The files that a new index does not name, and since when: now, unless the index in force says earlier.

    Files that no index has named are among them: another compaction is about to, or was killed before it could.
    """
    before = _read_index(store)
    now = datetime.now(UTC)
    unnamed = store.versions(FOLDER, hidden=True).keys() - index.files - {INDEX}
    return {name: before.retired.get(name, now) if before else now for name in unnamed}


class _Compaction:
    """One compaction: the connection and what it has written."""

    def __init__(
        self, corpus: Corpus, db: duckdb.DuckDBPyConnection, folder: Path, progress: Callable[[str], None]
    ) -> None:
        self.store = corpus.store
        self.stage = corpus.views_stage
        self.config = corpus.config
        self.db = db
        self.folder = folder
        self.progress = progress
        self.written = 0
        self.bytes = 0

    def index(
        self, plan: str, listed: Mapping[str, Mapping[int, str]], old: CompactIndex | None, per_file: int
    ) -> CompactIndex:
        source = connection.parquet(self.db, self.store, "plan_file", [PLAN])
        connection.put_table(self.db, "planned", self._planned(source))
        groups = self._groups(per_file)
        rows: list[pa.Table] = []
        for number, shards in enumerate(groups):
            rows.append(self._assets(number, shards, source, listed.get(self.stage, {}), old))
        for stage in listed:
            if stage != self.stage and (self.config.set_of(stage) or not stage.startswith("views")):
                for number, shards in enumerate(groups):
                    rows.append(self._derived(stage, number, shards, listed[stage], old))
        uids = (
            old.uids
            if old
            else self._write(
                "uids", f"SELECT uid, shard, row FROM {source} WHERE shard IS NOT NULL ORDER BY uid", row_group=20_480
            )
        )
        return CompactIndex(plan, uids, pa.concat_tables(rows))

    def _planned(self, source: str) -> pa.Table:
        return self.db.sql(
            f"SELECT shard, any_value(shard_input) AS shard_input, count(*) AS assets FROM {source} "
            "WHERE status = 'planned' GROUP BY shard ORDER BY shard"
        ).to_arrow_table()

    def _groups(self, per_file: int) -> list[list[int]]:
        """Consecutive shards, about `per_file` assets each."""
        groups: list[list[int]] = []
        room = 0
        for shard, assets in self.db.sql("SELECT shard, assets FROM planned ORDER BY shard").fetchall():
            if room < assets:
                groups.append([])
                room = max(per_file, assets)
            groups[-1].append(shard)
            room -= assets
        return groups

    def _kept(
        self, stage: str, shards: list[int], listed: Mapping[int, str], old: CompactIndex | None
    ) -> pa.Table | None:
        """The old index's rows of these shards, if one file holds just them and none has changed."""
        covered = old.stages.get(stage, {}) if old else {}
        files = {covered[n][0] for n in shards if n in covered}
        if old is None or len(files) != 1 or any(n not in covered or covered[n][1] != listed.get(n) for n in shards):
            return None
        (file,) = files
        rows = old.shards.filter(pc.equal(old.shards["file"], file))
        return rows if rows.num_rows == len(shards) else None

    def _assets(
        self, number: int, shards: list[int], source: str, listed: Mapping[int, str], old: CompactIndex | None
    ) -> pa.Table:
        kept = self._kept(self.stage, shards, listed, old)
        if kept is not None:
            return kept
        names = self._sound(self.stage, [n for n in shards if n in listed])
        rows = connection.parquet(self.db, self.store, "fragment_files", names) if names else "no_views"
        mine = f"shard BETWEEN {shards[0]} AND {shards[-1]}"
        mine += " OR shard IS NULL" if number == 0 else ""  # duplicates and the like
        self.db.execute(f"CREATE OR REPLACE VIEW plan_rows AS FROM {source} WHERE {mine}")
        self.db.execute(f"CREATE OR REPLACE VIEW view_rows AS FROM no_views UNION ALL BY NAME FROM {rows}")
        joined = connection.assets_of(self.config.sets[0], "plan_rows", "view_rows")
        order = "ORDER BY status, licence, face_count, shard, row"
        file = self._write(f"assets-{number:05d}", f"{joined} {order}")
        return self._covered(self.stage, file, shards, listed, "view_rows")

    def _derived(
        self, stage: str, number: int, shards: list[int], listed: Mapping[int, str], old: CompactIndex | None
    ) -> pa.Table:
        there = [n for n in shards if n in listed]
        if not there:
            return SHARDS.empty_table()
        kept = self._kept(stage, there, listed, old)
        if kept is not None:
            return kept
        rows = connection.parquet(self.db, self.store, "fragment_files", self._sound(stage, there))
        # With the empty table, fragments of an earlier version have all of today's columns too.
        empty = empty_rows(stage)
        file = self._write(f"{stage.replace('/', '-')}-{number:05d}", f"FROM {empty} UNION ALL BY NAME FROM {rows}")
        return self._covered(stage, file, there, listed, f"(FROM {empty} UNION ALL BY NAME FROM {rows})")

    def _sound(self, stage: str, shards: list[int]) -> list[str]:
        """The names of these fragments, each read whole first: a copy's hash will say that its bytes are right."""
        names = [fragment_name(stage, n) for n in shards]
        for name in names if self.store.local else ():  # buckets check what they keep
            look_at(self.store, name)
        return names

    def _covered(self, stage: str, file: str, shards: list[int], listed: Mapping[int, str], rows: str) -> pa.Table:
        versions = pa.table(
            {
                "shard": pa.array(shards, pa.int32()),
                "version": pa.array([listed.get(n) for n in shards], pa.string()),
            }
        )
        connection.put_table(self.db, "versions", versions)
        views = stage == self.stage
        plan = "shard_input, assets" if views else "NULL::VARCHAR AS shard_input, NULL::BIGINT AS assets"
        counts = stage.startswith(("views", TOKENS))
        held = connection.shards_of(rows, connection.quote(stage), views=counts)
        table: pa.Table = self.db.sql(
            f"""
            SELECT {connection.quote(stage)} AS stage, v.shard, {connection.quote(file)} AS file, v.version,
                f.made_from, f.input, f.fragment, f.spec, f.ok, f.failed, f.views, f.cpu_seconds, f.finished_at, {plan}
            FROM versions v
            LEFT JOIN planned p USING (shard)
            LEFT JOIN ({held}) f USING (shard)
            ORDER BY v.shard
            """
        ).to_arrow_table()
        return table.cast(SHARDS)

    def _write(self, stem: str, query: str, row_group: int = 122_880) -> str:
        path = self.folder / "rows.parquet"
        self.db.execute(
            f"COPY ({query}) TO {connection.quote(str(path))} "
            f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {row_group})"
        )
        name = f"{FOLDER}/{stem}-{file_sha256(path)[:16]}.parquet"
        self.store.put(name, path)
        self.written += 1
        self.bytes += path.stat().st_size
        self.progress(name)
        path.unlink()
        return name
