"""What of a shard a stage has still to do.

A shard is done when its fragment names the present input and the stage's spec (`is_current`). What is not done is made
again, except the assets that a killed run left in the spool.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

from dataengine.corpus.config import content_hash
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.fragments import Fragment
from dataengine.stages.rows import failed_before
from dataengine.stages.spool import Spool
from dataengine.stages.stage import Stage, input_stage

Retry = bool | Set[str]  # whether failed assets are processed again; a set: those of these uids


@dataclass
class OpenShard:
    """A shard of a stage, or of a part of one, in the making.

    Attributes:
        kept: rows of the fragment that a retry improves on and leaves as they are, by uid.
        failed_before: rows of assets that the stage before could make nothing of, by uid.
        left: uids that are still to be processed.
    """

    stage: Stage
    number: int
    input: str
    rows: list[dict[str, Any]]
    spool: Spool
    resume_key: Any
    kept: dict[str, dict[str, Any]]
    failed_before: dict[str, dict[str, Any]]
    left: set[str]


def source_of(corpus: Corpus, stage: Stage, shard: int) -> tuple[str, list[dict[str, Any]]] | None:
    """(input, rows) that a stage makes a shard from; None if the stage before has not made it yet.

    Raises:
        UsageError: if the plan has no such shard.
    """
    made_from = input_stage(corpus, stage)
    if made_from is None:
        rows = corpus.plan(shard).to_pylist()
        return stage.input(corpus, str(rows[0]["shard_input"])), rows
    fragment = corpus.fragment(made_from, shard)
    if fragment is None:
        corpus.plan(shard)  # says so if there is no such shard
        return None
    return fragment.sha256, fragment.table.to_pylist()


def is_current(fragment: Fragment | None, input: str | None, spec: str | None) -> bool:
    """The rule of resuming: a shard is done when its fragment names the present input and spec.

    sql/views.sql states the same for all fragments at once, as `current_fragments`.
    """
    return fragment is not None and fragment.input == input and fragment.spec == spec


def is_done(corpus: Corpus, stage: Stage, shard: int) -> bool:
    """Whether the shard is committed in all parts, made from its present input with the stage's spec."""

    def done(part: Stage) -> bool:
        source = source_of(corpus, part, shard)
        return source is not None and is_current(corpus.fragment(part.name, shard), source[0], part.spec)

    return all(map(done, stage.parts))


def assets_left(corpus: Corpus, stage: Stage, shards: Sequence[int], *, retry: Retry = False) -> dict[int, int]:
    """Shards that `run_shards` would take up → how many assets it would report there, of all parts together."""
    opened = {n: open_parts(corpus, stage, n, retry) for n in shards}
    return {n: sum(len(s.left) + len(s.failed_before) for s in parts) for n, parts in opened.items() if parts}


def open_parts(corpus: Corpus, stage: Stage, number: int, retry: Retry) -> list[OpenShard]:
    """The parts of a shard that have something to do."""
    return [shard for part in stage.parts if (shard := _open(corpus, part, number, retry)) is not None]


def _open(corpus: Corpus, stage: Stage, number: int, retry: Retry) -> OpenShard | None:
    """A shard with something to do, or None."""
    source = source_of(corpus, stage, number)
    if source is None:
        return None
    input, rows = source
    failed = {r["uid"]: failed_before(stage, r) for r in rows if r["status"] == "failed"}
    uids = {r["uid"] for r in rows} - failed.keys()
    resume_key = stage.resume_key
    key = [stage.name, input, stage.spec, resume_key]
    named = {"stage": stage.name, "made_from": input_stage(corpus, stage), "shard": number, "input": input}
    fragment = corpus.fragment(stage.name, number)
    if fragment is None or not is_current(fragment, input, stage.spec):
        return OpenShard(stage, number, input, rows, Spool(content_hash(key), named), resume_key, {}, failed, uids)
    again = uids if isinstance(retry, bool) else retry
    kept = {r["uid"]: r for r in fragment.table.to_pylist() if r["status"] == "ok" or r["uid"] not in again}
    if not retry or uids <= kept.keys():
        return None
    # The key names the fragment: a retry never takes a failure of the run before for a result of its own.
    spool = Spool(content_hash([*key, fragment.sha256]))
    return OpenShard(stage, number, input, rows, spool, resume_key, kept, failed, uids - kept.keys())
