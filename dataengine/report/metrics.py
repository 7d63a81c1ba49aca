"""Prometheus metrics of a command: a plain `render` has the names that a run on Ray has (cluster/metrics_actor.py).

Each is (name, what it is, labels). Prometheus adds `_total` to what is counted.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dataengine.errors import UsageError
from dataengine.report.log import say

if TYPE_CHECKING:
    from dataengine.corpus.fragments import Fragment

DONE = ("dataengine_done", "Assets ok and failed, views, tokens, bytes: done in this run.", ("stage", "what"))
FAILURES = ("dataengine_failures", "Assets that failed, by kind.", ("stage", "error"))
SHARDS = ("dataengine_shards", "Shards by state.", ("stage", "state"))
TRAINING = ("dataengine_training", "The latest step: its number and measures.", ("what",))


def counts_of_row(row: Mapping[str, Any]) -> dict[str, int]:
    """What one finished row of a fragment counts as: ok or failed, views, tokens, error:<KIND>."""
    if row["status"] != "ok":
        return {"failed": 1, f"error:{row['error']}": 1}
    views = row.get("num_views") or 0
    return {"ok": 1, "views": views, **({"tokens": views * math.prod(row["grid"])} if row.get("grid") else {})}


def counts_of_shard(fragment: "Fragment") -> dict[str, int]:
    """What a committed shard adds: bytes of its members."""
    return {"bytes": sum(m["size"] for row in fragment.table["members"].to_pylist() for m in row or [])}


def split_counts(counts: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """(what was done, failures by kind) of counts of which some are called error:<KIND>."""
    done = {name: n for name, n in counts.items() if n and not name.startswith("error:")}
    return done, {name.removeprefix("error:"): n for name, n in counts.items() if n and name.startswith("error:")}


class Metrics:
    """The metrics of this process, at an address of its own."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge

        self.registry = CollectorRegistry()
        registry = self.registry
        self._done, self._failures = Counter(*DONE, registry=registry), Counter(*FAILURES, registry=registry)
        self._shards, self._training = Gauge(*SHARDS, registry=registry), Gauge(*TRAINING, registry=registry)
        self._known: dict[str, dict[str, int]] = {}

    def add(self, stage: str, counts: Mapping[str, int]) -> None:
        """Counts some more."""
        done, failures = split_counts(counts)
        for what, n in done.items():
            self._done.labels(stage, what).inc(n)
        for error, n in failures.items():
            self._failures.labels(stage, error).inc(n)

    def reached(self, stage: str, counts: Mapping[str, Any]) -> None:
        """Counts up to these sums, as a run on Ray tells them; sums that have begun anew count from zero."""
        sums = {name: n for name, n in counts.items() if isinstance(n, int)}
        known, self._known[stage] = self._known.get(stage, {}), sums
        self.add(stage, {name: n - known.get(name, 0) if n >= known.get(name, 0) else n for name, n in sums.items()})

    def shards(self, stage: str, states: Mapping[str, int]) -> None:
        """Sets how many shards are in which state."""
        for state, n in states.items():
            self._shards.labels(stage, state).set(n)

    def trained(self, step: Mapping[str, float]) -> None:
        """Sets the latest step's figures."""
        for what, value in step.items():
            self._training.labels(what).set(value)


@contextmanager
def serving(port: int) -> Iterator[Metrics]:
    """Metrics that anybody who reaches this machine may read at http://HOST:PORT/metrics; port 0: any that is free.

    Raises:
        UsageError: if the port is in use, or not for this user.
    """
    from prometheus_client import start_http_server

    metrics = Metrics()
    try:
        server, thread = start_http_server(port, registry=metrics.registry)
    except OSError as e:
        raise UsageError(f"--metrics-port {port}: {(e.strerror or str(e)).lower()}") from e
    say(f"metrics at http://localhost:{server.server_port}/metrics")
    try:
        yield metrics
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
