"""Which shards of a corpus are still to be made: the rule of `stage.is_current`, for all shards at once, in SQL."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dataengine.manifests.catalog import Catalog
from dataengine.manifests.connection import quote
from dataengine.manifests.guard import sql_errors
from dataengine.stages.stage import Stage, input_stage


@dataclass(frozen=True)
class Pending:
    """What is not done yet.

    Attributes:
        shards: stage → those to make, in order, and how many assets each has; of a stage in parts, in all of them.
        blocked: stage → how many shards it cannot make, because what it is made from is not there and nothing here
            makes it.
    """

    shards: Mapping[str, Mapping[int, int]]
    blocked: Mapping[str, int]


def pending(catalog: Catalog, stages: Sequence[Stage]) -> Pending:
    """What some stages, in the order of the work, have still to make.

    Raises:
        DataengineError: if the manifest cannot be read.
    """
    parts = {s.name: {part.name: pending_shards(catalog, part.name, part.spec) for part in s.parts} for s in stages}
    shards = {name: _together(each.values()) for name, each in parts.items()}
    made_here = {part for each in parts.values() for part in each}
    blocked = {}
    for stage in stages:
        before = input_stage(catalog.corpus, stage)
        if before is not None and before not in made_here:
            missing = pending_shards(catalog, before).keys() & shards[stage.name].keys()
            shards[stage.name] = {n: a for n, a in shards[stage.name].items() if n not in missing}
            blocked[stage.name] = len(missing)
    return Pending(shards, {name: count for name, count in blocked.items() if count})


def _together(parts: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """Shard → assets to make there, of all parts."""
    found: Counter[int] = Counter()
    for shards in parts:
        found.update(shards)
    return dict(sorted(found.items()))


def pending_shards(catalog: Catalog, name: str, spec: str | None = None) -> dict[int, int]:
    """Shard → assets of the shards without a current fragment of a stage, in order; with any spec if that is None."""
    mine = f"stage = {quote(name)}" + ("" if spec is None else f" AND spec = {quote(spec)}")
    query = f"""
        SELECT shard, assets FROM shard_rows
        ANTI JOIN (SELECT shard FROM current_fragments WHERE {mine}) USING (shard)
        ORDER BY shard
    """
    with sql_errors():
        return dict(catalog.sql(query).fetchall())
