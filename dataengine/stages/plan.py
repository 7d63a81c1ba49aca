"""`plan`: sources, captions and a filter become plan/assets.parquet and corpus.yaml.

The work is done on columns by DuckDB: a million rows are seconds. A shard keeps its rows for ever once any shard of
the corpus is committed: planning again appends what is new, replaces a file that changed in its place, and leaves the
rest alone, so that finished shards stay finished.

corpus.yaml is removed first if it must change and is written last: a kill in between leaves a folder that is not
(yet) a corpus, never a plan and a config that disagree. The config is in the plan's metadata too, so that the next
`plan` still knows what the committed shards were made with.
"""

import difflib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from dataengine.corpus import schema
from dataengine.corpus.config import CorpusConfig, RenderConfig, SourceConfig, content_hash
from dataengine.corpus.corpus import CONFIG, PLAN
from dataengine.corpus.parquet import read_parquet
from dataengine.corpus.storage import Store
from dataengine.download.http import downloads_in
from dataengine.errors import DataengineError, UsageError
from dataengine.manifests.connection import scratch
from dataengine.paths import cache_root
from dataengine.sources.captions import load_captions, pin_captions
from dataengine.sources.licences import is_non_commercial
from dataengine.sources.listing import ASSETS, SourceListing, SourceQuery
from dataengine.sources.registry import find

GROUP_ROWS = 8192  # rows of a Parquet row group, whole shards
_HIDDEN = ("n",)  # the planner's own column
_ONLY_ASKED = ("path", "stem", "alias")
_KEPT = ", ".join(["n", *(f'"{name}"' for name in ASSETS.names if name not in _ONLY_ASKED), "split"])


@dataclass(frozen=True)
class PlanSummary:
    """What `plan` did, for the person who asked.

    Attributes:
        found: files in the sources.
        left_out: of these, not selected by the filter.
        duplicates: same bytes as another: rows that are not rendered.
        planned: rows with a shard.
        shards: in all; `new_shards` were added by this call.
        captioned: planned rows that have a caption.
        groups: distinct models among the planned.
        bytes: of the planned assets, where known.
        formats, licences: planned rows by format, by licence ('unknown' for none), most frequent first.
        flagged: planned rows whose licence is unknown or non-commercial.
        notes: what was passed over, and why.
    """

    found: int
    left_out: int
    duplicates: int
    planned: int
    shards: int
    new_shards: int
    captioned: int
    groups: int
    bytes: int
    formats: Mapping[str, int]
    licences: Mapping[str, int]
    flagged: int
    notes: tuple[str, ...]


def plan_corpus(
    url: str | Path,
    *,
    sources: Sequence[str],
    render: RenderConfig,
    captions: Sequence[str] = (),
    where: str | None = None,
    limit: int | None = None,
    sample: int | None = None,
    shard_size: int = 256,
    cache: Path | None = None,
) -> PlanSummary:
    """Plans a corpus, or plans it again.

    Args:
        url: folder or any fsspec URL.
        sources: such as `local:models`, see docs/sources.md.
        render: the settings whose hash every shard carries; names of rigs and looks are the caller's to check.
        captions: caption files, first wins.
        where: an SQL condition over the assets' columns.
        limit: assets at most, the first of what the filter leaves.
        sample: assets at most, drawn from what the filter leaves: the same for the same seed.
        shard_size: assets a shard.
        cache: where the sources' lists are kept; default: the user's cache folder.

    Raises:
        UsageError: for a wrong source, filter or caption file, nothing to plan, or settings other than those of
            shards that are committed already.
        DataengineError: if the store cannot be written.
    """
    before = _before(Store(url))
    pinned = {s.spec: s.revision for s in before[0].sources} if before is not None else {}
    cache = cache or cache_root()
    first = limit if where is None and sample is None else None
    found = [find(spec, SourceQuery(render.limits, cache, pinned.get(spec), first)) for spec in sources]
    return plan_assets(
        url,
        found,
        render=render,
        captions=pin_captions(captions, before[0].captions if before else (), lambda: downloads_in(cache)),
        where=where,
        limit=limit,
        sample=sample,
        shard_size=shard_size,
        cache=cache,
    )


