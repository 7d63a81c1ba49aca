"""Kills at random, again and again, on three Ray nodes: does what ends on disk ever differ from a plain run's?

    python benchmarks/chaos.py [--kills 30]

Each time one of: a Ray node, the driver (which is started again), a Blender (SIGKILL or SIGSEGV), a Blender that hangs
(SIGSTOP). Whenever a run finishes, every tar and every fragment but for its volatile columns must be those of the plain
run; then a fresh corpus is begun. A hung Blender costs the corpus's wall-clock limit, which is set low here.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import trimesh
from rich.console import Console
from rich.table import Table

from dataengine import Corpus
from dataengine.corpus.config import Limits, RenderConfig
from dataengine.corpus.verify import verify
from dataengine.stages.plan import plan_corpus
from dataengine.stages.render import RenderStage
from dataengine.stages.run import run_shards

NODE = {"num_cpus": 1, "memory": 8 << 30, "object_store_memory": 80 << 20}
KINDS = ("node", "driver", "Blender SIGKILL", "Blender SIGSEGV", "Blender hangs")
RENDER = RenderConfig(resolution=48, samples=2, limits=Limits(wall_seconds=60))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--assets", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    console = Console(width=100)
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        chaos = Chaos(Path(name), random.Random(args.seed), args.assets)
        try:
            chaos.run(args.kills)
        finally:
            chaos.stop()
        table = Table("killed", "times")
        for kind in KINDS:
            table.add_row(kind, str(chaos.kills[kind]))
        console.print(table)
        console.print(f"{chaos.finished} corpora finished, {chaos.restarts} drivers restarted")
        console.print("all as the plain run made them" if not chaos.different else f"DIFFERENT: {chaos.different}")
        sys.exit(bool(chaos.different))


class Chaos:
    """The cluster, the driver, and what has been killed."""

    def __init__(self, folder: Path, chance: random.Random, assets: int) -> None:
        from ray.cluster_utils import Cluster

        self.folder, self.chance = folder, chance
        self.kills: Counter[str] = Counter()
        self.finished = self.restarts = self.number = 0
        self.different: list[str] = []
        self.hung: list[psutil.Process] = []
        (folder / "models").mkdir()
        for i in range(assets):
            mesh = trimesh.creation.icosphere(subdivisions=4)
            mesh.vertices *= np.random.default_rng(i).uniform(0.7, 1.3, mesh.vertices.shape)
            mesh.export(folder / f"models/{i}.glb")
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ["DATAENGINE_SPOOL"] = str(folder / "spool")
        self.wanted = self.contents(self.plan("plain", render=True))
        os.environ["DATAENGINE_SPOOL"] = str(folder / "spool-of-the-runs")
        self.cluster = Cluster()
        self.add_node()  # the head
        self.nodes = [self.add_node() for _ in range(2)]
        self.corpus = self.plan("0")
        self.driver = self.start()

    def add_node(self) -> Any:
        for _ in range(3):
            try:
                return self.cluster.add_node(**NODE)
            except Exception as e:  # noqa: BLE001 - Ray raises no other; it gives a busy machine thirty seconds
                problem = e
        raise problem

    def plan(self, name: str, *, render: bool = False) -> Path:
        corpus = self.folder / name
        plan_corpus(corpus, sources=[f"local:{self.folder / 'models'}"], render=RENDER, shard_size=3)
        if render:
            opened = Corpus.open(corpus)
            run_shards(opened, RenderStage(opened.config.sets, workers=2), opened.shards())
        return corpus

    def start(self) -> "subprocess.Popen[bytes]":
        words = ("run", str(self.corpus), "--stages", "render", "--address", self.cluster.address)
        words += ("--render-cpus", "1", "--retries", "20")
        return subprocess.Popen(
            [sys.executable, "-m", "dataengine", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def run(self, kills: int) -> None:
        while self.kills.total() < kills:
            time.sleep(self.chance.uniform(1, 8))
            self.look()
            self.kill(self.chance.choice(KINDS))
        while self.driver.wait() != 0:
            self.driver = self.start()
        self.look()

    def look(self) -> None:
        """If the run has ended, compares what it made and begins a fresh corpus."""
        code = self.driver.poll()
        if code is None:
            return
        if code == 0:
            self.finished += 1
            found = self.contents(self.corpus)
            self.different += [k for k in self.wanted if found.get(k) != self.wanted[k]]
            self.different += [str(d) for d in verify(Corpus.open(self.corpus)).differences]
            self.number += 1
            self.corpus = self.plan(str(self.number))
        self.driver = self.start()

    def kill(self, kind: str) -> None:
        if kind == "node":
            doomed = self.chance.choice(self.nodes)
            self.nodes.remove(doomed)
            self.cluster.remove_node(doomed, allow_graceful=False)
            self.nodes.append(self.add_node())
        elif kind == "driver":
            self.driver.send_signal(signal.SIGKILL)
            self.driver.wait()
            self.driver = self.start()
            self.restarts += 1
        else:
            victims = self.blenders()
            if not victims:
                return
            signals = {"Blender SIGKILL": signal.SIGKILL, "Blender SIGSEGV": signal.SIGSEGV}
            victim = self.chance.choice(victims)
            try:
                victim.send_signal(signals.get(kind, signal.SIGSTOP))
            except psutil.NoSuchProcess:
                return
            if kind not in signals:
                self.hung.append(victim)
        self.kills[kind] += 1

    def blenders(self) -> list[psutil.Process]:
        """Those of this corpus's workers: descendants of the nodes that this process has started."""
        found = []
        for process in psutil.Process().children(recursive=True):
            try:
                if any("start.py" in word for word in process.cmdline()):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def contents(self, corpus: Path) -> dict[str, Any]:
        opened = Corpus.open(corpus)
        fragments = {n: opened.fragment("views/orbit8", n) for n in opened.shards()}
        return {f"shard {n}": (f.sha256, f.tar) for n, f in fragments.items() if f is not None}

    def stop(self) -> None:
        self.driver.kill()
        self.driver.wait()
        self.cluster.shutdown()
        for process in self.hung:  # one whose worker was killed meanwhile cannot even be told to end
            with suppress(psutil.NoSuchProcess):
                process.kill()


if __name__ == "__main__":
    main()
