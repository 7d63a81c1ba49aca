"""A stage of the pipeline, and the loop that runs every stage.

A stage makes one tar and one fragment per shard, from the plan or from another stage's fragment. A shard is done when
its fragment names the present input and the stage's spec (`is_current`). What is not done is made again, except the
assets that a killed run left in the spool. One asset's failure is a row; only what ends the run is raised.
"""

import socket
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

import pyarrow as pa

from dataengine import isolated
from dataengine.corpus.commit import commit_shard
from dataengine.corpus.config import content_hash
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.fragments import Fragment
from dataengine.corpus.result import Result
from dataengine.corpus.schema import result_schema
from dataengine.corpus.shards import read_member
from dataengine.errors import AssetFailure, DataengineError, ErrorCode
from dataengine.stages.spool import Spool

Row = Mapping[str, Any]
Retry = bool | Set[str]  # whether failed assets are processed again; a set: those of these uids
OnAsset = Callable[[Row], None]
OnShard = Callable[[Fragment], None]
Say = Callable[[str], None]


class Restart(Exception):
    """Raised by `process` when its stage has changed its `resume_key`: the open shards are begun again."""


class Stage(ABC):
    """What is made of each asset. Light and picklable until it is started, so that Ray can send it to its workers.

    Attributes:
        name: KIND/NAME, such as `tokens/small`: its folder in the corpus; KIND is a view in SQL.
        schema: the columns that `process` returns; those that every fragment has are added, see schema.result_schema.
        made_from: the stage whose rows it takes; `views`: that of the corpus's only view set; None: the plan's.
        workers: how many threads may be in `process` at a time.
        say: told in one line what a person should know of a start, such as which protections are in force.
        keeps_gpu: whether, on Ray, a worker keeps a share of a GPU for it from shard to shard, where there are GPUs.
    """

    name: str
    schema: ClassVar[pa.Schema]
    made_from: str | None = None
    keeps_gpu: ClassVar[bool] = False
    workers: int = 1
    say: Say = staticmethod(lambda line: None)

    @property
    def parts(self) -> Sequence["Stage"]:
        """What is made together of one row, each part with a folder of its own: most stages are their only part."""
        return (self,)

    @property
    def spec(self) -> str | None:
        """Hash of what decides the results besides the input; None where the input says it all."""
        return None

    @property
    def resume_key(self) -> Any:
        """What else must be the same (JSON) for results of a killed run to be used."""
        return None

    def input(self, corpus: Corpus, shard_input: str) -> str:
        """What a fragment made from the plan names: the hash of the shard's assets, and of what else it depends on."""
        return shard_input

    def start(self, corpus: Corpus) -> None:  # noqa: B027 - most stages hold nothing
        """Takes what `process` needs: Blenders, a network on its device."""

    def stop(self) -> None:  # noqa: B027
        """Lets go of it, at once: calls of `process` that are under way fail."""

    def settings(self, shard: int) -> Mapping[str, Any]:
        """What the fragment's metadata says of how the shard was made."""
        return {}

    @abstractmethod
    def process(self, row: Row) -> Result:
        """One asset: its columns, and its members for the tar.

        Args:
            row: of the plan, or of the fragment of `made_from`.

        Raises:
            AssetFailure: if nothing can be made of it: becomes its row.
            DataengineError: if the run cannot go on.
        """

    def process_parts(self, row: Row, parts: Sequence["Stage"]) -> "Iterator[tuple[Stage, Result | AssetFailure]]":
        """Each of some parts, and what it made of one asset. Raises as `process`, but for AssetFailure."""
        for part in parts:
            try:
                yield part, part.process(row)
            except AssetFailure as failure:
                yield part, failure


@dataclass
class _Shard:
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


def input_stage(corpus: Corpus, stage: Stage) -> str | None:
    """The stage that a stage takes its rows from, by the name that it has in this corpus; None: the plan."""
    return corpus.config.view_set().stage if stage.made_from == "views" else stage.made_from


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
    opened = {n: _open_parts(corpus, stage, n, retry) for n in shards}
    return {n: sum(len(s.left) + len(s.failed_before) for s in parts) for n, parts in opened.items() if parts}


