"""What runs on a worker: one shard of one stage, with the functions that also run without Ray."""

import math
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataengine.corpus.corpus import Corpus
    from dataengine.corpus.fragments import Fragment
    from dataengine.render.asset import Renderer
    from dataengine.tokenize.compute import Compute

KEEP_SECONDS = 20.0


def report_seconds(tasks: int) -> float:
    """How often a task reports: each five seconds, and so that all together are at most a hundred calls a second."""
    return max(5.0, tasks / 100)


class Reporter:
    """Counts finished assets and tells the tally now and then, never waiting for it."""

    def __init__(self, tally: Any, stage: str, every: float) -> None:
        self._tally = tally
        self._every = every
        self._stage = stage
        self._counts: Counter[str] = Counter()
        self._last = time.monotonic()

    def asset(self, row: Mapping[str, Any]) -> None:
        """Takes a finished row of a fragment."""
        self._counts[row["status"]] += 1
        if row["status"] == "ok":
            self._counts["views"] += row["num_views"]
            if "grid" in row:
                self._counts["tokens"] += row["num_views"] * math.prod(row["grid"])
        else:
            self._counts[f"error:{row['error']}"] += 1
        self._now_and_then()

    def fetched(self, here: bool) -> None:
        """Takes an asset that was fetched, or could not be: rendering says why."""
        self._counts["ok" if here else "failed"] += 1
        self._now_and_then()

    def count_bytes(self, size: int) -> None:
        self._counts["bytes"] += size

    def _now_and_then(self) -> None:
        if time.monotonic() - self._last > self._every:
            self.flush()

    def flush(self) -> None:
        if self._counts:
            self._tally.add.remote(self._stage, dict(self._counts))
        self._counts.clear()
        self._last = time.monotonic()

    def committed(self, fragment: "Fragment | None") -> None:
        """Counts the bytes of what was committed, and reports."""
        if fragment is not None:
            members = (m for row in fragment.table["members"].to_pylist() for m in row or [])
            self.count_bytes(sum(m["size"] for m in members))
        self.flush()


def fetch_shard(url: str, shard: int, tally: Any, every: float) -> None:
    """Downloads one shard's assets into this node's cache. What cannot be had is rendering's to report."""
    from dataengine.corpus.corpus import Corpus
    from dataengine.stages.fetch import stage

    report = Reporter(tally, "fetch", every)
    try:
        staged = stage(Corpus.open(url), [shard], on_asset=lambda row, failure: report.fetched(failure is None))
        report.count_bytes(staged.bytes)
    finally:
        report.flush()


def render_shard(url: str, shard: int, tally: Any, every: float, cpus: int, device: str) -> None:
    """Renders one shard with `cpus` Blenders of one thread each."""
    from dataengine.corpus.corpus import Corpus
    from dataengine.stages.render import render_shards

    corpus = Corpus.open(url)
    report = Reporter(tally, "render", every)
    try:
        with _KEPT.lend(corpus, cpus, device) as renderer:
            render_shards(corpus, [shard], workers=cpus, renderer=renderer, on_asset=report.asset)
        report.committed(corpus.fragment("views", shard))
    finally:
        report.flush()


class _KeptRenderer:
    """This worker's Blenders, kept for its next shard: starting them costs as much as an asset or two.

    Ray also keeps workers that it has no work for, so they are ended when no shard follows soon.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: object = None
        self._renderer: Renderer | None = None
        self._timer = threading.Timer(0, lambda: None)

    @contextmanager
    def lend(self, corpus: "Corpus", cpus: int, device: str) -> Iterator["Renderer"]:
        """Lends `cpus` Blenders of one thread each; where something raises they are ended at once."""
        from dataengine.stages.render import open_renderer

        key = (corpus.url, corpus.config, cpus, device)
        self._timer.cancel()
        with self._lock:
            renderer, self._renderer = self._renderer, None
        if renderer is not None and self._key != key:
            renderer.kill()
            renderer = None
        if renderer is None:
            renderer = open_renderer(corpus, cpus, 1, device)
        try:
            yield renderer
        except BaseException:
            renderer.kill()
            raise
        self._key, self._renderer = key, renderer
        self._timer = threading.Timer(KEEP_SECONDS, self._end)
        self._timer.daemon = True
        self._timer.start()

    def _end(self) -> None:
        with self._lock:
            renderer, self._renderer = self._renderer, None
        if renderer is not None:
            renderer.kill()


_KEPT = _KeptRenderer()


def tokenize_shard(
    url: str, shard: int, tally: Any, every: float, cpus: int, tokenizer: str, weights: str | None
) -> None:
    """Tokenizes one shard, on the GPU that was assigned or on `cpus` cores."""
    import torch

    from dataengine.corpus.corpus import Corpus
    from dataengine.stages.tokenize import tokenize_shard as tokenize

    torch.set_num_threads(cpus)
    report = Reporter(tally, "tokenize", every)
    try:
        report.committed(tokenize(Corpus.open(url), shard, _compute(tokenizer, weights), on_asset=report.asset))
    finally:
        report.flush()


@lru_cache(maxsize=1)
def _compute(tokenizer: str, weights: str | None) -> "Compute":
    """The tokenizer on its device: loaded once a process, used for shard after shard."""
    from dataengine.tokenize import load
    from dataengine.tokenize.compute import Compute, pick_device

    return Compute(load(tokenizer, weights), pick_device("auto"))


class GpuTokenizer:
    """Becomes an actor that keeps its share of a GPU, and the weights on it, from shard to shard."""

    def tokenize(self, *arguments: Any) -> None:
        """See tokenize_shard."""
        tokenize_shard(*arguments)
