"""Which shards of a corpus are still to be made: the rule of `stage.is_current`, for all shards at once, in SQL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dataengine.manifests.catalog import Catalog
from dataengine.manifests.connection import quote
from dataengine.manifests.guard import sql_errors
from dataengine.stages.stage import Stage, input_stage


@dataclass(frozen=True)
class Pending:
    """What is not done yet.

    Attributes:
        shards: stage → those to make, in order, and how many assets each has.
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
    shards = {stage.name: pending_shards(catalog, stage.name, stage.spec) for stage in stages}
    blocked = {}
    for stage in stages:
        before = input_stage(catalog.corpus, stage)
        if before is not None and before not in shards:
            missing = pending_shards(catalog, before).keys() & shards[stage.name].keys()
            shards[stage.name] = {n: a for n, a in shards[stage.name].items() if n not in missing}
            blocked[stage.name] = len(missing)
    return Pending(shards, {name: count for name, count in blocked.items() if count})


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
