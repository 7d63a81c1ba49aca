"""Which shard of which stage is next. A plain state machine: run.py drives it with Ray, benchmarks/simulate.py with a
virtual clock.

A shard enters a stage when the stage before has committed it, so stages overlap. A shard that fails goes to the end of
its queue; after `retries` more attempts it is set aside with its reason and the run goes on. Losing a node does
not count as an attempt, up to LOSSES times.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

LOSSES = 20


@dataclass
class StageQueue:
    """One stage's shards.

    Attributes:
        ready: to be submitted, in order.
        running: submitted and not back.
        done: committed in this run.
        aside: shard → why it was given up.
        waiting: how many shards the stages before still owe.
        retried: how often a shard came back.
    """

    ready: deque[int] = field(default_factory=deque)
    running: set[int] = field(default_factory=set)
    done: set[int] = field(default_factory=set)
    aside: dict[int, str] = field(default_factory=dict)
    waiting: int = 0
    retried: int = 0
    attempts: dict[int, int] = field(default_factory=dict)
    losses: dict[int, int] = field(default_factory=dict)

    @property
    def left(self) -> int:
        return len(self.ready) + len(self.running) + self.waiting


class Schedule:
    """The stages' queues.

    Args:
        pending: for each stage in order, the shards it has to make. A shard that an earlier stage has to make too
            becomes ready when that stage has committed it.
        retries: attempts after the first before a shard is set aside.
    """

    def __init__(self, pending: Mapping[str, Sequence[int]], retries: int) -> None:
        self.stages = {name: StageQueue() for name in pending}
        self._order = list(pending)
        self._pending = {name: set(shards) for name, shards in pending.items()}
        self._retries = retries
        made_before: set[int] = set()
        for name, shards in pending.items():
            self.stages[name].ready.extend(n for n in shards if n not in made_before)
            self.stages[name].waiting = sum(n in made_before for n in shards)
            made_before |= set(shards)

    @property
    def active(self) -> bool:
        return any(q.ready or q.running for q in self.stages.values())

    def next(self, room: Mapping[str, int]) -> tuple[str, int] | None:
        """The next (stage, shard) to submit, or None.

        Args:
            room: how many shards each stage may have in flight. Later stages go first: what is begun gets finished.
        """
        for name in reversed(self._order):
            queue = self.stages[name]
            if queue.ready and len(queue.running) < room[name]:
                shard = queue.ready.popleft()
                queue.running.add(shard)
                return name, shard
        return None

    def done(self, stage: str, shard: int) -> None:
        """A shard is committed: the next stage that needs it may have it."""
        queue = self.stages[stage]
        queue.running.discard(shard)
        queue.done.add(shard)
        for later in self._later(stage, shard):
            self.stages[later].waiting -= 1
            self.stages[later].ready.append(shard)
            return

    def failed(self, stage: str, shard: int, reason: str, *, lost: bool = False) -> bool:
        """A shard came back without a fragment. Returns whether it will be tried again.

        Args:
            reason: one line for a person.
            lost: whether its node went away under it.
        """
        queue = self.stages[stage]
        queue.running.discard(shard)
        counts, limit = (queue.losses, LOSSES) if lost else (queue.attempts, self._retries)
        counts[shard] = counts.get(shard, 0) + 1
        if counts[shard] <= limit:
            queue.ready.append(shard)
            queue.retried += 1
            return True
        queue.aside[shard] = reason
        for later in self._later(stage, shard):
            self.stages[later].waiting -= 1
            self.stages[later].aside[shard] = f"its {stage} failed"
        return False

    def _later(self, stage: str, shard: int) -> list[str]:
        after = self._order[self._order.index(stage) + 1 :]
        return [name for name in after if shard in self._pending[name]]
