"""Which assets a plan takes: all sources as one table, their captions, the filter, duplicates, the first or a draw.

Each step is a query on a DuckDB connection that leaves a table or view for the next: `found`, `assets`, `selected`,
`kept` and `duplicates`. The column `n` is the order of the sources.
"""

import difflib
import re
from collections.abc import Sequence

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from dataengine.errors import UsageError
from dataengine.sources.listing import ASSETS

_HIDDEN = ("n",)  # the planner's own column
_ONLY_ASKED = ("path", "stem", "alias")
_KEPT = ", ".join(["n", *(f'"{name}"' for name in ASSETS.names if name not in _ONLY_ASKED), "split"])


def load_assets(con: duckdb.DuckDBPyConnection, tables: Sequence[pa.Table]) -> int:
    """All sources in one table, `assets`, in the order given: column n."""
    table = pa.concat_tables([ASSETS.empty_table(), *tables], promote_options="permissive")
    table = table.append_column("n", pa.array(range(table.num_rows), pa.int64()))
    con.register("found", table)  # not copied: it may be half of the memory there is
    return int(table.num_rows)


def without(assets: pa.Table, uids: pa.Array) -> pa.Table:
    """Without the assets that were removed."""
    return assets.filter(pc.invert(pc.is_in(assets["uid"], uids)))


def as_the_format_is(assets: pa.Table) -> pa.Table:
    """Without the guesses of which way is up."""
    guessed = pc.fill_null(pc.equal(assets["up_source"], "guessed"), False)
    for name, value in (("up", None), ("up_source", "format")):
        column = pc.if_else(guessed, pa.scalar(value, pa.string()), assets[name])
        assets = assets.set_column(assets.schema.get_field_index(name), name, column)
    return assets


def match_captions(con: duckdb.DuckDBPyConnection) -> None:
    """Makes `matched(n, caption)` of `found` and `captions`.

    A key matches by uid, hash, path, URI or, where one model bears the name, stem.
    """
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


def join_captions(con: duckdb.DuckDBPyConnection) -> None:
    """Adds caption and split to what was found."""
    match_captions(con)
    con.execute(
        f"""
        create temp view assets as
        select found.* replace (coalesce(matched.caption, found.caption) as caption), {split_of("group_id")} as split,
            found.licence as license
        from found left join matched using (n)
        """
    )


def split_of(group: str) -> str:
    """90 % train, 5 % val, 5 % test, by a hash that no version of DuckDB may change."""
    number = f"(('0x' || left(sha256({group}), 8))::ubigint % 100)"
    return f"case when {number} < 90 then 'train' when {number} < 95 then 'val' else 'test' end"


def select(con: duckdb.DuckDBPyConnection, where: str | None) -> None:
    """Makes `selected`: what the filter leaves. Raises UsageError if that is nothing, or it is no condition."""
    if where is not None:
        columns = [str(r[0]) for r in con.execute("describe assets").fetchall() if r[0] not in _HIDDEN]
        try:
            con.execute(f"create temp table selected as select {_KEPT} from assets where (\n{where}\n) order by n")
        except duckdb.Error as e:
            raise UsageError(explain_sql(str(e), columns)) from e
    else:
        con.execute(f"create temp view selected as select {_KEPT} from assets")
    if not number(con, "select count(*) from selected"):
        licences = con.execute("select distinct licence from assets order by 1 nulls last limit 12").fetchall()
        known = ", ".join("null" if r[0] is None else str(r[0]) for r in licences)
        raise UsageError(
            f"--where {where!r} selects none of {number(con, 'select count(*) from assets')} assets"
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


def drop_duplicates(con: duckdb.DuckDBPyConnection) -> None:
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


def cut(con: duckdb.DuckDBPyConnection, limit: int | None, sample: int | None, seed: int) -> None:
    """A small corpus first: the first rows, or a draw that does not depend on what else there is."""
    if sample is not None:
        con.execute(
            f"delete from kept where n not in (select n from kept order by sha256('{seed}' || uid), n limit {sample})"
        )
    if limit is not None:
        con.execute(f"delete from kept where n not in (select n from kept order by n limit {limit})")
    if sample is not None or limit is not None:  # of what is left out, copies are left out too
        con.execute("delete from duplicates where of_uid not in (select uid from kept)")


def number(con: duckdb.DuckDBPyConnection, query: str) -> int:
    """The one number that a query gives."""
    row = con.execute(query).fetchone()
    assert row is not None
    return int(row[0])
