"""What happens to shards, stage by stage, and the rule that makes it resumable.

A shard of a stage is done when its fragment is there and names the current input (the plan's `shard_input`). Whatever
is not done is made again, except assets that a killed run left in the spool.
"""

import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import psutil

from dataengine.corpus.commit import commit_shard
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.fragments import Fragment
from dataengine.corpus.result import Result
from dataengine.corpus.shards import read_member
from dataengine.errors import AssetFailure, DataengineError, ErrorCode
from dataengine.model_files.preflight import preflight
from dataengine.paths import cache_root
from dataengine.render.asset import Renderer, failed_row
from dataengine.sources.locate import companions, fetch, readable_folders, root_of
from dataengine.stages.spool import Spool

VIEWS = "views"
MEMORY_A_WORKER = 2 << 30

OnAsset = Callable[[Mapping[str, Any]], None]
OnShard = Callable[[Fragment], None]


@dataclass
class _Shard:
    """A shard in the making. `replaced` is the fragment that a retry improves on."""

    number: int
    input: str
    rows: list[dict[str, Any]]
    spool: Spool
    replaced: Fragment | None
    kept: dict[str, dict[str, Any]]  # good rows of the replaced fragment
    left: set[str]


def is_done(corpus: Corpus, shard: int) -> bool:
    """Whether the shard's views are committed and made from the current plan."""
    fragment = corpus.fragment(VIEWS, shard)
    return fragment is not None and fragment.input == _shard_input(corpus.plan(shard).to_pylist())


def assets_left(corpus: Corpus, shards: Sequence[int], *, retry: bool = False) -> int:
    """How many assets `render_shards` would take up: those of shards not done, and with `retry` the failed ones."""
    opened = (_open(corpus, n, retry) for n in shards)
    return sum(len(s.left) for s in opened if s is not None)


def render_shards(
    corpus: Corpus,
    shards: Sequence[int],
    *,
    retry: bool = False,
    workers: int | None = None,
    threads: int | None = None,
    device: str = "auto",
    renderer: Renderer | None = None,
    on_asset: OnAsset = lambda row: None,
    on_shard: OnShard = lambda fragment: None,
) -> None:
    """Renders shards; commits each as soon as its last asset is done, while the next one's assets fill the pool.

    Args:
        corpus: a planned corpus.
        shards: which; done ones are left alone.
        retry: also render the failed rows of done shards again, and nothing else of them.
        workers: Blender processes at once; default: one a core, fewer where memory is short.
        threads: render threads of each; default: the cores shared out. They change the speed, not the bytes.
        device: `auto`, or a Cycles device.
        renderer: with `workers` workers, to use and leave open (unless something raises); default: one of its own.
        on_asset: called with the row of each asset as it is finished (or found finished in the spool).
        on_shard: called with each fragment as it is committed.

    Raises:
        DataengineError: if the store or the spool cannot be written, or Blender cannot run. What is done is kept.
    """
    workers = workers or default_workers()
    lent = nullcontext(renderer) if renderer else open_renderer(corpus, workers, threads or _threads(workers), device)
    with lent as renderer, ThreadPoolExecutor(workers, "render") as pool:
        tasks = _tasks(corpus, shards, retry)
        running: dict[Future[Mapping[str, Any]], _Shard] = {}
        try:
            while True:
                # Two more than the workers keeps them busy; a longer queue would only make a stop slower.
                while len(running) < workers + 2 and (task := next(tasks, None)) is not None:
                    running[pool.submit(_render_one, renderer, *task)] = task[0]
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    shard, row = running.pop(future), future.result()
                    on_asset(row)
                    shard.left.discard(row["uid"])
                    if not shard.left:
                        fragment = _commit(corpus, shard, renderer.settings())
                        if fragment is not None:
                            on_shard(fragment)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            renderer.kill()  # so that the threads which wait for a Blender end too
            raise


