"""What further view sets of an asset cost beside the first: how much of the import is paid once.

    python benchmarks/sets.py FOLDER                 20 models of a folder, three rounds: as in docs/benchmarks.md
    python benchmarks/sets.py FOLDER --models 4 --rounds 1

Each model is rendered in orbit8, six_views and orbit24, as recipe four-papers has them, and in orbit24 at another
resolution, each alone and all together, in turns. CPU seconds of the Blender process, as it counts them itself; tiny
pictures of one sample, so that what is compared is what comes before the light. The import is what `load` costs:
reading the file, its materials, its textures.
"""

import argparse
import statistics
from collections.abc import Iterator
from pathlib import Path

from dataengine.corpus.config import Limits, RenderConfig
from dataengine.errors import AssetFailure
from dataengine.render.blender.protocol import RenderRequest
from dataengine.render.pool import BlenderPool, discard
from dataengine.render.settings import resolve
from dataengine.render.worker import BlenderWorker
from dataengine.sources.local import find_local

SETS = {
    "orbit8": RenderConfig(resolution=32, samples=1),
    "six_views": RenderConfig(rig="six_views", resolution=32, samples=1),
    "orbit24": RenderConfig(rig="orbit24", resolution=32, samples=1),
    "orbit24, other size": RenderConfig(rig="orbit24", resolution=24, samples=1),
}
PIXELS_OF_TEXTURES = {"orbit8": 1024, "six_views": 1024, "orbit24": 1024, "orbit24, other size": 384}  # 256² and 96²


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    models = list(chosen(args.folder, args.models))
    imports = 0.0
    alone, beside = (dict.fromkeys(SETS, 0.0) for _ in range(2))
    with BlenderPool(Limits(), readable=[args.folder], threads=1) as pool, pool.worker() as worker:
        for model in models:
            requests = {name: request(name, config, *model) for name, config in SETS.items()}
            try:
                cost(worker, requests["orbit8"], more=False)  # what the file system and Blender keep is kept
                rounds = [once(worker, requests) for _ in range(args.rounds)]
            except AssetFailure as failure:
                print(f"{model[0].name}: {failure.code}, left out")
                continue
            imports += statistics.median(r[0] for r in rounds)
            for name in SETS:
                alone[name] += statistics.median(r[1][name] for r in rounds)
                beside[name] += statistics.median(r[2][name] for r in rounds)
    print(f"{len(models)} models, {args.rounds} rounds, CPU seconds: the imports {imports:.2f}")
    for name in list(SETS)[1:]:
        saved = alone[name] - beside[name]
        costs = f"alone {alone[name]:.2f}, beside orbit8 {beside[name]:.2f}"
        print(f"{name:<22} {costs}: saved {saved / imports:.0%} of the import")


def once(worker: BlenderWorker, requests: dict[str, RenderRequest]) -> tuple[float, dict[str, float], dict[str, float]]:
    """(the import, each set alone, each set as one of four)."""
    alone = {name: cost(worker, wanted, more=False) for name, wanted in requests.items()}
    first, *others = requests
    beside = {first: cost(worker, requests[first], more=True)}
    assert worker._loaded is not None
    load = worker._loaded.cpu_seconds
    beside |= {name: cost(worker, requests[name], more=name != others[-1]) for name in others}
    return load, alone, beside


def cost(worker: BlenderWorker, wanted: RenderRequest, *, more: bool) -> float:
    """CPU seconds of one set, the import included where there was one."""
    reply = worker.render(wanted, more=more)
    discard(reply)
    return reply.cpu_seconds


def chosen(folder: Path, count: int) -> Iterator[tuple[Path, str, list[str]]]:
    """Models of the folder, evenly over its list: path, format, and the files beside them."""
    found = find_local(str(folder), Limits()).assets.to_pylist()
    for row in found[:: max(1, len(found) // count)][:count]:
        path = folder / row["path"]
        yield path, row["format"], [str(path.parent / d) for d in row["dependencies"] or []]


def request(name: str, config: RenderConfig, path: Path, kind: str, textures: list[str]) -> RenderRequest:
    plan = resolve(config)
    [look] = plan.looks.looks
    return RenderRequest(
        uid="0" * 32,
        path=str(path.resolve()),
        format=kind,
        up=None,
        frame=None,
        width=plan.resolution,
        height=plan.resolution,
        normalisation=plan.rig.normalisation,
        look=look.to_json() | {"samples": plan.samples or look.samples},
        samples=plan.samples or look.samples,
        engine="CYCLES",
        device="CPU",
        threads=1,
        seed=0,
        max_texture=PIXELS_OF_TEXTURES[name],
        cameras=plan.rig.cameras(plan.resolution),
        textures=textures,
    )


if __name__ == "__main__":
    main()
