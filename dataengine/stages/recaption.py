"""Captions change, pictures do not: new ones go into the plan, and at leisure into the shards' `<uid>.txt`.

The plan is where captions are read from: by the catalog, by training, by `render` for shards to come. What a tar says
is a copy, for readers that have nothing but the tar.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from dataengine.corpus.config import CorpusConfig
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.fragments import list_all, list_fragments, read_fragment
from dataengine.corpus.rewrite import rewrite_shard
from dataengine.corpus.storage import Store
from dataengine.download.http import downloads_in
from dataengine.errors import UsageError
from dataengine.manifests.connection import scratch
from dataengine.paths import cache_root
from dataengine.sources.captions import load_captions, pin_captions
from dataengine.stages.plan_files import read_before, write_plan
from dataengine.stages.plan_selection import match_captions

STAGES = "captions/"  # the kind of stages whose rows have a column `caption`


@dataclass(frozen=True)
class Recaptioned:
    """What `set_captions` did.

    Attributes:
        read: captions in the files, one a key.
        assets: of the plan, which some caption is for.
        changed: of these, whose caption is another than before.
        without: planned assets that have no caption now.
        unknown: a few keys that no asset bears.
        notes: which rows of a file were refused, and why.
    """

    read: int
    assets: int
    changed: int
    without: int
    unknown: tuple[str, ...]
    notes: tuple[str, ...]


def set_captions(url: str | Path, specs: Sequence[str], *, cache: Path | None = None) -> Recaptioned:
    """Gives the assets of a corpus the captions of some files. Nothing is rendered or tokenized again for it.

    An asset that no file names keeps the caption that it has. The files come before those that the corpus was planned
    with, so that planning again gives the same captions.

    Args:
        url: of the corpus.
        specs: as `plan --captions` takes them, or `captions/NAME`: what a stage of that name has written. First wins.
        cache: where what is downloaded is kept; default: the user's cache folder.

    Raises:
        UsageError: if there is no such corpus or file, or the corpus is of format 1.
        DataengineError: if the store cannot be written.
    """
    store = Store(url)
    store.check_writable()
    config, table = planned(store)
    if config.format == 1:
        raise UsageError(f"{store.url} is of format 1, whose shards depend on their captions: plan into a new folder")
    pinned = pin_captions(specs, config.captions, lambda: downloads_in(cache or cache_root()))
    with scratch() as con:
        notes = load_captions(con, pinned, lambda: downloads_in(cache or cache_root()), stage_captions(store))
        con.register("plan", table)
        con.execute(_FOUND)
        match_captions(con)
        captions = con.sql(_CAPTIONS).to_arrow_table()["caption"]
        read, matched, unknown = _counts(con)
    old = table["caption"]
    captions = captions.cast(old.type)
    same = pc.or_kleene(pc.equal(captions, old), pc.and_(pc.is_null(captions), pc.is_null(old)))
    shown = pc.equal(table["status"], "planned")
    changed = pc.and_(pc.invert(pc.fill_null(same, False)), shown)
    table = table.set_column(table.schema.get_field_index("caption"), "caption", captions)
    order = tuple(dict.fromkeys((*pinned, *config.captions)))
    write_plan(store, config.model_copy(update={"captions": order}), table)
    return Recaptioned(
        read=read,
        assets=matched,
        changed=_count(changed),
        without=_count(pc.and_(pc.is_null(captions), shown)),
        unknown=tuple(unknown),
        notes=tuple(notes),
    )


def rewrite_captions(corpus: Corpus, *, on_shard: Callable[[str, int], None] = lambda stage, shard: None) -> int:
    """Puts the present captions into the members `txt` of all shards. Everything else is copied byte for byte.

    A kill costs the shard in hand. The tars that were replaced are garbage: `verify --prune` drops them.

    Args:
        corpus: any; commands that make shards may run.
        on_shard: told of each shard that was written again.

    Returns:
        How many shards were.

    Raises:
        DataengineError: if a shard cannot be read or written; those before it are done.
    """
    corpus.store.check_writable()
    written = 0
    planned_shards = set(corpus.shards())
    for stage, listed in list_all(corpus.store).items():
        if stage.partition("/")[0] not in ("views", "tokens"):  # what a stage of your own writes is its own affair
            continue
        for shard in sorted(listed.keys() & planned_shards):
            written += _rewrite(corpus, stage, shard)
            on_shard(stage, shard)
    return written


def _rewrite(corpus: Corpus, stage: str, shard: int) -> bool:
    fragment = corpus.fragment(stage, shard)
    if fragment is None:
        return False
    rows = fragment.table.to_pylist()
    said = {r["uid"]: _text_hash(r) for r in rows if r["status"] == "ok"}
    captions: Mapping[str, str | None] = {r["uid"]: r["caption"] for r in corpus.plan(shard).to_pylist()}
    texts = {uid: (captions[uid] or "").encode() for uid in said.keys() & captions.keys()}
    texts = {uid: text for uid, text in texts.items() if hashlib.sha256(text).hexdigest() != said[uid]}
    if texts:
        rewrite_shard(corpus.store, fragment, rows, texts=texts)
    return bool(texts)


def _text_hash(row: Mapping[str, Any]) -> str:
    """Hash of the caption in the tar; the empty one's where there is no such member."""
    return next((m["sha256"] for m in row["members"] or [] if m["name"] == "txt"), hashlib.sha256(b"").hexdigest())


