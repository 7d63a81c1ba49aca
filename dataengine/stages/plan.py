"""`plan`: sources, captions and a filter become plan/assets.parquet and corpus.yaml.

The work is done on columns by DuckDB: a million rows are seconds. A shard keeps its rows for ever once any shard of
the corpus is committed: planning again appends what is new, replaces a file that changed in its place, and leaves the
rest alone, so that finished shards stay finished.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from dataengine.corpus.config import CorpusConfig, RenderConfig, SourceConfig, ViewSet
from dataengine.corpus.fragments import list_all
from dataengine.corpus.schema import PLAN
from dataengine.corpus.storage import Store
from dataengine.download.http import downloads_in
from dataengine.errors import UsageError
from dataengine.manifests.connection import scratch
from dataengine.paths import cache_root
from dataengine.render.choice import pin_looks
from dataengine.render.environment import FOLDER as LIGHTS
from dataengine.render.environment import put_lights
from dataengine.render.view_sets import described, frozen_set
from dataengine.sources.captions import load_captions, pin_captions
from dataengine.sources.licences import is_non_commercial
from dataengine.sources.listing import SourceListing, SourceQuery
from dataengine.sources.registry import find
from dataengine.stages.plan_files import check_same, read_before, write_plan
from dataengine.stages.plan_selection import (
    as_the_format_is,
    cut,
    drop_duplicates,
    join_captions,
    load_assets,
    number,
    select,
    without,
)
from dataengine.stages.plan_sets import sets_again
from dataengine.stages.plan_shards import assign_shards, plan_table
from dataengine.stages.recaption import stage_captions


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
        sets: what was frozen of each view set, a line each.
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
    sets: tuple[str, ...]


def plan_corpus(
    url: str | Path,
    *,
    sources: Sequence[str],
    render: RenderConfig | None = None,
    sets: Sequence[ViewSet] | None = None,
    captions: Sequence[str] = (),
    where: str | None = None,
    limit: int | None = None,
    sample: int | None = None,
    shard_size: int = 256,
    guess_up: bool = True,
    cache: Path | None = None,
) -> PlanSummary:
    """Plans a corpus, or plans it again.

    Args:
        url: folder or any fsspec URL.
        sources: such as `local:models`, see docs/sources.md.
        render: the settings of a corpus's one view set, which is called after its rig.
        sets: of several view sets, instead; those that the corpus has already and that are not among them stay.
            Neither: what the corpus has, and for a new one the default.
        captions: caption files, first wins.
        where: an SQL condition over the assets' columns.
        limit: assets at most, the first of what the filter leaves.
        sample: assets at most, drawn from what the filter leaves: the same for the same seed.
        shard_size: assets per shard.
        guess_up: whether an OBJ whose shape speaks for z is read z up; False: y up, as the format's habit is.
        cache: where the sources' lists are kept; default: the user's cache folder.

    Raises:
        UsageError: for a wrong source, filter, caption file or environment map, nothing to plan, or settings other than
            those of shards that are committed already.
        DataengineError: if the store cannot be written.
    """
    store = Store(url)
    store.check_writable()
    before = read_before(store)
    limits = sets[0].render.limits if sets else (render or RenderConfig()).limits
    pinned = {s.spec: s.revision for s in before[0].sources} if before is not None else {}
    cache = cache or cache_root()
    first = limit if where is None and sample is None else None
    specs = dict.fromkeys(sources)
    found = [find(spec, SourceQuery(limits, cache, pinned.get(spec), first)) for spec in specs]
    found = list({listing.spec: listing for listing in found}.values())  # one that was named in two ways
    return plan_assets(
        url,
        found,
        render=render,
        sets=sets,
        captions=pin_captions(captions, before[0].captions if before else (), lambda: downloads_in(cache)),
        where=where,
        limit=limit,
        sample=sample,
        shard_size=shard_size,
        guess_up=guess_up,
        cache=cache,
    )


def plan_assets(
    url: str | Path,
    found: Sequence[SourceListing],
    *,
    render: RenderConfig | None = None,
    sets: Sequence[ViewSet] | None = None,
    captions: Sequence[str] = (),
    where: str | None = None,
    limit: int | None = None,
    sample: int | None = None,
    shard_size: int = 256,
    guess_up: bool = True,
    cache: Path | None = None,
) -> PlanSummary:
    """As `plan_corpus`, from sources that were read already."""
    if not found:
        raise UsageError("plan needs a source, such as --source local:models")
    store = Store(url)
    store.check_writable()
    before = read_before(store)
    begun = {stage for stage, listed in list_all(store).items() if listed} if before is not None else set()
    chosen, differing, frozen = _sets(render, sets, before[0] if before is not None else None, begun)
    config = CorpusConfig(
        **frozen,
        sources=tuple(SourceConfig(spec=f.spec, revision=f.revision) for f in found),
        sets=chosen,
        where=where,
        limit=limit,
        sample=sample,
        captions=tuple(captions),
        shard_size=shard_size,
        guess_up=guess_up,
    )
    if begun and before is not None:
        check_same(config, before[0], store, differing)
    with scratch() as con:
        con.execute("set preserve_insertion_order = true")
        stones = PLAN.empty_table() if before is None else before[1].filter(pc.equal(before[1]["status"], "removed"))
        listed = [f.assets if guess_up else as_the_format_is(f.assets) for f in found]
        staying = [without(assets, stones["uid"].combine_chunks()) for assets in listed]
        total = load_assets(con, staying)
        caption_notes = load_captions(con, captions, lambda: downloads_in(cache or cache_root()), stage_captions(store))
        con.execute("set enable_external_access = false")
        join_captions(con)
        select(con, where)
        drop_duplicates(con)
        cut(con, limit, sample, config.seed)
        old = before[1] if begun and before is not None else None
        assign_shards(con, shard_size, old)
        table = plan_table(con, config, stones)
        notes = [*(note for f in found for note in f.notes), *caption_notes]
        if kept_out := sum(t.num_rows for t in listed) - total:
            notes.append(f"{kept_out} models of the sources were removed from this corpus and stay out of it")
        summary = _summary(con, total, old, notes, [described(s) for s in config.sets])
    there = store.versions(LIGHTS)
    for view_set in config.sets:
        if any(f"{LIGHTS}/{hdri.file}" not in there for hdri in view_set.render.hdris):
            put_lights(store, pin_looks(view_set.render)[1])
    write_plan(store, config, table)
    return summary


def _sets(
    render: RenderConfig | None, sets: Sequence[ViewSet] | None, old: CorpusConfig | None, begun: set[str]
) -> tuple[tuple[ViewSet, ...], list[str], dict[str, Any]]:
    """(the corpus's view sets, what of them differs from what is finished, other fields that stay as they were)."""
    asked = list(sets) if sets else [frozen_set(render)] if render is not None else None
    if old is None or not begun:
        if asked is None:  # those that were planned, with the numbers of today
            asked = [frozen_set(s.render, s.name) for s in old.sets] if old else [frozen_set(RenderConfig())]
        return tuple(asked), [], {}
    added: list[str] = []
    if not sets and asked is not None:
        if len(old.sets) == 1:  # the corpus's one set is meant, whatever its name
            asked = [asked[0].model_copy(update={"name": old.sets[0].name})]
        elif asked[0].name not in {s.name for s in old.sets}:
            added = [f"without a view set {asked[0].name}: --views adds one"]
    chosen, differing = sets_again(asked, old, begun)
    differing += added
    return chosen, differing, {"format": old.format}


def _summary(
    con: duckdb.DuckDBPyConnection, total: int, old: pa.Table | None, notes: Sequence[str], sets: Sequence[str]
) -> PlanSummary:
    counts = con.execute(
        """
        select count(*), count(distinct shard), count(caption), count(distinct group_id),
            coalesce(sum(bytes), 0), count(*) filter (n = -1) from planned
        """
    ).fetchone()
    assert counts is not None
    planned, shards, captioned, groups, size, gone = (int(c) for c in counts)
    duplicates = number(con, "select count(*) from duplicates")
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
        sets=tuple(sets),
    )
