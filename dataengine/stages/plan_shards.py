"""Where the assets of a plan go: shard and row, and what decides a shard's bytes."""

import duckdb
import pyarrow as pa

from dataengine.corpus import schema
from dataengine.corpus.config import CorpusConfig, content_hash
from dataengine.manifests.connection import scratch
from dataengine.stages.plan_selection import split_of


def assign_shards(con: duckdb.DuckDBPyConnection, shard_size: int, old: pa.Table | None) -> None:
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
            {split_of("coalesce(p.old_group, r.old_group, kept.group_id)")} as split
        ), p.shard::integer as shard, p.row::integer as row
        from kept join places p using (n) left join regrouped r using (group_id)
        union all by name
        select * exclude (status, reason, shard_input), -1 as n from old
        where (shard, row) not in (select (shard, row) from placed)
        """
    )


def plan_table(con: duckdb.DuckDBPyConnection, config: CorpusConfig, stones: pa.Table) -> pa.Table:
    """The plan's columns, each shard with the hash of its assets, and the tombstones of an earlier plan at its end."""
    _make_inputs(con, config)
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
    return pa.concat_tables([table.cast(schema.PLAN), stones.select(schema.PLAN.names).cast(schema.PLAN)])


def with_inputs(table: pa.Table, config: CorpusConfig) -> pa.Table:
    """A plan in the order of its shards, with the hash of each shard's assets as they are."""
    with scratch() as con:
        con.register("arrow_rows", table)
        con.execute("create temp table numbered as select *, row_number() over () as n from arrow_rows")
        con.execute("create temp view planned as select * from numbered where shard is not null")
        _make_inputs(con, config)
        ordered = con.sql(
            """
            select numbered.* exclude (n) replace (inputs.shard_input as shard_input)
            from numbered left join inputs using (shard) order by shard nulls last, row, n
            """
        ).to_arrow_table()
    return ordered.select(schema.PLAN.names).cast(schema.PLAN)


def _make_inputs(con: duckdb.DuckDBPyConnection, config: CorpusConfig) -> None:
    """Makes `inputs(shard, shard_input)` of `planned`.

    An asset is its uid, its format, its up axis, and the hash of its file, or where that is not known its place.
    Captions, licences and titles are data that is joined: they make nothing stale. In format 1 the caption and the
    settings of the renderer are in the hash too.
    """
    settings, caption = "", ""
    if config.format == 1:
        settings = content_hash(config.sets[0].render.model_dump(mode="json"))
        caption = ", coalesce(caption, chr(30))"
    place = "coalesce(sha256, '')" if config.format == 1 else "coalesce(sha256, uri)"
    con.execute(
        f"""
        create temp table inputs as
        select shard, sha256('{settings}' || string_agg(line, chr(10) order by row)) as shard_input from (
            select shard, row, concat_ws(chr(31), row, uid, format, {place}, coalesce(up, ''){caption}) as line
            from planned
        ) group by shard
        """
    )