def stage_captions(store: Store) -> Callable[[str], pa.Table | None]:
    """What `load_captions` asks for the captions that a stage of the corpus has written."""

    def read(name: str) -> pa.Table | None:
        if not name.startswith(STAGES) or not (listed := list_fragments(store, name)):
            return None
        uids: list[str] = []
        captions: list[str | None] = []
        for shard in sorted(listed):
            fragment = read_fragment(store, name, shard)
            if fragment is None:  # removed since it was listed
                continue
            if "caption" not in fragment.table.column_names:
                raise UsageError(f"the rows of the stage {name} have no column caption")
            good = fragment.table.filter(pc.equal(fragment.table["status"], "ok"))
            uids += good["uid"].to_pylist()
            captions += good["caption"].to_pylist()
        return pa.table({"k": pa.array(uids, pa.string()), "c": pa.array(captions, pa.string())})

    return read


def planned(store: Store) -> tuple[CorpusConfig, pa.Table]:
    """The config and the plan of a corpus, also of one whose writing was cut short.

    Raises:
        UsageError: if there is none, or its corpus.yaml was changed by hand.
    """
    before = read_before(store)
    if before is None:
        raise UsageError(f"{store.url} is not a corpus; make one with `dataengine plan`")
    if store.exists("corpus.yaml"):
        Corpus.open(store.url).shards()  # says so if it was changed by hand
    return before


def _counts(con: duckdb.DuckDBPyConnection) -> tuple[int, int, list[str]]:
    """(captions read, assets matched, a few keys that match none)."""
    read = con.execute("select count(distinct key) from captions").fetchall()[0][0]
    matched = con.execute("select count(*) from matched").fetchall()[0][0]
    unknown = con.execute(_UNKNOWN).fetchall()
    return int(read), int(matched), [str(key) for (key,) in unknown]


def _count(flags: pa.ChunkedArray) -> int:
    return int(pc.sum(flags).as_py() or 0)


_FOUND = """
    create temp view found as
    with placed as (
        select row_number() over () as n, uid, sha256, uri, page_url, group_id, caption, status,
            coalesce(nullif(regexp_extract(source, '^[a-z0-9-]+:(/.*)$', 1), ''), source) as home,
            regexp_extract(regexp_replace(uri, '[?#].*$', ''), '([^/]*)$', 1) as file
        from plan
    )
    select n, uid, sha256, uri, page_url, group_id, caption, null::varchar as alias,
        case when starts_with(uri, home || '/') then substr(uri, length(home) + 2) end as path,
        regexp_replace(file, '\\.[^.]*$', '') as stem
    from placed where status = 'planned'
"""
_CAPTIONS = """
    select coalesce(matched.caption, numbered.caption) as caption
    from (select row_number() over () as n, caption from plan) numbered left join matched using (n) order by n
"""
_UNKNOWN = """
    select distinct key from captions anti join (
        select unnest([uid, sha256, path, uri, page_url, stem]) as key from found
    ) using (key) order by key limit 3
"""
