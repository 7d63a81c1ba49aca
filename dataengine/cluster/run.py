"""Drives a corpus through its stages on Ray.

Plain tasks and an own loop over `ray.wait`, not Ray Data: a shard is idempotent and committed atomically, so the loop
may lose, repeat or double any task, and one place decides what is tried again. Only small dicts pass through Ray.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
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
from dataengine.cluster.metrics_actor import MetricsActor
from dataengine.cluster.options import RunOptions, TrainOptions, render_stage, stages_of
from dataengine.cluster.schedule import Schedule
from dataengine.cluster.train import train
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.os_errors import explain as explain_system
from dataengine.errors import DataengineError
from dataengine.manifests.catalog import Catalog
from dataengine.stages.pending import pending
from dataengine.stages.render import RenderStage
from dataengine.stages.stage import Stage

if TYPE_CHECKING:
    from dataengine.training.trainer import TrainResult

MEMORY_PER_CPU = 2 << 30  # one Blender and its asset
MEMORY_TO_FETCH = 256 << 20
POLL_SECONDS = 1.0
SHARD_STATES = ("done", "running", "left", "aside")


@dataclass(frozen=True)
class RunProgress:
    """What the live view shows.

    Attributes:
        shards: stage → how many are in each of SHARD_STATES.
        assets: stage → assets that had to be made when the run began.
        counts: stage → what the workers have reported, see MetricsActor.snapshot.
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
    trained: "TrainResult | None" = None