def plan_assets(
    url: str | Path,
    found: Sequence[SourceListing],
    *,
    render: RenderConfig,
    captions: Sequence[str] = (),
    where: str | None = None,
    limit: int | None = None,
    sample: int | None = None,
    shard_size: int = 256,
    cache: Path | None = None,
) -> PlanSummary:
    """As `plan_corpus`, from sources that were read already."""
    if not found:
        raise UsageError("plan needs a source, such as --source local:models")
    store = Store(url)
    config = CorpusConfig(
        sources=tuple(SourceConfig(spec=f.spec, revision=f.revision) for f in found),
        render=render,
        where=where,
        limit=limit,
        sample=sample,
        captions=tuple(captions),
        shard_size=shard_size,
    )
    before = _before(store)
    committed = any(name.endswith(".parquet") for name in store.list("views"))
    if committed and before is not None:
        _check_same(config, before[0], store)
    with scratch() as con:
        con.execute("set preserve_insertion_order = true")
        total = _load_assets(con, [f.assets for f in found])
        load_captions(con, captions, lambda: downloads_in(cache or cache_root()))
        con.execute("set enable_external_access = false")
        _join_captions(con)
        _select(con, where)
        _drop_duplicates(con)
        _cut(con, limit, sample, render.seed)
        old = before[1] if committed and before is not None else None
        _assign_shards(con, shard_size, old)
        table = _finish(con, render)
        summary = _summary(con, total, old, [note for f in found for note in f.notes])
    _write(store, config, table)
    return summary


def _before(store: Store) -> tuple[CorpusConfig, pa.Table] | None:
    """The config and plan that are there, if any. The plan's own copy of the config counts: see the module's head."""
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


def _check_same(new: CorpusConfig, old: CorpusConfig, store: Store) -> None:
    """Shards are committed: what decides their bytes and rows must stay."""
    differing = []
    was, now = (c.render.model_dump(mode="json") for c in (old, new))
    for key in was:
        if was[key] != now[key]:
            differing.append(f"{key} {was[key]} → {now[key]}")
    if old.shard_size != new.shard_size:
        differing.append(f"shard size {old.shard_size} → {new.shard_size}")
    for key in ("where", "limit", "sample"):
        if getattr(old, key) != getattr(new, key):
            differing.append(f"{key} {getattr(old, key)!r} → {getattr(new, key)!r}")
    gone = [s.spec for s in old.sources if s.spec not in {t.spec for t in new.sources}]
    if gone:
        differing.append(f"without source {', '.join(gone)}")
    if differing:
        raise UsageError(
            f"{store.url} has finished shards made with other settings ({'; '.join(differing)}); plan into a new folder"
        )


def _load_assets(con: duckdb.DuckDBPyConnection, tables: Sequence[pa.Table]) -> int:
    """All sources in one table, `assets`, in the order given: column n."""
    table = pa.concat_tables([ASSETS.empty_table(), *tables], promote_options="permissive")
    table = table.append_column("n", pa.array(range(table.num_rows), pa.int64()))
    con.register("found", table)  # not copied: it may be half of the memory there is
    return int(table.num_rows)


def _join_captions(con: duckdb.DuckDBPyConnection) -> None:
    """Adds caption and split. A key matches by uid, hash, path, URI or, where one model bears the name, stem."""
    con.execute(
        """
        create temp table matched as
        with named as (select * from found where exists (from captions)),
        keys as (
            select n, uid as key, 0 as rank from named
            union all select n, sha256, 1 from named where sha256 is not null
            union all select n, path, 2 from named where path is not null
            union all select n, alias, 2 from named where alias is not null
            union all select n, uri, 3 from named
            union all select n, page_url, 3 from named where page_url is not null and page_url <> uri
            union all select n, stem, 4 from named where stem in (
                select stem from named group by stem having count(distinct group_id) = 1)
        )
        select n, first(caption order by file, rank) as caption from keys join captions using (key) group by n
        """
    )
    con.execute(
        f"""
        create temp view assets as
        select found.* replace (coalesce(matched.caption, found.caption) as caption), {_split("group_id")} as split,
            found.licence as license
        from found left join matched using (n)
        """
    )


