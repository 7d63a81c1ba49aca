"""Drives a corpus through its stages on Ray.

Plain tasks and an own loop over `ray.wait`, not Ray Data: a shard is idempotent and committed atomically, so the loop
may lose, repeat or double any task, and one place decides what is tried again. Only small dicts pass through Ray.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

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

from dataengine.cluster import work
from dataengine.cluster.schedule import Schedule
from dataengine.cluster.tally import Tally
from dataengine.corpus import Corpus
from dataengine.errors import UsageError
from dataengine.manifests.catalog import Catalog
from dataengine.manifests.duck import quote
from dataengine.manifests.query import sql_errors
from dataengine.storage import explain as explain_system

STAGES = ("render", "tokenize")
MEMORY_A_CPU = 2 << 30  # one Blender and its asset
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class RunOptions:
    """How to run.

    Attributes:
        stages: which, in the order of STAGES.
        address: `auto` (a running cluster, else a local Ray), `local`, or ray://host:port.
        render_cpus: Blenders, and cores, of one render task.
        render_gpus: share of a GPU that a render task takes; 0 renders on the CPU.
        tokenizer: name, see `dataengine.tokenize.load`.
        weights: its file; None: the usual ones.
        gpu_per_tokenizer: share of a GPU that a tokenizer takes and keeps; 0, or a cluster without GPUs: tokenizing is
            tasks of `render_cpus` cores.
        max_in_flight: shards of a stage that are with Ray at a time; None: twice what the cluster can hold, so that a
            node never waits for work and an autoscaler sees that more is wanted.
        retries: attempts after the first before a shard is set aside.
    """

    stages: tuple[str, ...] = ("render",)
    address: str = "auto"
    render_cpus: int = 2
    render_gpus: float = 0.0
    tokenizer: str = "small"
    weights: str | None = None
    gpu_per_tokenizer: float = 1.0
    max_in_flight: int | None = None
    retries: int = 2


@dataclass(frozen=True)
class State:
    """What the live view shows.

    Attributes:
        shards: stage → (done, running, left, set aside).
        assets: stage → assets that had to be made when the run began.
        counts: stage → what the workers have reported, see Tally.snapshot.
        nodes: alive.
        used, total: resources of the cluster in use and there, by name.
    """

    shards: Mapping[str, tuple[int, int, int, int]]
    assets: Mapping[str, int]
    counts: Mapping[str, Mapping[str, Any]]
    nodes: int
    used: Mapping[str, float]
    total: Mapping[str, float]


@dataclass(frozen=True)
class Outcome:
    """How a run ended: shards committed by stage, and those set aside with the reason."""

    done: Mapping[str, int]
    aside: Mapping[tuple[str, int], str]


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
        UsageError: if a stage is unknown, there is no such cluster, or no node can hold one task.
        DataengineError: if the manifest cannot be read.
    """
    unknown = [s for s in options.stages if s not in STAGES]
    if unknown:
        raise UsageError(f"unknown stage {unknown[0]!r}; one of {', '.join(STAGES)}")
    todo, assets = _todo(corpus, options)
    schedule = Schedule(todo, options.retries)
    if not schedule.active:
        return Outcome(dict.fromkeys(todo, 0), {})
    started_here = connect(options.address)
    loop = _Loop(corpus, options, schedule, assets, show, say)
    try:
        return loop.run()
    finally:
        loop.stop()
        if started_here:
            ray.shutdown()


def connect(address: str) -> bool:
    """Joins a Ray cluster, or starts Ray on this machine. Returns whether it was started (or joined) here.

    Raises:
        UsageError: if there is no cluster at that address.
    """
    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # An accelerator that a task did not ask for is hidden from it: "auto" devices then mean what was paid for.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address == "auto":
        with suppress(ConnectionError):
            ray.init(address="auto", **settings)
            return True
        address = "local"
    try:
        if address == "local":
            ray.init(address="local", include_dashboard=False, **settings)
        else:
            ray.init(address=address, **settings)
    except (ConnectionError, ValueError) as e:
        raise UsageError(f"no Ray cluster at {address}: {' '.join(str(e).split())}") from e
    return True


