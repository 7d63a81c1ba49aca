"""`remove`: an asset leaves a corpus with all that was made of it; a tombstone stays, so that it never comes back.

What is to be done is written down first (plan/removal.json), and struck off last: a removal that was killed is finished
by the next one. In between:

    the plan         its row becomes a tombstone: uid, date, reason, hash of the file; no stage makes it from then on
    each stage       its shard is written again without it, its neighbours copied byte for byte; no hash that others
                     name changes, so nothing becomes stale. The tar that held it is deleted, and garbage that holds it
    compact/         is made anew
    this machine     its spooled results, its downloads, copies of the tars that training has made
"""

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dataengine.corpus.corpus import Corpus
from dataengine.corpus.fragments import Fragment, fragment_name, list_all, read_fragment
from dataengine.corpus.gone import JOURNAL, holds, tars_of
from dataengine.corpus.rewrite import rewrite_shard
from dataengine.corpus.schema import PLAN
from dataengine.corpus.storage import Store
from dataengine.corpus.summaries import summaries_with
from dataengine.errors import UsageError
from dataengine.manifests import compact
from dataengine.stages.plan_files import write_plan
from dataengine.stages.plan_shards import with_inputs
from dataengine.stages.recaption import planned
from dataengine.stages.takedown_local import forget_on_this_machine

Say = Callable[[str], None]


@dataclass
class Removed:
    """What `remove` did.

    Attributes:
        uids: of the assets that are gone.
        copies: of these, files of the same bytes that the plan had as duplicates: they are gone too.
        same_file: uid → uids of other assets whose main file has the same bytes; they stay.
        shards: stage → shards that were written again, or deleted where nothing was left.
        local: files and folders of this machine that were deleted.
    """

    uids: list[str]
    copies: list[str] = field(default_factory=list)
    same_file: dict[str, list[str]] = field(default_factory=dict)
    shards: dict[str, list[int]] = field(default_factory=dict)
    local: int = 0


def remove(
    url: str | Path,
    uids: Sequence[str],
    reason: str,
    *,
    cache: Path | None = None,
    say: Say = lambda line: None,
) -> Removed:
    """Takes assets out of a corpus. A removal that was killed is finished first.

    Nothing else may be at work on the corpus: a run that began before would put back what it holds.

    Args:
        url: of the corpus.
        uids: of planned assets; none: only finish what was killed.
        reason: for the tombstones.
        cache: folder of downloads; default: the user's.
        say: told in one line what is done.

    Raises:
        UsageError: if there is no corpus, or an asset is not in it or was removed already; the nearest is named.
        DataengineError: if the store cannot be read or written. Run it again to go on.
    """
    store = Store(url)
    store.check_writable()
    done = Removed([])
    journal = _read_journal(store)
    if journal is not None:
        say(f"finishing the removal of {len(journal['rows'])} assets that was begun on {journal['at']}")
        _finish(store, journal, done, cache, say)
    if uids:
        journal = _journal(store, uids, reason)
        done.same_file = _same_file(store, journal)
        store.put(JOURNAL, json.dumps(journal, default=str).encode())
        _finish(store, journal, done, cache, say)
    return done


def check_known(table: pa.Table, uids: Sequence[str], where: str) -> None:
    """Raises UsageError for the first uid that the plan does not have as a planned asset."""
    known = dict(zip(table["uid"].to_pylist(), zip(*(table[c].to_pylist() for c in _TOLD), strict=True), strict=True))
    for uid in uids:
        status, reason, when = known.get(uid, (None, None, None))
        if status == "removed":
            raise UsageError(f"{uid} was removed on {when:%Y-%m-%d} already ({reason})")
        if status == "duplicate":
            raise UsageError(f"{uid} is a duplicate: {reason}; remove that one, its copies go with it")
        if status is None:
            near = difflib.get_close_matches(uid, known, n=1, cutoff=0.0)
            hint = f"; the nearest is {near[0]}" if near else ""
            raise UsageError(f"{where} has no asset {uid!r}{hint}")


def tombstones(table: pa.Table) -> pa.Table:
    """The rows of a plan that stand for removed assets."""
    return table.filter(pc.equal(table["status"], "removed"))


def _journal(store: Store, uids: Sequence[str], reason: str) -> dict[str, Any]:
    """What is to be done, before anything is: the rows, and how the inputs of their shards change."""
    config, table = planned(store)
    check_known(table, uids, store.url)
    wanted = set(uids)
    rows = [r for r in table.to_pylist() if r["uid"] in wanted or _copy_of(r) in wanted]
    shards = {r["shard"] for r in rows if r["shard"] is not None}
    left = table.filter(pc.invert(pc.is_in(table["uid"], pa.array([r["uid"] for r in rows], pa.string()))))
    touched = left.filter(pc.is_in(left["shard"], pa.array(sorted(shards), pa.int32())))
    now = _inputs(with_inputs(touched, config))
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "reason": reason,
        "rows": rows,
        "shards": {str(n): [was, now.get(n)] for n, was in _inputs(table).items() if n in shards},
    }


def _inputs(table: pa.Table) -> dict[int, str]:
    pairs = zip(table["shard"].to_pylist(), table["shard_input"].to_pylist(), strict=True)
    return {n: text for n, text in pairs if n is not None}


