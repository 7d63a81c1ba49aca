"""What Ray costs: assets per second through `dataengine run` against the plain loop, on the same machine and models.

    python benchmarks/overhead.py [--assets 96] [--rounds 2]

Rounds alternate. The rate is taken from the manifest: the middle eight tenths of the assets over the time in which they
finished, so that starting Ray, Python and Blender, and the tail, which a long run has once, are told apart (the
column of whole seconds has them). Goal: at least 0.95.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import trimesh
from rich.console import Console
from rich.table import Table

from dataengine import Catalog

RUN = ("run", "--stages", "render", "--address", "local", "--render-cpus")
RATE = """SELECT 0.8 * count(*) / date_diff('milliseconds', quantile_disc(finished_at, 0.1),
    quantile_disc(finished_at, 0.9)) * 1000 FROM assets"""


def models(folder: Path, count: int) -> None:
    folder.mkdir()
    for i in range(count):
        mesh = trimesh.creation.icosphere(subdivisions=5)
        mesh.vertices *= np.random.default_rng(i).uniform(0.8, 1.2, mesh.vertices.shape)
        mesh.export(folder / f"{i}.glb")


def dataengine(folder: Path, *words: str) -> float:
    """Runs a command; seconds."""
    start = time.perf_counter()
    env = {**os.environ, "DATAENGINE_SPOOL": str(folder / "spool")}
    subprocess.run([sys.executable, "-m", "dataengine", *words], env=env, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=int, default=96)
    parser.add_argument("--shard-size", type=int, default=24)
    parser.add_argument("--resolution", type=int, default=64, help="small: what Ray costs shows")
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    ways = {
        "plain loop": ("render", "--shard", "all", "--workers", str(cores)),
        "run, tasks of one core": (*RUN, "1"),
        f"run, tasks of {cores} cores": (*RUN, str(cores)),
    }
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory(prefix="overhead-") as name:
        models(Path(name) / "models", args.assets)
        for number in range(args.rounds):
            for i, (way, (command, *options)) in enumerate(ways.items()):
                folder = Path(name) / f"{number}-{i}"
                corpus = str(folder / "corpus")
                source = f"local:{name}/models"
                size = ("--shard-size", str(args.shard_size), "--resolution", str(args.resolution))
                dataengine(folder, "plan", corpus, "--source", source, *size)
                seconds = dataengine(folder, command, corpus, *options)
                found[way].append((Catalog(corpus).sql(RATE).fetchall()[0][0], seconds))
                print(f"{way}: {found[way][-1][0]:.3f} assets/s, {seconds:.1f} s", flush=True)
    plain = median(rate for rate, _ in found["plain loop"])
    title = f"{args.assets} assets of {args.resolution}², {cores} cores"
    table = Table(title, "assets/s", "of the plain loop", "seconds, all in")
    for way, rounds in found.items():
        rate = median(r for r, _ in rounds)
        table.add_row(way, f"{rate:.3f}", f"{rate / plain:.3f}", f"{median(s for _, s in rounds):.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