def _todo(corpus: Corpus, options: RunOptions) -> tuple[dict[str, list[int]], dict[str, int]]:
    """Shards to make by stage, and how many assets they have. The manifest's content says so, not a listing."""
    tokens = quote(f"tokens/{options.tokenizer}")
    query = f"""
        SELECT s.shard, s.assets, c.shard IS NOT NULL AS rendered, t.shard IS NOT NULL AS tokenized
        FROM shard_rows s
        LEFT JOIN current_views c ON c.shard = s.shard
        LEFT JOIN fragment_rows t ON t.stage = {tokens} AND t.shard = s.shard AND t.input = c.fragment
        ORDER BY s.shard
    """
    with sql_errors():
        rows = Catalog(corpus).sql(query).fetchall()
    to_render = {shard: n for shard, n, rendered, _ in rows if not rendered}
    # Without the render stage, tokens can be made of what is rendered already.
    to_tokenize = {
        shard: n for shard, n, rendered, done in rows if not done and (rendered or "render" in options.stages)
    }
    chosen = {s: shards for s, shards in (("render", to_render), ("tokenize", to_tokenize)) if s in options.stages}
    return {s: list(shards) for s, shards in chosen.items()}, {s: sum(n.values()) for s, n in chosen.items()}


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
        self.on_gpu = options.gpu_per_tokenizer > 0 and any(n.get("GPU", 0) > 0 for n in alive_nodes())

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
        done = {name: len(queue.done) for name, queue in self.schedule.stages.items()}
        aside = {(name, n): why for name, q in self.schedule.stages.items() for n, why in q.aside.items()}
        return Outcome(done, aside)

    def stop(self) -> None:
        """Ends what is still in flight: the workers, and with them their Blenders."""
        for ref, (_, _, actor) in self.running.items():
            if actor is None:
                with suppress(RayError, ValueError):
                    ray.cancel(ref, force=True)
            else:
                ray.kill(actor)  # a call in native code cannot be cancelled

    def _submit(self, stage: str, shard: int) -> None:
        every = work.report_seconds(len(self.running))
        common = (self.url, shard, self.tally, every, self.cpus)
        mine = (self.options.tokenizer, self.options.weights)
        actor = None
        if stage == "render":
            task = self._task(work.render_shard, stage, shard, self.options.render_gpus)
            ref = task.remote(*common, "auto" if self.options.render_gpus else "cpu")
        elif self.on_gpu:
            actor = self.idle.pop() if self.idle else self._tokenizer()
            ref = actor.tokenize.remote(*common, *mine)
        else:
            ref = self._task(work.tokenize_shard, stage, shard, 0.0).remote(*common, *mine)
        self.running[ref] = (stage, shard, actor)

    def _task(self, function: Callable[..., None], stage: str, shard: int, gpus: float) -> Any:
        # Ray itself retries nothing: it could not tell a lost node from a shard that kills its worker.
        return ray.remote(function).options(
            name=f"{stage} {shard}",
            max_retries=0,
            scheduling_strategy="SPREAD",
            num_cpus=self.cpus,
            num_gpus=gpus,
            memory=self._memory(),
        )

    def _tokenizer(self) -> Any:
        share = self.options.gpu_per_tokenizer
        return ray.remote(work.GpuTokenizer).options(num_cpus=1, num_gpus=share, max_restarts=0).remote()

    def _take(self, ref: Any, stage: str, shard: int, actor: Any) -> None:
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
        most = int(max((n.get("CPU", 0) for n in alive_nodes()), default=0))
        return min(self.options.render_cpus, most) or self.options.render_cpus  # none yet: workers will come

    def _memory(self) -> int:
        most = int(max((n.get("memory", 0) for n in alive_nodes()), default=0))
        return min(self.cpus * MEMORY_A_CPU, most) or self.cpus * MEMORY_A_CPU

    def _room(self) -> dict[str, int]:
        if self.options.max_in_flight is not None:
            return dict.fromkeys(self.schedule.stages, self.options.max_in_flight)
        nodes = alive_nodes()
        tasks = int(sum(n.get("CPU", 0) for n in nodes) // self.cpus)
        room = dict.fromkeys(self.schedule.stages, 2 * tasks + 2)
        if "tokenize" in room and self.on_gpu:
            gpus = sum(n.get("GPU", 0) for n in nodes)
            room["tokenize"] = max(1, int(gpus / self.options.gpu_per_tokenizer))
        return room

    def _show(self) -> None:
        shards = {}
        for name, q in self.schedule.stages.items():
            shards[name] = (len(q.done), len(q.running), q.left, len(q.aside))
            states = {"done": len(q.done), "running": len(q.running), "left": q.left, "aside": len(q.aside)}
            self.tally.shards.remote(name, states)
        nodes = alive_nodes()
        total = {k: sum(n.get(k, 0) for n in nodes) for k in ("CPU", "GPU")}
        free = ray.available_resources()  # type: ignore[no-untyped-call]
        used = {k: v - free.get(k, 0.0) for k, v in total.items()}
        self.show(State(shards, self.assets, self._snapshot(), len(nodes), used, total))

    def _snapshot(self) -> Mapping[str, Mapping[str, Any]]:
        """The tally's figures, a moment old: the loop never waits for it."""
        if self.asked is None:
            self.asked = self.tally.snapshot.remote()
        elif ray.wait([self.asked], timeout=0)[0]:
            with suppress(RayError):  # its node died; Ray starts it again, from zero
                self.counts = ray.get(self.asked)
            self.asked = None
        return self.counts


def alive_nodes() -> list[dict[str, float]]:
    """The resources of each node that is alive."""
    return [n["Resources"] for n in ray.nodes() if n["Alive"]]  # type: ignore[no-untyped-call]


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
