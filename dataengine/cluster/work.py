"""What runs on a worker: one shard of one stage, with the functions that also run without Ray."""

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any


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
        else:
            self._counts[f"error:{row['error']}"] += 1
        if time.monotonic() - self._last > self._every:
            self.flush()

    def count(self, what: str, value: int) -> None:
        self._counts[what] += value

    def flush(self) -> None:
        if self._counts:
            self._tally.add.remote(self._stage, dict(self._counts))
        self._counts.clear()
        self._last = time.monotonic()


def render_shard(url: str, shard: int, tally: Any, every: float, cpus: int, device: str) -> dict[str, Any]:
    """Renders one shard with `cpus` Blenders of one thread each. Returns what the driver wants to know of it."""
    from dataengine.corpus import Corpus
    from dataengine.pipeline import render_shards

    corpus = Corpus.open(url)
    report = Reporter(tally, "render", every)
    try:
        render_shards(corpus, [shard], workers=cpus, threads=1, device=device, on_asset=report.asset)
        fragment = corpus.fragment("views", shard)
        if fragment is not None:
            members = (m for row in fragment.table["members"].to_pylist() for m in row or [])
            report.count("bytes", sum(m["size"] for m in members))
    finally:
        report.flush()
    return {"stage": "render", "shard": shard}
