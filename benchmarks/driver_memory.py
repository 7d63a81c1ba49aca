"""Does the driver grow with the assets it has done? Renders many tiny boxes and watches its resident memory.

python benchmarks/driver_memory.py [--assets 400]
"""

import argparse
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import trimesh

from dataengine.corpus.config import RenderConfig
from dataengine.corpus.corpus import Corpus
from dataengine.stages.plan import plan_corpus
from dataengine.stages.render import RenderStage
from dataengine.stages.run import run_shards


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assets", type=int, default=400)
    count = parser.parse_args().assets
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["DATAENGINE_SPOOL"] = str(folder / "spool")
        (folder / "models").mkdir()
        for i in range(count):
            trimesh.creation.box((1, 1, 1 + i / count)).export(folder / "models" / f"{i:05d}.glb")
        plan_corpus(
            folder / "corpus",
            sources=[f"local:{folder / 'models'}"],
            render=RenderConfig(resolution=16, samples=1),
            shard_size=50,
        )
        corpus = Corpus.open(folder / "corpus")
        process = psutil.Process()
        resident: list[float] = []

        def note(_: Mapping[str, Any]) -> None:
            resident.append(process.memory_info().rss / 2**20)

        run_shards(corpus, RenderStage(corpus.config.sets), corpus.shards(), on_asset=note)
    tenth = max(1, count // 10)
    print("assets done   resident memory of the driver, median MiB")
    for start in range(0, len(resident) - tenth + 1, tenth):
        print(f"{start + tenth:11d}   {np.median(resident[start : start + tenth]):.1f}")
    # The first commit loads the tar writer, and torch with it; what matters is what comes after.
    grown = np.median(resident[-tenth:]) - np.median(resident[count // 2 : count // 2 + tenth])
    print(f"growth over the last half: {grown:+.1f} MiB ({grown * 1024 / (0.45 * count):+.2f} KiB an asset)")


if __name__ == "__main__":
    main()
