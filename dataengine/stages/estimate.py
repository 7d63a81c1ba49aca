"""What rendering the rest of a corpus will take, from a few of its assets that are rendered and thrown away."""

import math
import random
import statistics
import tarfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from dataengine import isolated
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.result import Result
from dataengine.machine import usable_cores
from dataengine.manifests.catalog import Catalog
from dataengine.stages.pending import pending_shards
from dataengine.stages.render import RenderStage, default_workers
from dataengine.stages.stage import Row

TRIED = 5
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # two-sided 95 % points of Student's t, by sample size


@dataclass(frozen=True)
class Range:
    """A figure for all assets, with its 95 % interval: of the mean of those tried, by Student's t."""

    likely: float
    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """What is left to render, and what that takes.

    Attributes:
        assets: that are not in a finished shard of every view set.
        tried: of them, rendered for this; `failed` of those gave no views.
        workers: Blender processes at once.
        cpu_seconds: of all assets, in all processes.
        wall_seconds: on this machine with these workers, downloads included.
        bytes: of the tars.
    """

    assets: int
    tried: int
    failed: int
    workers: int
    cpu_seconds: Range
    wall_seconds: Range
    bytes: Range


@dataclass(frozen=True)
class _Cost:
    cpu_seconds: float
    wall_seconds: float
    bytes: float
    ok: bool


def estimate(corpus: Corpus, *, tried: int = TRIED, say: Callable[[str], None] = lambda line: None) -> Estimate | None:
    """Renders a few of the assets that are left, evenly chosen with the corpus's seed. Writes nothing but downloads.

    Args:
        corpus: planned.
        tried: assets to render, 2 to 5; all if no more are left.
        say: told which protections are in force.

    Returns:
        None if nothing is left.

    Raises:
        DataengineError: if Blender does not work here.
    """
    catalog = Catalog(corpus)
    left = {s.name: pending_shards(catalog, s.stage) for s in corpus.config.sets}
    shards = sorted({number for each in left.values() for number in each})
    sizes = {number: size for each in left.values() for number, size in each.items()}
    count = sum(sizes.values())
    if not count:
        return None
    # An asset that needs only some of the sets costs less: each set counts by its share of what is left.
    weights = {name: sum(each.values()) / count for name, each in left.items()}
    workers = default_workers()
    stage = RenderStage(
        tuple(s for s in corpus.config.sets if left[s.name]),
        workers=min(workers, tried),
        threads=max(1, usable_cores() // workers),
    )
    rows = _rows(corpus, shards, sizes, even_places(count, tried, corpus.config.seed))
    stage.say = say
    with ThreadPoolExecutor(stage.workers, "estimate") as pool:
        try:
            stage.start(corpus)
            for _ in pool.map(lambda row: _cost(stage, row, weights), rows[: stage.workers]):
                pass  # a Blender's first asset costs more than those that follow: it loads what it needs
            costs = list(pool.map(lambda row: _cost(stage, row, weights), rows))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            stage.stop()
            isolated.stop()
            raise
        stage.stop()
    return Estimate(
        count,
        len(rows),
        sum(not cost.ok for cost in costs),
        workers,
        of_all([c.cpu_seconds for c in costs], count),
        of_all([c.wall_seconds / workers for c in costs], count),
        of_all([c.bytes for c in costs], count),
    )


def even_places(count: int, wanted: int, seed: int) -> list[int]:
    """Indices below `count`, one in each of `wanted` equal stretches, at the same drawn place of each; all if few."""
    if count <= wanted:
        return list(range(count))
    shift = random.Random(seed).random()
    return [int((i + shift) * count / wanted) for i in range(wanted)]


def of_all(values: Sequence[float], count: int) -> Range:
    """The sum over `count` assets, of which some were measured: N times the mean, ± t s/√n √(1 - n/N).

    The lower end is not below N times the least that was measured.
    """
    mean, n = statistics.fmean(values), len(values)
    if n >= count:
        return Range(count * mean, count * mean, count * mean)
    if n == 1:
        return Range(count * mean, 0.0, math.inf)
    half = T_95[n] * statistics.stdev(values) / math.sqrt(n) * math.sqrt(1 - n / count)
    return Range(count * mean, count * max(mean - half, min(values)), count * (mean + half))


def _rows(corpus: Corpus, shards: Sequence[int], sizes: dict[int, int], places: Sequence[int]) -> list[Row]:
    """The plan's rows at places of the shards put one after the other."""
    rows: list[Row] = []
    first = 0
    for shard in shards:
        inside = [place - first for place in places if 0 <= place - first < sizes[shard]]
        first += sizes[shard]
        if inside:
            planned = corpus.plan(shard).to_pylist()
            rows += [planned[place] for place in inside]
    return rows


def _cost(stage: RenderStage, row: Row, weights: dict[str, float]) -> _Cost:
    """Of one asset in all sets. Of a failure nobody counts the CPU time: its wall time stands for it."""
    cpu = wall = size = 0.0
    ok = True
    started = time.monotonic()
    for part, made in stage.process_parts(row, stage.parts):
        now = time.monotonic()
        seconds, started = now - started, now
        weight = weights[part.sets[0].name] if isinstance(part, RenderStage) else 1.0
        wall += weight * seconds
        if isinstance(made, Result):
            cpu += weight * made.row["cpu_seconds"]
            blocks = sum(1 + math.ceil(len(m) / tarfile.BLOCKSIZE) for m in made.members.values())
            size += weight * tarfile.BLOCKSIZE * blocks
        else:
            cpu += weight * seconds
            ok = False
    return _Cost(cpu, wall, size, ok)
