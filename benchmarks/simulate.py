"""How the run grows with the cluster, and what gives out first. Virtual time; the real Schedule.

    python benchmarks/simulate.py CORPUS [--nodes 1,10,100,1000]

Each simulated task is one shard: it starts (Ray's dispatch, Blender's start), renders its assets in times drawn from
those of a rendered corpus (`cpu_seconds` and `attempts` of its assets), and commits. Nodes are spot nodes: each is lost
at random and comes back after some minutes; a shard in hand starts again from nothing (its spool was on the node).

Limits that everything shares are constants below. For every size the table says the throughput, the share of the paid
core time that ended in committed views, and how near the nearest shared limit is.
"""

import argparse
import heapq
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dataengine import Catalog
from dataengine.cluster.options import RunOptions
from dataengine.cluster.schedule import Schedule
from dataengine.cluster.work import report_seconds

CORES = 32  # a node
TASK_CPUS = RunOptions().render_cpus
SHARD = 256  # assets
START_SECONDS = 3.0  # Ray's dispatch, imports, four Blenders
COMMIT_SECONDS = 2.0  # a tar of about 100 MB and a fragment into an object store
LOST_PER_HOUR = 0.05  # interruptions a spot node and hour; assumed, the better instance types see fewer
BACK_SECONDS = 300.0  # until a lost node is replaced; assumed
VIEW_BYTES = 60_000  # colour and depth of a view at 256 pixels
# Shared limits
DRIVER_TASKS = 500.0  # tasks a second through one submit loop: a no-op task was measured at 0.5 ms, each way
TALLY_REPORTS = 1000.0  # calls per second into one actor: measured at 1 ms per call
PUT_REQUESTS = 3500.0  # a second and prefix: S3's documented limit


@dataclass
class Simulated:
    """Figures of one run."""

    hours: float
    assets: int
    useful: float
    driver: float
    tally: float
    puts: float
    lost: int
    decide: float


def simulate(nodes: int, seconds: Sequence[float], shards: int, seed: int = 0) -> Simulated:
    """Runs `shards` shards on `nodes` nodes; a shard's time is that of its assets over TASK_CPUS cores."""
    chance = random.Random(seed)
    schedule = Schedule({"render": range(shards)}, retries=2)
    slots = CORES // TASK_CPUS
    durations = [task_seconds(chance, seconds) for _ in range(500)]
    free = [slots] * nodes
    generation = [0] * nodes
    begun: list[dict[int, float]] = [{} for _ in range(nodes)]
    events: list[tuple[float, int, str, int, int, int]] = []  # when, order, what, node, generation, shard
    order = decisions = lost = 0
    now = busy = useful = deciding = 0.0

    def at(when: float, what: str, node: int, shard: int = -1) -> None:
        nonlocal order
        order += 1
        heapq.heappush(events, (when, order, what, node, generation[node], shard))

    for node in range(nodes):
        at(chance.expovariate(LOST_PER_HOUR / 3600), "lost", node)
    ready = [n for n in range(nodes) for _ in range(slots)]
    chance.shuffle(ready)
    while schedule.active:
        started = time.process_time()
        while ready:
            node = ready[-1]
            if free[node] == 0:  # its node was lost meanwhile
                ready.pop()
                continue
            item = schedule.next({"render": nodes * slots})
            if item is None:
                break
            ready.pop()
            free[node] -= 1
            decisions += 1
            begun[node][item[1]] = now
            at(now + chance.choice(durations), "done", node, item[1])
        deciding += time.process_time() - started
        now, _, what, node, of, shard = heapq.heappop(events)
        if what == "done" and of == generation[node]:
            schedule.done("render", shard)
            worked = now - begun[node].pop(shard)
            busy, useful = busy + worked, useful + worked
            free[node] += 1
            ready.append(node)
        elif what == "lost":
            lost += 1
            for unfinished, since in begun[node].items():
                schedule.failed("render", unfinished, "its node went away", lost=True)
                busy += now - since
            begun[node].clear()
            generation[node] += 1
            free[node] = 0
            at(now + BACK_SECONDS, "back", node)
        elif what == "back":
            free[node] = slots
            ready += [node] * slots
            at(now + chance.expovariate(LOST_PER_HOUR / 3600), "lost", node)
    done = len(schedule.stages["render"].done)
    capacity = nodes * slots * now
    return Simulated(
        hours=now / 3600,
        assets=done * SHARD,
        useful=useful / capacity,
        driver=decisions / now / DRIVER_TASKS,
        tally=nodes * slots / report_seconds(nodes * slots) / TALLY_REPORTS,
        puts=2 * done / now / PUT_REQUESTS,
        lost=lost,
        decide=1e6 * deciding / max(1, decisions),
    )


def task_seconds(chance: random.Random, seconds: Sequence[float]) -> float:
    """How long one shard takes: its cores fill up as they get free, the last asset ends it."""
    cores = [0.0] * TASK_CPUS
    for _ in range(SHARD):
        heapq.heapreplace(cores, cores[0] + chance.choice(seconds))
    return START_SECONDS + max(cores) + COMMIT_SECONDS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="a rendered corpus to take the times from")
    parser.add_argument("--nodes", default="1,10,100,1000")
    parser.add_argument("--waves", type=int, default=12, help="shards a slot")
    args = parser.parse_args()
    query = "SELECT cpu_seconds, num_views FROM assets WHERE cpu_seconds IS NOT NULL"
    rows = Catalog(args.corpus).sql(query).fetchall()
    seconds = [row[0] for row in rows]
    views = max(row[1] or 0 for row in rows)
    console = Console(width=130)
    mean = sum(seconds) / len(seconds)
    console.print(
        f"{len(seconds)} measured assets, {mean:.1f} CPU seconds on average, {max(seconds):.0f} at most; "
        f"{CORES} cores per node, {TASK_CPUS} per task, {SHARD} assets per shard"
    )
    table = Table("nodes", "assets", "hours", "assets/s", "views/s", "committed share of core time", "nodes lost")
    table.add_column("nearest shared limit", no_wrap=True)
    table.add_column("into the store, Gbit/s")
    table.add_column("deciding, µs a task")
    for nodes in (int(n) for n in args.nodes.split(",")):
        result = simulate(nodes, seconds, nodes * CORES // TASK_CPUS * args.waves)
        rate = result.assets / result.hours / 3600
        limits = {"driver": result.driver, "tally": result.tally, "PUTs a prefix": result.puts}
        nearest = max(limits, key=lambda name: limits[name])
        table.add_row(
            f"{nodes:,}",
            f"{result.assets:,}",
            f"{result.hours:.2f}",
            f"{rate:,.1f}",
            f"{rate * views:,.0f}",
            f"{result.useful:.3f}",
            str(result.lost),
            f"{nearest} at {100 * limits[nearest]:.1f} %",
            f"{rate * views * VIEW_BYTES * 8 / 1e9:.2f}",
            f"{result.decide:.1f}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
