"""What runs on a worker: one shard of one stage, with the functions that also run without Ray."""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dataengine.report.metrics import counts_of_row, counts_of_shard

if TYPE_CHECKING:
    from dataengine.corpus.corpus import Corpus
    from dataengine.corpus.fragments import Fragment
    from dataengine.stages.stage import Stage

KEEP_SECONDS = 20.0
WITH_THE_WORK = ("DATAENGINE_ALLOW_PRIVATE",)


def report_seconds(tasks: int) -> float:
    """How often a task reports: each five seconds, and so that all together are at most a hundred calls a second."""
    return max(5.0, tasks / 100)


def environment_of_workers() -> dict[str, str]:
    """The driver's choices that travel in its environment; a cluster's workers were started by somebody else."""
    return {name: value for name in WITH_THE_WORK if (value := os.environ.get(name)) is not None}


class Reporter:
    """Counts finished assets and tells the metrics actor now and then, never waiting for it."""

    def __init__(self, metrics: Any, stage: str, every: float) -> None:
        self._metrics = metrics
        self._every = every
        self._stage = stage
        self._counts: Counter[str] = Counter()
        self._last = time.monotonic()

    def asset(self, row: Mapping[str, Any]) -> None:
        """Takes a finished row of a fragment."""
        self._counts.update(counts_of_row(row))
        self._now_and_then()

    def say(self, line: str) -> None:
        """Passes on a line for the run's log."""
        self._metrics.say.remote(line)

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
            self._metrics.add.remote(self._stage, dict(self._counts))
        self._counts.clear()
        self._last = time.monotonic()

    def committed(self, fragment: "Fragment | None") -> None:
        """Counts the bytes of what was committed, and reports."""
        if fragment is not None:
            self._counts.update(counts_of_shard(fragment))
        self.flush()


def fetch_shard(url: str, shard: int, metrics: Any, every: float, environment: Mapping[str, str]) -> None:
    """Downloads one shard's assets into this node's cache. What is unavailable is rendering's to report."""
    from dataengine.corpus.corpus import Corpus
    from dataengine.stages.fetch import prefetch

    os.environ.update(environment)
    report = Reporter(metrics, "fetch", every)
    try:
        fetched = prefetch(Corpus.open(url), [shard], on_asset=lambda row, failure: report.fetched(failure is None))
        report.count_bytes(fetched.bytes)
    finally:
        report.flush()


def run_shard(url: str, shard: int, stage: "Stage", metrics: Any, every: float, environment: Mapping[str, str]) -> None:
    """Makes one shard of a stage.

    Args:
        environment: variables of the driver that its workers must have too: see environment_of_workers.
    """
    from dataengine.corpus.corpus import Corpus
    from dataengine.stages.run import run_started

    os.environ.update(environment)
    corpus = Corpus.open(url)
    report = Reporter(metrics, stage.name, every)
    try:
        with _KEPT.lend(corpus, stage, report.say) as started:
            run_started(corpus, started, [shard], on_asset=report.asset)
        for part in stage.parts:
            report.committed(corpus.fragment(part.name, shard))
    finally:
        report.flush()


class _KeptStage:
    """This worker's stage, kept started for its next shard: starting Blenders costs as much as an asset or two.

    Ray also keeps workers that it has no work for, so it is stopped when no shard follows soon.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: object = None
        self._stage: Stage | None = None
        self._timer = threading.Timer(0, lambda: None)

    @contextmanager
    def lend(self, corpus: "Corpus", stage: "Stage", say: Callable[[str], None]) -> Iterator["Stage"]:
        """The stage, started, which says what it has to say; where something raises it is stopped at once."""
        key = (corpus.url, corpus.config, stage, stage.workers)
        self._timer.cancel()
        with self._lock:
            kept, self._stage = self._stage, None
        if kept is not None and self._key != key:
            kept.stop()
            kept = None
        if kept is None:
            kept = stage
            kept.say = say
            kept.start(corpus)
        try:
            yield kept
        except BaseException:
            kept.stop()
            raise
        self._key, self._stage = key, kept
        self._timer = threading.Timer(KEEP_SECONDS, self._end)
        self._timer.daemon = True
        self._timer.start()

    def _end(self) -> None:
        with self._lock:
            kept, self._stage = self._stage, None
        if kept is not None:
            kept.stop()


_KEPT = _KeptStage()


class GpuWorker:
    """Becomes an actor that keeps its share of a GPU, and what a stage has on it, from shard to shard."""

    def run(self, *arguments: Any) -> None:
        """See run_shard."""
        run_shard(*arguments)
