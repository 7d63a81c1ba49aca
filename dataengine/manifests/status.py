"""How far a corpus is, from its manifest alone: the same figures in a run, beside a run and after it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from dataengine.corpus.spooled import Spooled, spooled
from dataengine.manifests.catalog import Catalog, name_column
from dataengine.manifests.connection import identifier, quote
from dataengine.manifests.guard import sql_errors

WINDOW = timedelta(minutes=30)  # the rate is of the latest half hour that saw an asset finish


@dataclass(frozen=True)
class StageStatus:
    """One stage: `views`, `tokens/<tokenizer>`, or one of your own.

    Attributes:
        shards, shards_done: planned, and committed from current input.
        shards_stale: committed from an input that has changed since; to be made again.
        assets: planned for this stage: those that the stage it is made from has, or may still get.
        assets_ok, assets_failed, assets_left: of those.
        assets_spooled: of those left: finished, in a shard that is not; on this machine alone.
        views: rendered or tokenized views of the ok assets.
        rate: assets per second while work was last going on; None if too few have finished to say.
        seconds_left: what is left and not spooled at that rate; None if unknown, 0 if nothing is left.
        cpu_seconds: spent on committed assets.
        last_finished: when the latest asset was finished, committed or spooled.
    """

    stage: str
    shards: int
    shards_done: int
    shards_stale: int
    assets: int
    assets_ok: int
    assets_failed: int
    assets_left: int
    assets_spooled: int
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


_HELD = """
    SELECT stage, sum(ok)::BIGINT, sum(failed)::BIGINT, sum(views)::BIGINT, sum(cpu_seconds), max(finished_at)
    FROM current_shards GROUP BY stage
"""
_SHARDS = """
    SELECT f.stage, any_value(f.made_from), count(c.shard), count(*)
    FROM fragment_rows f LEFT JOIN current_fragments c USING (stage, shard) GROUP BY f.stage
"""
_RECENT = "SELECT list(shard) FROM current_shards WHERE stage = {stage} AND finished_at > TIMESTAMPTZ '{since}'"
_RATE = """
    SELECT count(*), min(finished_at - to_microseconds((1e6 * coalesce(wall_seconds, 0))::BIGINT)) FROM {rows}
    WHERE shard IN ({shards}) AND finished_at > TIMESTAMPTZ '{since}'
"""
_FAILURES = "SELECT stage, error, count(*) FROM failures GROUP BY ALL ORDER BY count(*) DESC, stage, error"


def status(catalog: Catalog) -> CorpusStatus:
    """Counts everything: shards, not assets, once the corpus is compacted.

    Raises:
        DataengineError: if a file of the corpus cannot be read.
    """
    with sql_errors():
        shards, planned = catalog.sql("SELECT count(*), coalesce(sum(assets), 0)::BIGINT FROM shard_rows").fetchall()[0]
        ((duplicates,),) = catalog.sql("SELECT count(*) FROM assets WHERE status = 'duplicate'").fetchall()
        fragments = {s: (made_from, current, n) for s, made_from, current, n in catalog.sql(_SHARDS).fetchall()}
        held = {stage: rest for stage, *rest in catalog.sql(_HELD).fetchall()}
        failures = {(s, e): n for s, e, n in catalog.sql(_FAILURES).fetchall()}

    in_making = spooled_shards(catalog)
    for each in in_making:
        fragments.setdefault(each.stage, (each.made_from, 0, 0))

    def stage(name: str, assets: int) -> StageStatus:
        _, done, there = fragments.get(name, (None, 0, 0))
        ok, failed, views, cpu, last = held.get(name, (0, 0, 0, 0.0, None))
        left = assets - ok - failed
        times = [time for each in in_making if each.stage == name for time in each.finished]
        in_spool = min(len(times), left)
        newest = datetime.fromtimestamp(max(times), UTC) if times else None
        if newest is not None and (last is None or newest > last):
            rate, last = rate_of(times) or _rate(catalog, name, last), newest
        else:
            rate = _rate(catalog, name, last)
        seconds = 0.0 if not left else (left - in_spool) / rate if rate else None
        return StageStatus(
            name, shards, done, there - done, assets, ok, failed, left, in_spool, views, rate, seconds, cpu, last
        )

    stages = {s.stage: stage(s.stage, planned) for s in catalog.corpus.config.sets}
    while left := [name for name in sorted(fragments) if name not in stages and fragments[name][0] in stages]:
        for name in left:  # of what it is made from, what failed there has failed
            before = stages[fragments[name][0]]
            stages[name] = stage(name, before.assets - before.assets_failed)
    return CorpusStatus(catalog.corpus.url, planned, duplicates, list(stages.values()), failures)


def spooled_shards(catalog: Catalog) -> list[Spooled]:
    """Shards of a corpus that are in the making on this machine, from what they are to be made from now."""
    found = spooled()
    if not found:
        return []
    config, numbers = catalog.corpus.config, ", ".join({str(each.shard) for each in found})
    with sql_errors():
        plan = dict(catalog.sql(f"SELECT shard, shard_input FROM shard_rows WHERE shard IN ({numbers})").fetchall())
        query = f"SELECT stage, shard, fragment FROM current_fragments WHERE shard IN ({numbers})"
        current = {(stage, shard): fragment for stage, shard, fragment in catalog.sql(query).fetchall()}
    kept: dict[tuple[str, int], Spooled] = {}
    for each in found:
        place, view_set = (each.stage, each.shard), config.set_of(each.stage)
        if each.made_from is None:
            wanted = plan.get(each.shard, "") + (view_set.input if view_set else "")
        else:
            wanted = current.get((each.made_from, each.shard), "")
        # Of one shard that was begun with several limits or devices, the one that is further counts.
        if each.input == wanted and place not in current:
            kept[place] = max(kept.get(place, each), each, key=lambda one: len(one.finished))
    return list(kept.values())


def rate_of(times: Sequence[float]) -> float | None:
    """Per second over the latest half hour of these times of the epoch; None if too few are in it."""
    recent = [time for time in times if time > max(times) - WINDOW.total_seconds()]
    seconds = max(recent) - min(recent)
    return (len(recent) - 1) / seconds if seconds > 0 else None


def _rate(catalog: Catalog, stage: str, last: datetime | None) -> float | None:
    if last is None:
        return None
    since = (last - WINDOW).astimezone(UTC).isoformat()
    kind, _, name = stage.partition("/")
    view_set = catalog.corpus.config.set_of(stage)
    chosen = f"view_set = {quote(view_set.name)}" if view_set else f"{name_column(kind)} = {quote(name)}"
    rows = f"(FROM {'renders' if view_set else identifier(kind)} WHERE {chosen})"
    with sql_errors():
        ((shards,),) = catalog.sql(_RECENT.format(stage=quote(stage), since=since)).fetchall()
        numbers = ", ".join(map(str, shards))
        count, first = catalog.sql(_RATE.format(rows=rows, shards=numbers, since=since)).fetchall()[0]
    seconds = (last - max(first, last - WINDOW)).total_seconds()
    return count / seconds if count > 1 and seconds > 0 else None