def run(
    corpus: Corpus,
    options: RunOptions,
    *,
    show: Callable[[RunProgress], None] = lambda state: None,
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
    training = options.train if "train" in options.stages else None
    corpus.check_models()
    if set(options.stages) - {"fetch", "train"}:
        corpus.store.check_writable()
    stages = stages_of(options, corpus)
    catalog = Catalog(corpus)
    found = pending(catalog, stages)
    for name, count in found.blocked.items():
        say(f"{count} shards are left out of {name}: what it is made from is not there yet")
    pending_by_stage = dict(found.shards)
    if "fetch" in options.stages:
        wanted = pending(catalog, [render_stage(options, corpus)]).shards
        pending_by_stage = {"fetch": next(iter(wanted.values())), **pending_by_stage}
    schedule = Schedule({name: list(shards) for name, shards in pending_by_stage.items()}, options.retries)
    outcome = Outcome(dict.fromkeys(pending_by_stage, 0), {})
    if not schedule.active and training is None:
        return outcome
    with nodes.connected(options.address):
        assets = {name: sum(shards.values()) for name, shards in pending_by_stage.items()}
        loop = _Loop(corpus, options, stages, schedule, assets, show, say)
        try:
            outcome = loop.run()
        finally:
            loop.stop()
        if training is None:
            return outcome
        state = loop.state()
        trained = train(training, loop.metrics, lambda step: show(replace(state, training=step)), say)
        return replace(outcome, trained=trained)


def train_only(
    options: TrainOptions,
    address: str,
    *,
    show: Callable[[RunProgress], None] = lambda state: None,
    say: Callable[[str], None] = lambda line: None,
) -> "TrainResult":
    """Runs the train stage alone; see `train.train` for its errors.

    Args:
        options: see TrainOptions.
        address: of the cluster, see RunOptions.
        show, say: as in `run`.
    """
    with nodes.connected(address):
        metrics = MetricsActor.remote()  # type: ignore[attr-defined]  # what the decorator adds
        return train(options, metrics, lambda step: show(RunProgress({}, {}, {}, *nodes.usage(), step)), say)


class _Loop:
    """One run: what is in flight, and the cluster as last seen."""

    def __init__(
        self,
        corpus: Corpus,
        options: RunOptions,
        stages: Sequence[Stage],
        schedule: Schedule,
        assets: Mapping[str, int],
        show: Callable[[RunProgress], None],
        say: Callable[[str], None],
    ) -> None:
        self.url = corpus.url
        self.options = options
        self.schedule = schedule
        self.assets = assets
        self.show = show
        self.say = say
        self.running: dict[Any, tuple[str, int, Any]] = {}  # task → stage, shard, the actor that does it if one does
        self.idle: dict[str, list[Any]] = {}  # stage → workers with a GPU that wait for a shard
        self.metrics = MetricsActor.remote()  # type: ignore[attr-defined]  # what the decorator adds
        self.counts: Mapping[str, Mapping[str, Any]] = {}
        self.asked: Any = None
        self.said: set[str] = set()
        self.cpus = self._cpus()
        self.on_gpu = options.gpu_per_tokenizer > 0 and any(n.gpus > 0 for n in nodes.alive())
        self.places: dict[int, str] = {}  # shard → the node that fetched it, until it has rendered it
        self.stages = {stage.name: stage for stage in stages}
        self.kept = {name for name, stage in self.stages.items() if stage.keeps_gpu and self.on_gpu}
        for name in self.stages.keys() - self.kept:
            self.stages[name].workers = self.cpus

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
            self._hear(ray.get([self.metrics.snapshot.remote(), self.metrics.lines.remote()], timeout=5))
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
        for actor in (a for idle in self.idle.values() for a in idle):
            ray.kill(actor)

    def _submit(self, stage: str, shard: int) -> None:
        every, environment = work.report_seconds(len(self.running)), work.environment_of_workers()
        actor = None
        if stage == "fetch":
            ref = self._fetch(shard).remote(self.url, shard, self.metrics, every, environment)
        else:
            arguments = (self.url, shard, self.stages[stage], self.metrics, every, environment)
            if stage in self.kept:
                actor = self.idle[stage].pop() if self.idle.get(stage) else self._gpu_worker()
                ref = actor.run.remote(*arguments)
            else:
                ref = self._task(stage, shard).remote(*arguments)
        self.running[ref] = (stage, shard, actor)

    def _task(self, stage: str, shard: int) -> Any:
        # Ray itself retries nothing: it could not tell a lost node from a shard that kills its worker.
        renders = isinstance(self.stages[stage], RenderStage)
        place = self.places.get(shard) if renders else None
        near = place and NodeAffinitySchedulingStrategy(place, soft=True, _spill_on_unavailable=True)
        return ray.remote(work.run_shard).options(
            name=f"{stage} {shard}",
            max_retries=0,
            scheduling_strategy=near or "SPREAD",
            num_cpus=self.cpus,
            num_gpus=self.options.render_gpus if renders else 0.0,
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

    def _gpu_worker(self) -> Any:
        share = self.options.gpu_per_tokenizer
        return ray.remote(work.GpuWorker).options(num_cpus=1, num_gpus=share, max_restarts=0).remote()

    def _take(self, ref: Any, stage: str, shard: int, actor: Any) -> None:
        if isinstance(self.stages.get(stage), RenderStage):
            self.places.pop(shard, None)
        try:
            ray.get(ref)
        except RayError as e:
            reason, lost = explain(e)
            again = self.schedule.failed(stage, shard, reason, lost=lost)
            self.say(f"{stage} shard {shard}: {reason}; " + ("trying again" if again else "set aside"))
            if actor is None:
                return
            if isinstance(e, RayTaskError) and isinstance(e.cause, DataengineError):
                self.idle.setdefault(stage, []).append(actor)  # it raised on purpose, and its device is well
            else:
                ray.kill(actor)  # a device in a bad state would fail every shard that follows
        else:
            self.schedule.done(stage, shard)
            if actor is not None:
                self.idle.setdefault(stage, []).append(actor)

    def _cpus(self) -> int:
        """Cores of a task: no more than the largest node has, or it would wait for ever."""
        most = int(max((n.cpus for n in nodes.alive()), default=0))
        return min(self.options.render_cpus, most) or self.options.render_cpus  # none yet: workers will come

    def _memory(self) -> int:
        most = int(max((n.memory for n in nodes.alive()), default=0))
        return min(self.cpus * MEMORY_PER_CPU, most) or self.cpus * MEMORY_PER_CPU

    def _room(self) -> dict[str, int]:
        there = nodes.alive()
        tasks = int(sum(n.cpus for n in there) // self.cpus)
        room = dict.fromkeys(self.schedule.stages, self.options.max_in_flight or 2 * tasks + 2)
        for name in self.kept if self.options.max_in_flight is None else ():
            room[name] = max(1, int(sum(n.gpus for n in there) / self.options.gpu_per_tokenizer))
        renders = [name for name, stage in self.stages.items() if isinstance(stage, RenderStage)]
        if "fetch" in room and renders:
            # Not further ahead than is soon rendered: the caches are bounded.
            ahead = len(self.schedule.stages[renders[0]].ready)
            room["fetch"] = min(room["fetch"], len(there), max(0, 2 * tasks + 2 - ahead))
        return room

    def state(self) -> RunProgress:
        """What the live view shows now."""
        queues = self.schedule.stages.items()
        shards = {name: (len(q.done), len(q.running), q.left, len(q.aside)) for name, q in queues}
        return RunProgress(shards, self.assets, self._snapshot(), *nodes.usage())

    def _show(self) -> None:
        state = self.state()
        for name, numbers in state.shards.items():
            self.metrics.shards.remote(name, dict(zip(SHARD_STATES, numbers, strict=True)))
        self.show(state)

    def _snapshot(self) -> Mapping[str, Mapping[str, Any]]:
        """The actor's figures, a moment old: the loop never waits for it."""
        if self.asked is None:
            self.asked = [self.metrics.snapshot.remote(), self.metrics.lines.remote()]
        elif len(ray.wait(self.asked, num_returns=2, timeout=0)[0]) == 2:
            with suppress(RayError):  # its node died; Ray starts it again, from zero
                self._hear(ray.get(self.asked))
            self.asked = None
        return self.counts

    def _hear(self, told: Sequence[Any]) -> None:
        self.counts, lines = told
        for line in lines:
            if line not in self.said:
                self.said.add(line)
                self.say(line)


def explain(error: RayError) -> tuple[str, bool]:
    """(one line for a person, whether the node was lost) of what came back instead of a result."""
    if isinstance(error, RayTaskError):
        cause = error.cause
        if isinstance(cause, OSError):
            return explain_system(cause, str(cause.filename or "its node")), False
        return " ".join((str(cause) or type(cause).__name__).split()), False
    if isinstance(error, RayActorError):  # cannot tell: its process or its node
        return "its worker with a GPU died", False
    if isinstance(error, NodeDiedError | LocalRayletDiedError | OwnerDiedError):
        return "its node went away", True
    if isinstance(error, OutOfMemoryError):
        return "its node ran out of memory", False
    if isinstance(error, WorkerCrashedError):
        return "its worker died", False
    return " ".join(str(error).split()), False
