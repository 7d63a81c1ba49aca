"""The catalog: SQL over the plan and the fragments, with DuckDB.

Nothing is copied: each query reads the Parquet files as they are at that moment. What `compact` has written is used
for the shards that have not changed since, the fragments themselves for the rest.

Views: `assets` (one row per asset), `renders` (one row per asset and view set), `views` (one row per rendered view),
`tokens` (one row per asset and tokenizer), `samples` (what a trainer can use), `failures`. docs/formats.md lists their
columns.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import duckdb
import pyarrow as pa

from dataengine.corpus.corpus import PLAN, Corpus
from dataengine.corpus.fragments import fragment_name, list_all
from dataengine.errors import UsageError
from dataengine.manifests import compact, connection
from dataengine.manifests.compact import CompactIndex, Part
from dataengine.manifests.first_look import FRAGMENTS, FirstLook
from dataengine.manifests.guard import check, named_queries, sql_errors
from dataengine.manifests.remote_files import CorpusFiles


@dataclass(frozen=True)
class _State:
    """The files of a corpus when the catalog last looked; an equal state needs no new views."""

    plan: str
    index: str | None
    fragments: dict[str, dict[int, str]]  # stage → shard → version


class Catalog:
    """A corpus's manifest, in SQL.

    Args:
        corpus: a Corpus, or the folder or URL of one.

    Raises:
        UsageError: if there is no corpus.
    """

    VIEWS = ("assets", "renders", "views", "tokens", "samples", "failures")

    def __init__(self, corpus: Corpus | str | Path = ".") -> None:
        self.corpus = corpus if isinstance(corpus, Corpus) else Corpus.open(corpus)
        self._state: _State | None = None
        self._index: CompactIndex | None = None
        self._files = CorpusFiles(self.corpus.store)
        self._first = FirstLook(self.corpus.store)
        self._db = connection.connect(self._files)

    def sql(self, query: str) -> duckdb.DuckDBPyRelation:
        """Runs a query (or a named one, see `dataengine query --list`) over the corpus as it is now.

        Only queries that read are taken. They may name other files: `… JOIN 'mine.parquet' USING (uid)`.

        Returns:
            A lazy DuckDB relation: `.df()`, `.arrow()`, `.fetchall()`, `.fetchnumpy()` …

        Raises:
            UsageError: if the query is wrong or would write; the message keeps DuckDB's hints.
            DataengineError: if a file of the corpus cannot be read.
        """
        named = named_queries().get(query.strip())
        text = named.sql if named else query
        check(self._db, text)
        self._look()
        with sql_errors():
            relation = self._db.sql(text)
        if relation is None:
            raise UsageError("the query has no result")
        return relation

    def by_shards(self, query: str) -> Iterator[pa.Table]:
        """The rows of a query in pieces, as `compact` has cut the corpus: each needs memory for its own shards only.

        A corpus that is not on a local disk, or not compacted, comes in one piece.

        Args:
            query: with a column `shard`, which is one of a view's.

        Yields:
            Tables that have rows. Each piece's shards follow those of the piece before; rows come in any order.

        Raises:
            UsageError, DataengineError: as `sql`.
        """
        check(self._db, query)
        self._look()
        firsts: dict[str, int] = {}
        if self._index and self.corpus.store.local:  # each piece opens all files; in a bucket that takes too long
            for shard, (file, _) in sorted(self._index.stages[self.corpus.views_stage].items()):
                firsts.setdefault(file, shard)
        edges = sorted(firsts.values())[1:]
        for begin, end in pairwise([None, *edges, None]):
            limits = [f"shard >= {begin}"] * (begin is not None) + [f"shard < {end}"] * (end is not None)
            with sql_errors():
                rows = self._db.sql(f"FROM (\n{query}\n) WHERE {' AND '.join(limits) or 'true'}").to_arrow_table()
            if rows.num_rows:
                yield rows

    def uids(self, where: str | None = None) -> list[str]:
        """The uids of the assets that a condition on the columns of `assets` selects, in the corpus's order.

        Duplicates, which are never rendered, are left out.
        """
        condition = f"AND (\n{where}\n)" if where else ""
        query = f"SELECT uid FROM assets WHERE status NOT IN ('duplicate', 'removed') {condition} ORDER BY shard, row"
        relation = self.sql(query)
        with sql_errors():
            return [uid for (uid,) in relation.fetchall()]

    def find(self, uid: str) -> tuple[int, int]:
        """An asset's shard and its row there; fast in a compacted corpus of any size.

        Raises:
            UsageError: if the corpus has no such asset.
        """
        return self.find_all([uid])[0]

    def find_all(self, uids: Sequence[str]) -> list[tuple[int, int]]:
        """As `find`, of several assets with one look at the corpus's files."""
        self._look()
        query = f"SELECT uid, shard, row FROM uid_rows WHERE uid IN ({', '.join('?' * len(uids))})"
        with sql_errors():
            # All of it: a result that was not read to its end blocks the connection.
            rows = self._db.execute(query, list(uids)).fetchall()
        places = {uid: (int(shard), int(row)) for uid, shard, row in rows}
        for uid in uids:
            if uid not in places:
                raise UsageError(f"{self.corpus.url} has no asset {uid}")
        return [places[uid] for uid in uids]

    def _look(self) -> None:
        store = self.corpus.store
        plan = store.versions("plan").get(PLAN)
        if plan is None:
            raise UsageError(f"{self.corpus.url} has no {PLAN}; run `dataengine plan` again")
        index = store.versions(compact.FOLDER).get(compact.INDEX)
        state = _State(plan, index, list_all(store))
        old = self._state
        if state == old:
            return
        if old is None or (old.plan, old.index) != (state.plan, state.index):
            self._index = compact.read_index(store, plan)
            if self._index and not self._first.compacted_hold(self._index.files):
                self._index = None  # the fragments are the truth
        if not store.local:  # DuckDB opens local files itself
            self._files.versions = {PLAN: plan} | {
                fragment_name(stage, n): version
                for stage, listed in state.fragments.items()
                for n, version in listed.items()
            }
        views = _Views(self._db, self.corpus, state.fragments, self._index)
        self._first.at_plan(PLAN, plan)
        self._first.at(views.uncompacted(state.fragments), FRAGMENTS)
        with sql_errors():
            views.define()
        self._state = state


