"""What the workers report, added up: for the live view, and as Prometheus metrics on Ray's own metrics port."""

import time
from collections import Counter, deque
from typing import Any

import ray
from ray.util.metrics import Counter as Metric
from ray.util.metrics import Gauge

from dataengine.report import metrics as names

RATE_SECONDS = 120.0


@ray.remote(num_cpus=0, max_restarts=-1)
class MetricsActor:
    """Adds up. If its node dies it starts again at zero: the manifest keeps the truth, this only shows it."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}
        self._recent: dict[str, deque[tuple[float, dict[str, int]]]] = {}
        self._step: dict[str, float] = {}
        self._lines: dict[str, None] = {}
        self._total, self._failures = Metric(*names.DONE), Metric(*names.FAILURES)
        self._shards, self._training = Gauge(*names.SHARDS), Gauge(*names.TRAINING)

    def add(self, stage: str, counts: dict[str, int]) -> None:
        """Takes a worker's counts since its last report: ok, failed, views, tokens, bytes, and error:<KIND>."""
        mine = self._counts.setdefault(stage, Counter())
        mine.update(counts)
        done, failures = names.split_counts(counts)
        for what, value in done.items():
            self._total.inc(value, {"stage": stage, "what": what})
        for error, value in failures.items():
            self._failures.inc(value, {"stage": stage, "error": error})
        made = {name: counts.get(name, 0) for name in ("views", "tokens")}
        made["assets"] = counts.get("ok", 0) + counts.get("failed", 0)
        self._recent.setdefault(stage, deque()).append((time.monotonic(), made))

    def say(self, line: str) -> None:
        """Takes a line for the run's log, such as what confines Blender. Many nodes say the same: it is kept once."""
        self._lines[line] = None

    def lines(self) -> list[str]:
        """What `say` was told, each line once, in the order in which they came."""
        return list(self._lines)

    def shards(self, stage: str, states: dict[str, int]) -> None:
        """Takes the driver's view of a stage's shards."""
        for state, value in states.items():
            self._shards.set(value, {"stage": stage, "state": state})

    def trained(self, step: dict[str, float]) -> None:
        """Takes the trainer's latest step: its number and measures."""
        self._step = step
        for name, value in step.items():
            self._training.set(value, {"what": name})

    def step(self) -> dict[str, float]:
        """What `trained` was last told; empty before the first step."""
        return self._step

    def snapshot(self) -> dict[str, dict[str, Any]]:
        """stage → counts, with rates of views, tokens and assets a second over the last two minutes."""
        now = time.monotonic()
        found: dict[str, dict[str, Any]] = {}
        for stage, counts in self._counts.items():
            recent = self._recent[stage]
            while len(recent) > 1 and now - recent[0][0] > RATE_SECONDS:
                recent.popleft()
            # The first report's work was done before it, so only the time since is known.
            seconds = now - recent[0][0]
            made: Counter[str] = Counter()
            for _, counted in list(recent)[1:]:
                made.update(counted)
            known = len(recent) > 1 and seconds > 1
            found[stage] = {**counts, **{f"{name}_rate": n / seconds for name, n in made.items() if known}}
        return found
