"""Drives a corpus through its stages on Ray.

Plain tasks and an own loop over `ray.wait`, not Ray Data: a shard is idempotent and committed atomically, so the loop
may lose, repeat or double any task, and one place decides what is tried again. Only small dicts pass through Ray.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    OutOfMemoryError,
    OwnerDiedError,
    RayActorError,
    RayError,
    RayTaskError,
    WorkerCrashedError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dataengine.cluster import nodes, work
from dataengine.cluster.schedule import Schedule
from dataengine.cluster.tally import Tally
from dataengine.cluster.todo import STAGES, RunOptions, find_todo
from dataengine.cluster.train import TrainOptions, train
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.storage import explain as explain_system
from dataengine.errors import UsageError

if TYPE_CHECKING:
    from dataengine.training.trainer import Result

MEMORY_A_CPU = 2 << 30  # one Blender and its asset
MEMORY_TO_FETCH = 256 << 20
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class State:
    """What the live view shows.

    Attributes:
        shards: stage → (done, running, left, set aside).
        assets: stage → assets that had to be made when the run began.
        counts: stage → what the workers have reported, see Tally.snapshot.
        nodes: alive.
        used, total: resources of the cluster in use and there, by name.
        training: the latest step's number and measures; empty before the first, None where nothing is trained.
    """

    shards: Mapping[str, tuple[int, int, int, int]]
    assets: Mapping[str, int]
    counts: Mapping[str, Mapping[str, Any]]
    nodes: int
    used: Mapping[str, float]
    total: Mapping[str, float]
    training: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Outcome:
    """How a run ended: shards committed by stage, those set aside with the reason, and how training ended."""

    done: Mapping[str, int]
    aside: Mapping[tuple[str, int], str]
    trained: "Result | None" = None


def run(
    corpus: Corpus,
    options: RunOptions,
    *,
    show: Callable[[State], None] = lambda state: None,
    say: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Makes whatever is not done. Run it again, or twice at once: nothing is made twice that was committed.

    Args:
        corpus: planned; its URL must mean the same on every node.
        options: see RunOptions.
        show: called about once a second.
        say: told of every shard that comes back or is set aside, in one line.

    Raises:
        UsageError: if a stage or the tokenizer is unknown, there is no such cluster, or the corpus does not fit.
        DataengineError: if the manifest or the tokenizer cannot be read, or training fails.
    """
    if unknown := [s for s in options.stages if s not in STAGES]:
        raise UsageError(f"unknown stage {unknown[0]!r}; one of {', '.join(STAGES)}")
    training = options.train if "train" in options.stages else None
    todo = find_todo(corpus, options)
    if todo.unrendered:
        say(f"{todo.unrendered} shards have no views yet and are left out")
    schedule = Schedule(todo.shards, options.retries)
    outcome = Outcome(dict.fromkeys(todo.shards, 0), {})
    if not schedule.active and training is None:
        return outcome
    with nodes.connected(options.address):
        loop = _Loop(corpus, options, schedule, todo.assets, show, say)
        try:
            outcome = loop.run()
        finally:
            loop.stop()
        if training is None:
            return outcome
        state = loop.state()
        trained = train(training, loop.tally, lambda step: show(replace(state, training=step)), say)
        return replace(outcome, trained=trained)


def train_only(
    options: TrainOptions,
    address: str,
    *,
    show: Callable[[State], None] = lambda state: None,
    say: Callable[[str], None] = lambda line: None,
) -> "Result":
    """Runs the train stage alone; see `train.train` for its errors.

    Args:
        options: see TrainOptions.
        address: of the cluster, see RunOptions.
        show, say: as in `run`.
    """
    with nodes.connected(address):
        tally = Tally.remote()  # type: ignore[attr-defined]  # what the decorator adds
        return train(options, tally, lambda step: show(State({}, {}, {}, *nodes.usage(), step)), say)