def run_shards(
    corpus: Corpus,
    stage: Stage,
    shards: Sequence[int],
    *,
    retry: Retry = False,
    on_asset: OnAsset = lambda row: None,
    on_shard: OnShard = lambda fragment: None,
    say: Say = lambda line: None,
) -> None:
    """Makes a stage's shards; commits each as soon as its last asset is done, while the next one's are processed.

    Args:
        corpus: a planned corpus.
        stage: started here, and stopped at the end.
        shards: which; done ones, and those that the stage before has not made, are left alone.
        retry: also process the failed assets of done shards again, or those of these uids, and nothing else of them.
        on_asset: called with the row of each asset as it is finished (or found finished in the spool).
        on_shard: called with each fragment as it is committed.
        say: told in one line what a person should know, such as that memory was short.

    Raises:
        DataengineError: if the store or the spool cannot be written, or the stage cannot work. What is done is kept.
    """
    corpus.store.check_writable()
    stage.say = say
    try:
        stage.start(corpus)
        run_started(corpus, stage, shards, retry=retry, on_asset=on_asset, on_shard=on_shard, say=say)
    finally:
        stage.stop()


def run_started(
    corpus: Corpus,
    stage: Stage,
    shards: Sequence[int],
    *,
    retry: Retry = False,
    on_asset: OnAsset = lambda row: None,
    on_shard: OnShard = lambda fragment: None,
    say: Say = lambda line: None,
) -> None:
    """As `run_shards`, with a stage that is started and stays so unless something raises."""
    while True:
        try:
            return _run(corpus, stage, shards, retry, on_asset, on_shard)
        except Restart as e:
            say(str(e))


def _run(
    corpus: Corpus, stage: Stage, shards: Sequence[int], retry: Retry, on_asset: OnAsset, on_shard: OnShard
) -> None:
    with ThreadPoolExecutor(stage.workers, "stage") as pool:
        tasks = _tasks(corpus, stage, shards, retry)
        running: dict[Future[list[tuple[_Shard, Row]]], None] = {}
        try:
            while True:
                # Two more than the workers keeps them busy; a longer queue would only make a stop slower.
                while len(running) < stage.workers + 2 and (task := next(tasks, None)) is not None:
                    opened, row = task
                    if row is not None:
                        running[pool.submit(_process, stage, opened, row)] = None
                        continue
                    for shard in opened:
                        for known in shard.failed_before.values():
                            on_asset(known)
                        if not shard.left:
                            _finish(corpus, shard, on_shard)
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    del running[future]
                    for shard, done in future.result():
                        on_asset(done)
                        shard.left.discard(done["uid"])
                        if not shard.left:
                            _finish(corpus, shard, on_shard)
        except Restart:
            pool.shutdown(cancel_futures=True)
            raise
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            stage.stop()  # so that threads which wait for it, or for a reader of a file, end too
            isolated.stop()
            raise


def _tasks(
    corpus: Corpus, stage: Stage, shards: Sequence[int], retry: Retry
) -> Iterator[tuple[list[_Shard], dict[str, Any] | None]]:
    """(parts, None) as a shard is opened, which waits until its turn comes, then (those parts that need it, row)."""
    for number in shards:
        opened = _open_parts(corpus, stage, number, retry)
        if opened:
            pending = [set(shard.left) for shard in opened]  # which shrink as assets are finished
            yield opened, None
            for row in opened[0].rows:
                wanted = [shard for shard, left in zip(opened, pending, strict=True) if row["uid"] in left]
                if wanted:
                    yield wanted, row


def _open_parts(corpus: Corpus, stage: Stage, number: int, retry: Retry) -> list[_Shard]:
    """The parts of a shard that have something to do."""
    return [shard for part in stage.parts if (shard := _open(corpus, part, number, retry)) is not None]


def _open(corpus: Corpus, stage: Stage, number: int, retry: Retry) -> _Shard | None:
    """A shard with something to do, or None."""
    source = source_of(corpus, stage, number)
    if source is None:
        return None
    input, rows = source
    failed = {r["uid"]: _failed_before(stage, r) for r in rows if r["status"] == "failed"}
    uids = {r["uid"] for r in rows} - failed.keys()
    resume_key = stage.resume_key
    key = [stage.name, input, stage.spec, resume_key]
    named = {"stage": stage.name, "made_from": input_stage(corpus, stage), "shard": number, "input": input}
    fragment = corpus.fragment(stage.name, number)
    if fragment is None or not is_current(fragment, input, stage.spec):
        return _Shard(stage, number, input, rows, Spool(content_hash(key), named), resume_key, {}, failed, uids)
    again = uids if isinstance(retry, bool) else retry
    kept = {r["uid"]: r for r in fragment.table.to_pylist() if r["status"] == "ok" or r["uid"] not in again}
    if not retry or uids <= kept.keys():
        return None
    # The key names the fragment: a retry never takes a failure of the run before for a result of its own.
    spool = Spool(content_hash([*key, fragment.sha256]))
    return _Shard(stage, number, input, rows, spool, resume_key, kept, failed, uids - kept.keys())