def _copy_of(row: Mapping[str, Any]) -> str | None:
    """The uid that a duplicate's reason names."""
    words = str(row["reason"]).removeprefix("same content as ").split(" ")
    return words[0] if row["status"] == "duplicate" else None


def _same_file(store: Store, journal: Mapping[str, Any]) -> dict[str, list[str]]:
    gone = {r["sha256"]: r["uid"] for r in journal["rows"] if r["sha256"] and r["status"] == "planned"}
    uids = {r["uid"] for r in journal["rows"]}
    _, table = planned(store)
    found: dict[str, list[str]] = {}
    for uid, sha256, status in zip(*(table[c].to_pylist() for c in ("uid", "sha256", "status")), strict=True):
        if sha256 in gone and uid not in uids and status == "planned":
            found.setdefault(gone[sha256], []).append(uid)
    return found


def _finish(store: Store, journal: Mapping[str, Any], done: Removed, cache: Path | None, say: Say) -> None:
    rows = journal["rows"]
    uids = {r["uid"] for r in rows}
    _bury(store, journal)
    say(f"{len(uids)} tombstones are in the plan")
    corpus = Corpus.open(store.url)
    for stage, listed in list_all(store).items():
        for shard, (was, now) in sorted((int(n), inputs) for n, inputs in journal["shards"].items()):
            if shard in listed and _take_out(store, stage, shard, uids, was, now):
                done.shards.setdefault(stage, []).append(shard)
                say(f"{stage} shard {shard} is written again")
        _drop_garbage(store, stage, uids)
    _drop_unfinished(store, "plan")
    for name in dict(summaries_with(store, uids)):
        store.delete(name)
    _compact_again(corpus)
    done.local += forget_on_this_machine(rows, cache)
    store.delete(JOURNAL)
    done.uids += [r["uid"] for r in rows if r["status"] == "planned"]
    done.copies += [str(r["uri"]) for r in rows if r["status"] == "duplicate"]


def _bury(store: Store, journal: Mapping[str, Any]) -> None:
    """Writes the plan with tombstones instead of the rows, unless it is."""
    config, table = planned(store)
    uids = pa.array([r["uid"] for r in journal["rows"]], pa.string())
    there = pc.and_(pc.is_in(table["uid"], uids), pc.not_equal(table["status"], "removed"))
    if not pc.any(there).as_py() and store.exists("corpus.yaml"):
        return
    left = table.filter(pc.invert(there))
    at = datetime.fromisoformat(journal["at"])
    told = {"status": "removed", "reason": journal["reason"], "removed_at": at}
    buried = {r["uid"] for r in tombstones(left).to_pylist()}
    stones = [
        {"uid": r["uid"], "source": r["source"], "sha256": r["sha256"], "tags": [], "dependencies": [], **told}
        for r in journal["rows"]
        if r["status"] == "planned" and r["uid"] not in buried
    ]
    inputs = {int(n): now for n, (_, now) in journal["shards"].items()}
    shards, was = left["shard"].to_pylist(), left["shard_input"].to_pylist()
    column = pa.array([inputs.get(n, text) for n, text in zip(shards, was, strict=True)], pa.string())
    left = left.set_column(left.schema.get_field_index("shard_input"), "shard_input", column)
    table = pa.concat_tables([left.cast(PLAN), pa.Table.from_pylist(stones, schema=PLAN)])
    write_plan(store, config, table)


def _take_out(store: Store, stage: str, shard: int, uids: set[str], was: str, now: str | None) -> bool:
    """Writes a shard again without some assets; whether there was anything to do."""
    fragment = read_fragment(store, stage, shard)
    if fragment is None:
        return False
    rows = fragment.table.to_pylist()
    left = [r for r in rows if r["uid"] not in uids]
    input = fragment.input
    if fragment.head.get("made_from") is None and now is not None and input.startswith(was):
        input = now + input[len(was) :]
    if len(left) == len(rows) and input == fragment.input:
        return False
    if not left or now is None:
        store.delete(fragment_name(stage, shard))
    else:
        rewrite_shard(store, fragment, left, input=input)
    _delete_tar(store, fragment)
    return True


def _delete_tar(store: Store, fragment: Fragment) -> None:
    now = read_fragment(store, fragment.stage, fragment.shard)
    if fragment.tar is not None and (now is None or now.tar != fragment.tar):
        store.delete(fragment.tar)


def _drop_garbage(store: Store, stage: str, uids: set[str]) -> None:
    """Deletes tars that no fragment names and that hold one of the assets: of a retry, or a run that was killed."""
    for name in tars_of(store, stage, named=False):
        if holds(store, name, uids):
            store.delete(name)
    _drop_unfinished(store, stage)


def _drop_unfinished(store: Store, folder: str) -> None:
    """Deletes tables that a killed writer has left half written."""
    for name in store.versions(folder, ".tmp", hidden=True):
        if ".tar." not in name:
            store.delete(name)


def _compact_again(corpus: Corpus) -> None:
    store = corpus.store
    files = store.versions(compact.FOLDER, hidden=True)
    if not files:
        return
    store.delete(compact.INDEX)  # first: readers go to the fragments then
    for name in files:
        store.delete(name)
    compact.compact(corpus)


def _read_journal(store: Store) -> dict[str, Any] | None:
    try:
        journal: dict[str, Any] = json.loads(store.read(JOURNAL))
    except FileNotFoundError:
        return None
    return journal


_TOLD = ("status", "reason", "removed_at")