def _split(group: str) -> str:
    """90 % train, 5 % val, 5 % test, by a hash that no version of DuckDB may change."""
    number = f"(('0x' || left(sha256({group}), 8))::ubigint % 100)"
    return f"case when {number} < 90 then 'train' when {number} < 95 then 'val' else 'test' end"


def _select(con: duckdb.DuckDBPyConnection, where: str | None) -> None:
    if where is not None:
        columns = [str(r[0]) for r in con.execute("describe assets").fetchall() if r[0] not in _HIDDEN]
        try:
            con.execute(f"create temp table selected as select {_KEPT} from assets where (\n{where}\n) order by n")
        except duckdb.Error as e:
            raise UsageError(explain_sql(str(e), columns)) from e
    else:
        con.execute(f"create temp view selected as select {_KEPT} from assets")
    if not _number(con, "select count(*) from selected"):
        licences = con.execute("select distinct licence from assets order by 1 nulls last limit 12").fetchall()
        known = ", ".join("null" if r[0] is None else str(r[0]) for r in licences)
        raise UsageError(
            f"--where {where!r} selects none of {_number(con, 'select count(*) from assets')} assets"
            + (f" (licences here: {known})" if re.search("licen[cs]e", str(where).lower()) else "")
        )


def explain_sql(error: str, columns: Sequence[str]) -> str:
    """One line about a filter that DuckDB refused, with the nearest column where the name is unknown."""
    unknown = re.search(r'[Rr]eferenced column "([^"]+)" not found', error)
    if unknown:
        name = unknown[1]
        near = difflib.get_close_matches(name.lower(), columns, n=1, cutoff=0.5)
        hint = f'did you mean "{near[0]}"?' if near else f"the columns are {', '.join(columns)}"
        return f'--where: there is no column "{name}"; {hint} (text goes in single quotes)'
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    return f"--where: {lines[0] if lines else 'not a condition'}"


def _drop_duplicates(con: duckdb.DuckDBPyConnection) -> None:
    """The first file of the same bytes is kept; the others become rows of their own, with a uid of their own."""
    con.execute(
        """
        create temp table ranked as
        select n, row_number() over same as copy, first_value(uri) over same as kept_uri from selected
        window same as (partition by uid order by n)
        """
    )
    con.execute("create temp table kept as select selected.* from selected join ranked using (n) where copy = 1")
    con.execute(
        r"""
        create temp table duplicates as
        select selected.* exclude (uid), left(sha256(concat_ws(chr(10), uid, source, uri)), 32) as uid,
            'same content as ' || uid || ' (' || kept_uri || ')' as reason, uid as of_uid
        from selected join ranked using (n) where copy > 1
        """
    )
    con.execute("drop table ranked")
    con.execute("drop view assets")
    con.unregister("found")


def _cut(con: duckdb.DuckDBPyConnection, limit: int | None, sample: int | None, seed: int) -> None:
    """A small corpus first: the first rows, or a draw that does not depend on what else there is."""
    if sample is not None:
        con.execute(
            f"delete from kept where n not in (select n from kept order by sha256('{seed}' || uid), n limit {sample})"
        )
    if limit is not None:
        con.execute(f"delete from kept where n not in (select n from kept order by n limit {limit})")
    if sample is not None or limit is not None:  # of what is left out, copies are left out too
        con.execute("delete from duplicates where of_uid not in (select uid from kept)")