def name_column(kind: str) -> str:
    """What the view of a kind of stages calls the stage that made a row."""
    return "tokenizer" if kind == "tokens" else "name"


def _rows_of(kind: str) -> str:
    return connection.identifier("token_rows" if kind == "tokens" else f"{kind}_rows")


class _Views:
    """Defines the catalog's views for one state of the files.

    asset_rows, token_rows (and <kind>_rows), fragment_rows (one per fragment: its hashes and what it holds, see
    sql/shards.sql), shard_rows (shard, shard_input, assets) and uid_rows (uid, shard, row) each read compacted files
    where they hold and the fragments elsewhere; the public views are built on them.
    """

    def __init__(
        self,
        db: duckdb.DuckDBPyConnection,
        corpus: Corpus,
        fragments: dict[str, dict[int, str]],
        index: CompactIndex | None,
    ) -> None:
        self.db = db
        self.store = corpus.store
        self.config = corpus.config
        self.stage = corpus.views_stage
        self.index = index
        fragments = {**{s.stage: {} for s in self.config.sets}, **fragments}  # before it is rendered there is no folder
        self.parts = {stage: compact.split(stage, listed, index) for stage, listed in fragments.items()}
        self.kinds: dict[str, list[str]] = {"tokens": []}
        for stage in (name for name in fragments if not name.startswith("views")):
            self.kinds.setdefault(stage.partition("/")[0], []).append(stage)

    def uncompacted(self, fragments: dict[str, dict[int, str]]) -> dict[str, str]:
        """The fragments that are read themselves: name → version."""
        found = ((stage, n) for stage, part in self.parts.items() for n in part.present)
        return {fragment_name(stage, n): fragments[stage][n] for stage, n in found}

    def define(self) -> None:
        self._changed_shards()
        plan = connection.parquet(self.db, self.store, "plan_file", [PLAN])
        self._assets(plan, self.parts[self.stage])
        self._renders(plan)
        self._derived()
        self._shards(plan)
        self._public()

    def _view(self, name: str, query: str) -> None:
        self.db.execute(f"CREATE OR REPLACE VIEW {name} AS {query}")

    def _changed_shards(self) -> None:
        pairs = [(stage, shard) for stage, part in self.parts.items() for shard in part.changed]
        rows = {
            "stage": pa.array([stage for stage, _ in pairs], pa.string()),
            "shard": pa.array([shard for _, shard in pairs], pa.int32()),
        }
        connection.put_table(self.db, "changed_shards", pa.table(rows))

    def _unchanged(self, alias: str, stage: str) -> str:
        """SQL that drops the rows of shards which the index no longer holds for."""
        if not self.parts[stage].changed:
            return ""
        changed = f"(SELECT shard FROM changed_shards WHERE stage = {connection.quote(stage)})"
        return f"ANTI JOIN {changed} c ON {alias}.shard = c.shard"

    def _fragments(self, variable: str, stage: str, empty: str) -> str:
        names = [fragment_name(stage, n) for n in sorted(self.parts[stage].present)]
        return connection.parquet(self.db, self.store, variable, names) if names else empty

    def _assets(self, plan: str, part: Part) -> None:
        # With the empty table, fragments of an earlier version have all of today's columns too.
        rows = self._fragments("view_files", self.stage, "no_views")
        self._view("view_rows", f"SELECT * FROM no_views UNION ALL BY NAME SELECT * FROM {rows}")
        if self.index is None:
            self._view("plan_rows", f"SELECT * FROM {plan}")
            self._view("asset_rows", connection.assets_of(self.config.sets[0], "plan_rows", "view_rows"))
            return
        changed = f"(SELECT shard FROM changed_shards WHERE stage = {connection.quote(self.stage)})"
        self._view("plan_rows", f"SELECT * FROM {plan} SEMI JOIN {changed} USING (shard)")
        files = sorted({file for file, _ in self.index.stages[self.stage].values()})
        compacted = connection.parquet(self.db, self.store, "asset_files", files)
        query = f"SELECT a.* FROM {compacted} a {self._unchanged('a', self.stage)}"
        if part.changed:
            query += f" UNION ALL BY NAME ({connection.assets_of(self.config.sets[0], 'plan_rows', 'view_rows')})"
        self._view("asset_rows", query)

    def _renders(self, plan: str) -> None:
        """renders: the default set from asset_rows, each other one from its rows and the plan."""
        default, *others = self.config.sets
        rows = [f"SELECT {connection.quote(default.name)} AS view_set, * FROM asset_rows WHERE shard IS NOT NULL"]
        for i, view_set in enumerate(others, start=1):
            self._changed_and_all(view_set.stage, f"view_rows_{i}", f"set_rows_{i}", "no_views", f"set_{i}")
            assets = connection.assets_of(view_set, plan, f"set_rows_{i}")
            rows.append(
                f"SELECT {connection.quote(view_set.name)} AS view_set, * FROM ({assets}) WHERE shard IS NOT NULL"
            )
        self._view("renders", " UNION ALL BY NAME ".join(rows))

    def _changed_and_all(self, stage: str, changed: str, both: str, empty: str, variable: str) -> None:
        """Two views of a stage's rows: those that only fragments hold, and all."""
        part = self.parts[stage]
        query = f"SELECT * FROM {empty}"
        if part.present:
            query += f" UNION ALL BY NAME SELECT * FROM {self._fragments(f'{variable}_files', stage, empty)}"
        self._view(changed, query)
        query = f"SELECT * FROM {changed}"
        if part.files:
            rows = connection.parquet(self.db, self.store, f"{variable}_compact", part.files)
            query += f" UNION ALL BY NAME SELECT t.* FROM {rows} t {self._unchanged('t', stage)}"
        self._view(both, query)

    def _derived(self) -> None:
        """The rows of all stages but views, a view per kind; `changed_<kind>` has those that only fragments hold."""
        for kind, stages in self.kinds.items():
            name = name_column(kind)
            empty = compact.empty_rows(f"{kind}/")
            changed = [f"SELECT *, NULL::VARCHAR AS {name} FROM {empty}"]
            compacted = []
            for i, stage in enumerate(stages):
                part = self.parts[stage]
                mine = f"{connection.quote(stage.removeprefix(f'{kind}/'))} AS {name}"
                if part.present:
                    rows = self._fragments(f"{kind}_files_{i}", stage, empty)
                    changed.append(f"SELECT *, {mine} FROM {rows}")
                if part.files:
                    rows = connection.parquet(self.db, self.store, f"{kind}_compact_{i}", part.files)
                    compacted.append(f"SELECT t.*, {mine} FROM {rows} t {self._unchanged('t', stage)}")
            rows = connection.identifier(f"changed_{kind}")
            self._view(rows, " UNION ALL BY NAME ".join(changed))
            self._view(_rows_of(kind), " UNION ALL BY NAME ".join([f"SELECT * FROM {rows}", *compacted]))

    def _public(self) -> None:
        self.db.execute(connection.packaged("views.sql", inputs=connection.inputs_of(self.config)))
        stages = " ".join(f"WHEN {connection.quote(s.name)} THEN {connection.quote(s.stage)}" for s in self.config.sets)
        failures = [connection.packaged("failures.sql", stages=stages)]
        for kind in self.kinds:
            words = {
                "kind": connection.identifier(kind),
                "rows": _rows_of(kind),
                "prefix": connection.quote(f"{kind}/"),
                "name": name_column(kind),
                "more": f" {self._view_set('r.made_from')} AS view_set," if kind == "tokens" else "",
            }
            self.db.execute(connection.packaged("derived.sql", **words))
            failures.append(connection.packaged("derived_failures.sql", **words))
        self._view("failures", " UNION ALL ".join(failures))
        self.db.execute(connection.packaged("samples.sql"))

    def _view_set(self, made_from: str) -> str:
        """SQL of the set that a fragment was made from; of format 1, whose fragments do not say it, the only one."""
        only = connection.quote(self.config.sets[0].name)
        return f"coalesce(nullif(replace({made_from}, 'views/', ''), 'views'), {only})"

    def _shards(self, plan: str) -> None:
        parts = [connection.shards_of("view_rows", connection.quote(self.stage))]
        for i, view_set in enumerate(self.config.sets[1:], start=1):
            parts.append(connection.shards_of(f"view_rows_{i}", connection.quote(view_set.stage)))
        for kind in self.kinds:
            stage = f"{connection.quote(f'{kind}/')} || {name_column(kind)}"
            rows = connection.identifier(f"changed_{kind}")
            parts.append(connection.shards_of(rows, f"({stage})", views=kind == "tokens"))
        changed = " UNION ALL ".join(f"({part})" for part in parts)
        if self.index is None:
            self._view("fragment_rows", changed)
            self._view(
                "shard_rows",
                "SELECT shard, any_value(shard_input) AS shard_input, count(*) AS assets "
                "FROM plan_rows WHERE status = 'planned' GROUP BY shard",
            )
            self._view("uid_rows", f"SELECT uid, shard, row FROM {plan} WHERE shard IS NOT NULL")
            return
        connection.put_table(self.db, "compacted_shards", self.index.shards)
        self._view(
            "fragment_rows",
            "SELECT stage, shard, made_from, input, fragment, spec, ok, failed, views, cpu_seconds, finished_at "
            "FROM compacted_shards ANTI JOIN changed_shards USING (stage, shard) "
            f"WHERE fragment IS NOT NULL UNION ALL {changed}",
        )
        self._view(
            "shard_rows",
            f"SELECT shard, shard_input, assets FROM compacted_shards WHERE stage = {connection.quote(self.stage)}",
        )
        self._view(
            "uid_rows", f"SELECT * FROM {connection.parquet(self.db, self.store, 'uid_file', [self.index.uids])}"
        )