class _Loop:
    """One run: what is in flight, and the cluster as last seen."""

    def __init__(
        self,
        corpus: Corpus,
        options: RunOptions,
        schedule: Schedule,
        assets: Mapping[str, int],
        show: Callable[[State], None],
        say: Callable[[str], None],
    ) -> None:
        self.url = corpus.url
        self.options = options
        self.schedule = schedule
        self.assets = assets
        self.show = show
        self.say = say
        self.running: dict[Any, tuple[str, int, Any]] = {}  # task → stage, shard, the actor that does it if one does
        self.idle: list[Any] = []  # tokenizers that wait for a shard
        self.tally = Tally.remote()  # type: ignore[attr-defined]  # what the decorator adds
        self.counts: Mapping[str, Mapping[str, Any]] = {}
        self.asked: Any = None
        self.cpus = self._cpus()
        self.on_gpu = options.gpu_per_tokenizer > 0 and any(n.gpus > 0 for n in nodes.alive())
        self.places: dict[int, str] = {}  # shard → the node that fetched it, until it has rendered it

    def run(self) -> Outcome:
        while self.schedule.active:
            room = self._room()
            while (item := self.schedule.next(room)) is not None:
                self._submit(*item)
            back, _ = ray.wait(list(self.running), num_returns=len(self.running), timeout=0)
            if not back:
                back, _ = ray.wait(list(self.running), num_returns=1, timeout=POLL_SECONDS)
            for ref in back:
                self._take(ref, *self.running.pop(ref))
            self._show()
        with suppress(RayError):  # the last reports, which nothing waited for
            self.counts = ray.get(self.tally.snapshot.remote(), timeout=5)
        self._show()
        done = {name: len(queue.done) for name, queue in self.schedule.stages.items()}
        aside = {(name, n): why for name, q in self.schedule.stages.items() for n, why in q.aside.items()}
        return Outcome(done, aside)

    def stop(self) -> None:
        """Ends what is still in flight: the workers, and with them their Blenders. Gives the GPUs back."""
        for ref, (_, _, actor) in self.running.items():
            if actor is None:
                with suppress(RayError, ValueError):
                    ray.cancel(ref, force=True)
            else:
                ray.kill(actor)  # a call in native code cannot be cancelled
        for actor in self.idle:
            ray.kill(actor)

    def _submit(self, stage: str, shard: int) -> None:
        every = work.report_seconds(len(self.running))
        common = (self.url, shard, self.tally, every)
        mine = (self.cpus, self.options.tokenizer, self.options.weights)
        actor = None
        if stage == "fetch":
            ref = self._fetch(shard).remote(*common)
        elif stage == "render":
            gpus = self.options.render_gpus
            task = self._task(work.render_shard, stage, shard, gpus, self.places.get(shard))
            ref = task.remote(*common, self.cpus, "auto" if gpus else "cpu")
        elif self.on_gpu:
            actor = self.idle.pop() if self.idle else self._tokenizer()
            ref = actor.tokenize.remote(*common, *mine)
        else:
            ref = self._task(work.tokenize_shard, stage, shard, 0.0).remote(*common, *mine)
        self.running[ref] = (stage, shard, actor)

    def _task(
        self, function: Callable[..., None], stage: str, shard: int, gpus: float, place: str | None = None
    ) -> Any:
        # Ray itself retries nothing: it could not tell a lost node from a shard that kills its worker.
        near = place and NodeAffinitySchedulingStrategy(place, soft=True, _spill_on_unavailable=True)
        return ray.remote(function).options(
            name=f"{stage} {shard}",
            max_retries=0,
            scheduling_strategy=near or "SPREAD",
            num_cpus=self.cpus,
            num_gpus=gpus,
            memory=self._memory(),
        )

    def _fetch(self, shard: int) -> Any:
        """A task that downloads. It waits more than it computes, so it takes no core from those that render.

        It runs on a node that can render, where the shard will then be rendered unless that node has no room: a cache
        belongs to its node. Nodes get shards in proportion to their cores.
        """
        able = [n for n in nodes.alive() if n.cpus >= self.cpus]
        near: Any = "SPREAD"
        if able:
            taken = Counter(self.places.values())
            node = min(able, key=lambda n: (taken[n.id] + 1) / n.cpus)
            self.places[shard] = node.id
            near = NodeAffinitySchedulingStrategy(node.id, soft=True)
        return ray.remote(work.fetch_shard).options(
            name=f"fetch {shard}", max_retries=0, scheduling_strategy=near, num_cpus=0, memory=MEMORY_TO_FETCH
        )

    def _tokenizer(self) -> Any:
        share = self.options.gpu_per_tokenizer
        return ray.remote(work.GpuTokenizer).options(num_cpus=1, num_gpus=share, max_restarts=0).remote()

    def _take(self, ref: Any, stage: str, shard: int, actor: Any) -> None:
        if stage == "render":
            self.places.pop(shard, None)
        try:
            ray.get(ref)
        except RayError as e:
            reason, lost = explain(e)
            again = self.schedule.failed(stage, shard, reason, lost=lost)
            self.say(f"{stage} shard {shard}: {reason}; " + ("trying again" if again else "set aside"))
            if actor is not None and isinstance(e, RayTaskError):
                self.idle.append(actor)  # it raised, and lives
        else:
            self.schedule.done(stage, shard)
            if actor is not None:
                self.idle.append(actor)

    def _cpus(self) -> int:
        """Cores of a task: no more than the largest node has, or it would wait for ever."""
        most = int(max((n.cpus for n in nodes.alive()), default=0))
        return min(self.options.render_cpus, most) or self.options.render_cpus  # none yet: workers will come

    def _memory(self) -> int:
        most = int(max((n.memory for n in nodes.alive()), default=0))
        return min(self.cpus * MEMORY_A_CPU, most) or self.cpus * MEMORY_A_CPU

    def _room(self) -> dict[str, int]:
        there = nodes.alive()
        tasks = int(sum(n.cpus for n in there) // self.cpus)
        room = dict.fromkeys(self.schedule.stages, self.options.max_in_flight or 2 * tasks + 2)
        if "tokenize" in room and self.on_gpu and self.options.max_in_flight is None:
            room["tokenize"] = max(1, int(sum(n.gpus for n in there) / self.options.gpu_per_tokenizer))
        if "fetch" in room and "render" in room:
            # Not further ahead than is soon rendered: the caches are bounded.
            ahead = len(self.schedule.stages["render"].ready)
            room["fetch"] = min(room["fetch"], len(there), max(0, 2 * tasks + 2 - ahead))
        return room

    def state(self) -> State:
        """What the live view shows now."""
        queues = self.schedule.stages.items()
        shards = {name: (len(q.done), len(q.running), q.left, len(q.aside)) for name, q in queues}
        return State(shards, self.assets, self._snapshot(), *nodes.usage())

    def _show(self) -> None:
        state = self.state()
        for name, numbers in state.shards.items():
            self.tally.shards.remote(name, dict(zip(("done", "running", "left", "aside"), numbers, strict=True)))
        self.show(state)

    def _snapshot(self) -> Mapping[str, Mapping[str, Any]]:
        """The tally's figures, a moment old: the loop never waits for it."""
        if self.asked is None:
            self.asked = self.tally.snapshot.remote()
        elif ray.wait([self.asked], timeout=0)[0]:
            with suppress(RayError):  # its node died; Ray starts it again, from zero
                self.counts = ray.get(self.asked)
            self.asked = None
        return self.counts


def explain(error: RayError) -> tuple[str, bool]:
    """(one line for a person, whether the node was lost) of what came back instead of a result."""
    if isinstance(error, RayTaskError):
        cause = error.cause
        if isinstance(cause, OSError):
            return explain_system(cause, str(cause.filename or "its node")), False
        return " ".join((str(cause) or type(cause).__name__).split()), False
    if isinstance(error, RayActorError):  # cannot tell: its process or its node
        return "its tokenizer died", False
    if isinstance(error, NodeDiedError | LocalRayletDiedError | OwnerDiedError):
        return "its node went away", True
    if isinstance(error, OutOfMemoryError):
        return "its node ran out of memory", False
    if isinstance(error, WorkerCrashedError):
        return "its worker died", False
    return " ".join(str(error).split()), False
