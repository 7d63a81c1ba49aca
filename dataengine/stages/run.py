"""The loop that runs every stage, here and on Ray.

It makes one tar and one fragment per shard. One asset's failure is a row; only what ends the run is raised.
"""

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from dataengine import isolated
from dataengine.corpus.commit import commit_shard
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.fragments import Fragment
from dataengine.corpus.result import Result
from dataengine.corpus.schema import result_schema
from dataengine.corpus.shards import read_members
from dataengine.errors import AssetFailure, DataengineError, ErrorCode
from dataengine.stages.open_shard import OpenShard, Retry, is_current, open_parts
from dataengine.stages.rows import failed_result, ok_result
from dataengine.stages.stage import Restart, Row, Say, Stage, input_stage

OnAsset = Callable[[Row], None]
OnShard = Callable[[Fragment], None]


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
        running: dict[Future[list[tuple[OpenShard, Row]]], None] = {}
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
) -> Iterator[tuple[list[OpenShard], dict[str, Any] | None]]:
    """(parts, None) as a shard is opened, which waits until its turn comes, then (those parts that need it, row)."""
    for number in shards:
        opened = open_parts(corpus, stage, number, retry)
        if opened:
            pending = [set(shard.left) for shard in opened]  # which shrink as assets are finished
            yield opened, None
            for row in opened[0].rows:
                wanted = [shard for shard, left in zip(opened, pending, strict=True) if row["uid"] in left]
                if wanted:
                    yield wanted, row


def _process(stage: Stage, shards: Sequence[OpenShard], row: Row) -> list[tuple[OpenShard, Row]]:
    """One asset in each of these shards, which are those of parts; each result is kept as soon as it is there."""
    spooled = [(shard, shard.spool.get(row["uid"])) for shard in shards]
    found: list[tuple[OpenShard, Row]] = [(shard, result.row) for shard, result in spooled if result is not None]
    for shard, result in _results(stage, [shard for shard, result in spooled if result is None], row):
        if shard.stage.resume_key != shard.resume_key:
            raise Restart("the stage has changed its settings")
        shard.spool.put(row["uid"], result)
        found.append((shard, result.row))
    return found


def _results(stage: Stage, shards: Sequence[OpenShard], row: Row) -> Iterator[tuple[OpenShard, Result]]:
    left = {shard.stage.name: shard for shard in shards}
    if not left:
        return
    started = time.monotonic()
    try:
        for part, made in stage.process_parts(row, [shard.stage for shard in shards]):
            if isinstance(made, AssetFailure):
                result = failed_result(part, row, made, started)
            else:
                result = ok_result(row, made, started)
            yield left.pop(part.name), result
            started = time.monotonic()
    except (DataengineError, OSError, Restart):
        raise
    except MemoryError as e:
        raise DataengineError(f"out of memory in stage {stage.name}, asset {row['uid']}: use fewer workers") from e
    except Exception as e:  # noqa: BLE001 - a fault of ours costs one row, and the row says where to look
        failure = AssetFailure(ErrorCode.CRASH, f"internal: {type(e).__name__}: {e}", traceback.format_exc())
        for shard in left.values():
            yield shard, failed_result(shard.stage, row, failure, started)


def _finish(corpus: Corpus, shard: OpenShard, on_shard: OnShard) -> None:
    """Commits a shard, unless another run has done so meanwhile."""
    stage = shard.stage

    def asset(source: Row) -> tuple[Row, Mapping[str, bytes]]:
        uid = source["uid"]
        members: Mapping[str, bytes] = {}
        if uid in shard.kept:
            row = shard.kept[uid]
            names = [m["name"] for m in row["members"]]
            members = dict(zip(names, read_members(corpus.store, row["tar"], row["members"]), strict=True))
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
