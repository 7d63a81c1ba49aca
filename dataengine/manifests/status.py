"""How far a corpus is, from its manifest alone: the same figures in a run, beside a run and after it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from dataengine.manifests.catalog import Catalog
from dataengine.manifests.query import sql_errors

WINDOW = timedelta(minutes=30)  # the rate is of the latest half hour that saw an asset finish


@dataclass(frozen=True)
class StageStatus:
    """One stage: `views`, or `tokens/<tokenizer>`.

    Attributes:
        shards, shards_done: planned, and committed from current input.
        shards_stale: committed from an input that has changed since; to be made again.
        assets: planned for this stage: for tokens, the assets that have views or may still get them.
        assets_ok, assets_failed, assets_left: of those.
        views: rendered or tokenized views of the ok assets.
        rate: assets a second while work was last going on; None if too few have finished to say.
        seconds_left: assets_left at that rate; None if unknown, 0 if nothing is left.
        cpu_seconds: spent on committed assets.
        last_finished: when the latest committed asset was finished.
    """

    stage: str
    shards: int
    shards_done: int
    shards_stale: int
    assets: int
    assets_ok: int
    assets_failed: int
    assets_left: int
    views: int
    rate: float | None
    seconds_left: float | None
    cpu_seconds: float
    last_finished: datetime | None


@dataclass(frozen=True)
class CorpusStatus:
    """All stages, and what failed why: failures[(stage, error)] = assets.

    Attributes:
        planned: assets in shards.
        duplicates: rows of the plan that are never rendered.
    """

    url: str
    planned: int
    duplicates: int
    stages: list[StageStatus]
    failures: dict[tuple[str, str], int] = field(default_factory=dict)


_ASSETS = """
    SELECT status, count(*), sum(num_views), sum(cpu_seconds), max(finished_at) FROM assets GROUP BY status
"""
_TOKENS = """
    SELECT tokenizer, count(*) FILTER (status = 'ok'), count(*) FILTER (status = 'failed'),
        sum(num_views) FILTER (status = 'ok'), sum(cpu_seconds), max(finished_at)
    FROM tokens t
    ANTI JOIN (SELECT shard, row FROM asset_rows WHERE status = 'failed') f ON t.shard = f.shard AND t.row = f.row
    WHERE NOT stale
    GROUP BY tokenizer
"""
_SHARDS = """
    SELECT f.stage, count(*) FILTER (f.input = s.shard_input), count(*)
    FROM fragment_rows f JOIN shard_rows s USING (shard) WHERE f.stage = 'views' GROUP BY f.stage
    UNION ALL
    SELECT f.stage, count(*) FILTER (f.input IS NOT DISTINCT FROM c.fragment), count(*)
    FROM fragment_rows f LEFT JOIN current_views c USING (shard) WHERE f.stage <> 'views' GROUP BY f.stage
"""
_RATE = """
    SELECT count(*), min(finished_at - to_microseconds((1e6 * coalesce(wall_seconds, 0))::BIGINT)) FROM {rows}
    WHERE finished_at > TIMESTAMPTZ '{since}'
"""
_FAILURES = "SELECT stage, error, count(*) FROM failures GROUP BY ALL ORDER BY count(*) DESC, stage, error"


def status(catalog: Catalog) -> CorpusStatus:
    """Counts everything. Takes a second or two for ten million assets once they are compacted.

    Raises:
        DataengineError: if a file of the corpus cannot be read.
    """
    with sql_errors():
        assets = {status: rest for status, *rest in catalog.sql(_ASSETS).fetchall()}
        shards, planned = catalog.sql("SELECT count(*), coalesce(sum(assets), 0)::BIGINT FROM shard_rows").fetchall()[0]
        fragments = {s: (current, n) for s, current, n in catalog.sql(_SHARDS).fetchall()}
        tokens = {row[0]: row[1:] for row in catalog.sql(_TOKENS).fetchall()} if len(fragments) > 1 else {}
        failures = {(s, e): n for s, e, n in catalog.sql(_FAILURES).fetchall()}

    def stage(
        name: str, assets: int, ok: int, failed: int, views: int, cpu: float, last: datetime | None
    ) -> StageStatus:
        done, there = fragments.get(name, (0, 0))
        left = assets - ok - failed
        rate = _rate(
            catalog, "assets" if name == "views" else f"(FROM tokens WHERE 'tokens/' || tokenizer = '{name}')", last
        )
        seconds = 0.0 if not left else left / rate if rate else None
        return StageStatus(
            name, shards, done, there - done, assets, ok, failed, left, views or 0, rate, seconds, cpu or 0.0, last
        )

    ok, views, cpu_ok, last_ok = assets.get("ok", (0, 0, 0.0, None))
    failed, _, cpu_failed, last_failed = assets.get("failed", (0, 0, 0.0, None))
    last = max((t for t in (last_ok, last_failed) if t is not None), default=None)
    stages = [stage("views", planned, ok, failed, views, (cpu_ok or 0.0) + (cpu_failed or 0.0), last)]
    for name in sorted(n for n in fragments if n != "views"):
        numbers = tokens.get(name.removeprefix("tokens/"), (0, 0, 0, 0.0, None))
        stages.append(stage(name, planned - failed, *numbers))
    duplicates = sum(count for count, *_ in assets.values()) - planned
    return CorpusStatus(catalog.corpus.url, planned, duplicates, stages, failures)


def _rate(catalog: Catalog, rows: str, last: datetime | None) -> float | None:
    if last is None:
        return None
    since = (last - WINDOW).astimezone(UTC).isoformat()
    with sql_errors():
        count, first = catalog.sql(_RATE.format(rows=rows, since=since)).fetchall()[0]
    seconds = (last - max(first, last - WINDOW)).total_seconds()
    return count / seconds if count > 1 and seconds > 0 else None