def _assign_shards(con: duckdb.DuckDBPyConnection, shard_size: int, old: pa.Table | None) -> None:
    """Makes `planned`: the kept rows with shard and row. `old`: the plan whose places must be kept."""
    if old is None:
        con.execute(
            f"""
            create temp table planned as select *, (i // {shard_size})::integer as shard, (i % {shard_size})::integer
            as row from (select *, row_number() over (order by n) - 1 as i from kept)
            """
        )
        return
    con.register("arrow_old", old)
    con.execute("create temp table old as select * from arrow_old where shard is not null")
    con.execute(
        """
        create temp table same as select n, o.shard, o.row, o.group_id as old_group from kept join old o using (uid);
        create temp table changed as
            select k.n, o.shard, o.row, o.group_id as old_group
            from (select * from kept where n not in (select n from same)) k
            join (select * from old where uid not in (select uid from kept)) o using (source, uri);
        create temp table placed as from same union all from changed;
        """
    )
    con.execute(
        f"""
        create temp table planned as
        with regrouped as (select group_id, min(old_group) as old_group from kept join placed using (n) group by all),
        fresh as (
            select n, row_number() over (order by n) - 1 as i from kept where n not in (select n from placed)
        ),
        places as (
            select n, shard, row, old_group from placed union all
            select n, (select max(shard) + 1 from old) + i // {shard_size}, i % {shard_size}, null from fresh
        )
        select kept.* replace (
            coalesce(p.old_group, r.old_group, kept.group_id) as group_id,
            {_split("coalesce(p.old_group, r.old_group, kept.group_id)")} as split
        ), p.shard::integer as shard, p.row::integer as row
        from kept join places p using (n) left join regrouped r using (group_id)
        union all by name
        select * exclude (status, reason, shard_input), -1 as n from old
        where (shard, row) not in (select (shard, row) from placed)
        """
    )


def _finish(con: duckdb.DuckDBPyConnection, render: RenderConfig) -> pa.Table:
    """The plan's columns, each shard with the hash of what decides its bytes. Licences and titles do not."""
    settings = content_hash(render.model_dump(mode="json"))
    con.execute(
        f"""
        create temp table inputs as
        select shard, sha256('{settings}' || string_agg(line, chr(10) order by row)) as shard_input from (
            select shard, row, concat_ws(chr(31), row, uid, format, coalesce(sha256, ''), coalesce(up, ''),
                coalesce(caption, chr(30))) as line
            from planned
        ) group by shard
        """
    )
    columns = ", ".join(f'"{name}"' for name in schema.PLAN.names)
    table = con.sql(
        f"""
        select {columns} from (
            select *, 'planned' as status, null as reason from planned join inputs using (shard)
            union all by name
            select *, 'duplicate' as status, null::integer as shard, null::integer as row from duplicates
        ) order by shard nulls last, row, n, uid
        """
    ).to_arrow_table()
    return table.cast(schema.PLAN)


def _summary(con: duckdb.DuckDBPyConnection, total: int, old: pa.Table | None, notes: Sequence[str]) -> PlanSummary:
    counts = con.execute(
        """
        select count(*), count(distinct shard), count(caption), count(distinct group_id),
            coalesce(sum(bytes), 0), count(*) filter (n = -1) from planned
        """
    ).fetchone()
    assert counts is not None
    planned, shards, captioned, groups, size, gone = (int(c) for c in counts)
    duplicates = _number(con, "select count(*) from duplicates")
    by = {}
    for column in ("format", "licence"):
        query = f"select coalesce({column}, 'unknown'), count(*) from planned group by 1 order by 2 desc, 1"
        by[column] = {str(name): int(count) for name, count in con.execute(query).fetchall()}
    flagged = sum(n for name, n in by["licence"].items() if name == "unknown" or is_non_commercial(name))
    old_shards = 0 if old is None else len(set(old["shard"].drop_null().to_pylist()))
    if gone:
        notes = [*notes, f"{gone} assets of the earlier plan are no longer in the sources; their rows stay"]
    return PlanSummary(
        found=total,
        left_out=total - (planned - gone) - duplicates,
        duplicates=duplicates,
        planned=planned,
        shards=shards,
        new_shards=shards - old_shards,
        captioned=captioned,
        groups=groups,
        bytes=size,
        formats=by["format"],
        licences=by["licence"],
        flagged=flagged,
        notes=tuple(notes),
    )


def _write(store: Store, config: CorpusConfig, table: pa.Table) -> None:
    text = config.to_yaml()
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, table.schema.with_metadata({"corpus.yaml": text}), compression="zstd") as writer:
        shards_a_group = max(GROUP_ROWS // config.shard_size, 1)
        for start, count in _row_groups(table, shards_a_group):
            writer.write_table(table.slice(start, count).replace_schema_metadata({"corpus.yaml": text}))
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


def _number(con: duckdb.DuckDBPyConnection, query: str) -> int:
    row = con.execute(query).fetchone()
    assert row is not None
    return int(row[0])