def _failed_before(stage: Stage, row: Row) -> dict[str, Any]:
    """The row of an asset that an earlier stage could make nothing of."""
    failed_in = row.get("failed_in") or stage.made_from
    before = f"has no {str(failed_in).partition('/')[0]}: "
    message = str(row["message"])
    return {
        **_head(row),
        "status": "failed",
        "error": row["error"],
        "message": message if message.startswith(before) else before + message,
        "failed_in": failed_in,
        **_tail(time.monotonic()),
    }


def _process(stage: Stage, shards: Sequence[_Shard], row: Row) -> list[tuple[_Shard, Row]]:
    """One asset in each of these shards, which are those of parts; each result is kept as soon as it is there."""
    spooled = [(shard, shard.spool.get(row["uid"])) for shard in shards]
    found: list[tuple[_Shard, Row]] = [(shard, result.row) for shard, result in spooled if result is not None]
    for shard, result in _results(stage, [shard for shard, result in spooled if result is None], row):
        if shard.stage.resume_key != shard.resume_key:
            raise Restart("the stage has changed its settings")
        shard.spool.put(row["uid"], result)
        found.append((shard, result.row))
    return found


def _results(stage: Stage, shards: Sequence[_Shard], row: Row) -> Iterator[tuple[_Shard, Result]]:
    left = {shard.stage.name: shard for shard in shards}
    if not left:
        return
    started = time.monotonic()
    try:
        for part, made in stage.process_parts(row, [shard.stage for shard in shards]):
            result = _failed(part, row, made, started) if isinstance(made, AssetFailure) else _ok(row, made, started)
            yield left.pop(part.name), result
            started = time.monotonic()
    except (DataengineError, OSError, Restart):
        raise
    except MemoryError as e:
        raise DataengineError(f"out of memory in stage {stage.name}, asset {row['uid']}: use fewer workers") from e
    except Exception as e:  # noqa: BLE001 - a fault of ours costs one row, and the row says where to look
        failure = AssetFailure(ErrorCode.CRASH, f"internal: {type(e).__name__}: {e}", traceback.format_exc())
        for shard in left.values():
            yield shard, _failed(shard.stage, row, failure, started)


def _ok(row: Row, made: Result, started: float) -> Result:
    columns, members = made
    return Result({**_head(row), "status": "ok", **columns, **_tail(started)}, members)


def _failed(stage: Stage, row: Row, failure: AssetFailure, started: float) -> Result:
    columns = {
        **_head(row),
        "status": "failed",
        "error": failure.code.value,
        "message": " ".join(failure.message.split()),
        "log": failure.log,
        "failed_in": stage.name,
        **_tail(started),
    }
    return Result(columns, {})


def _head(row: Row) -> dict[str, Any]:
    return {"uid": row["uid"], "row": row["row"]}


def _tail(started: float) -> dict[str, Any]:
    return {
        "wall_seconds": time.monotonic() - started,
        "finished_at": datetime.now(UTC),
        "host": socket.gethostname(),
    }


def _finish(corpus: Corpus, shard: _Shard, on_shard: OnShard) -> None:
    """Commits a shard, unless another run has done so meanwhile."""
    stage = shard.stage

    def asset(source: Row) -> tuple[Row, Mapping[str, bytes]]:
        uid = source["uid"]
        members: Mapping[str, bytes] = {}
        if uid in shard.kept:
            row = shard.kept[uid]
            members = {m["name"]: read_member(corpus.store, row["tar"], m) for m in row["members"]}
        elif uid in shard.failed_before:
            row = shard.failed_before[uid]
        else:
            row, members = shard.spool.take(uid)
        return {**row, "row": source["row"]}, members

    try:
        fragment = commit_shard(
            corpus.store,
            stage.name,
            shard.number,
            map(asset, shard.rows),
            schema=result_schema(stage.schema),
            input=shard.input,
            made_from=input_stage(corpus, stage),
            spec=stage.spec,
            plan=corpus.config.plan_sha256,
            settings=stage.settings(shard.number),
            folder=shard.spool.folder,
        )
    except FileNotFoundError as e:
        if is_current(corpus.fragment(stage.name, shard.number), shard.input, stage.spec):
            return
        raise DataengineError(f"{e} was removed while shard {shard.number} was made; run it again") from e
    shard.spool.clear()
    on_shard(fragment)