def open_renderer(corpus: Corpus, workers: int, threads: int, device: str) -> Renderer:
    """Blenders for the assets of a corpus; the arguments are those of `render_shards`."""
    readable = [*readable_folders([s.spec for s in corpus.config.sources]), cache_root()]
    return Renderer(corpus.config.render, workers=workers, threads=threads, device=device, readable=readable)


def default_workers() -> int:
    """One Blender a core that this process may use, with 2 GiB of memory each."""
    return max(1, min(_cores(), int(psutil.virtual_memory().total // MEMORY_A_WORKER)))


def _threads(workers: int) -> int:
    return max(1, _cores() // workers)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tasks(corpus: Corpus, shards: Sequence[int], retry: bool) -> Iterator[tuple[_Shard, dict[str, Any]]]:
    """(shard, plan row) of every asset to do, shard by shard, opened only when its turn comes."""
    for number in shards:
        shard = _open(corpus, number, retry)
        if shard is not None:
            todo = set(shard.left)
            yield from ((shard, row) for row in shard.rows if row["uid"] in todo)


def _open(corpus: Corpus, number: int, retry: bool) -> _Shard | None:
    """A shard with something to do, or None."""
    rows = corpus.plan(number).to_pylist()
    input = _shard_input(rows)
    uids = {r["uid"] for r in rows}
    fragment = corpus.fragment(VIEWS, number)
    if fragment is None or fragment.input != input:
        return _Shard(number, input, rows, Spool(input), None, {}, uids)
    kept = {r["uid"]: r for r in fragment.table.to_pylist() if r["status"] == "ok"}
    if not retry or len(kept) == len(uids):
        return None
    # The key names the fragment: a retry never takes a failure of the run before for a result of its own.
    spool = Spool(f"{input}-{fragment.sha256[:16]}")
    return _Shard(number, input, rows, spool, fragment, kept, uids - kept.keys())


def _shard_input(rows: Sequence[Mapping[str, Any]]) -> str:
    return str(rows[0]["shard_input"])


def _render_one(renderer: Renderer, shard: _Shard, row: Mapping[str, Any]) -> Mapping[str, Any]:
    done = shard.spool.get(row["uid"])
    if done is not None:
        return done.row
    result = _render(renderer, row)
    shard.spool.put(row["uid"], result)
    return result.row


def _render(renderer: Renderer, row: Mapping[str, Any]) -> Result:
    """One asset, from file to members. An asset's failure is a row; only what ends the run is raised."""
    started = time.monotonic()
    limits = renderer.config.limits
    try:
        path = fetch(row, cache_root(), limits)
        preflight(path, row["format"], limits, root_of(row, path))
        return renderer.render(row, path, companions(row, path))
    except AssetFailure as e:
        return Result(failed_row(row, e, time.monotonic() - started), {})
    except (DataengineError, OSError):
        raise
    except Exception as e:  # noqa: BLE001 - a fault of ours costs one row, and the row says where to look
        failure = AssetFailure(ErrorCode.CRASH, f"internal: {type(e).__name__}: {e}", traceback.format_exc())
        return Result(failed_row(row, failure, time.monotonic() - started), {})


def _commit(corpus: Corpus, shard: _Shard, settings: Mapping[str, Any]) -> Fragment | None:
    """None when another run has committed the shard meanwhile."""

    def asset(planned: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, bytes]]:
        uid = planned["uid"]
        if uid in shard.kept:
            row = shard.kept[uid]
            files = {m["name"]: read_member(corpus.store, row["tar"], m) for m in row["members"]}
        else:
            row, members = shard.spool.take(uid)
            files = dict(members)
        if files and planned["caption"] is not None:
            files["txt"] = planned["caption"].encode()
        return {**row, "row": planned["row"]}, files

    try:
        fragment = commit_shard(
            corpus.store,
            VIEWS,
            shard.number,
            map(asset, shard.rows),
            input=shard.input,
            settings=settings,
            folder=shard.spool.folder,
        )
    except FileNotFoundError as e:
        if is_done(corpus, shard.number):
            return None
        raise DataengineError(f"{e} was removed while shard {shard.number} was made; run it again") from e
    shard.spool.clear()
    return fragment
