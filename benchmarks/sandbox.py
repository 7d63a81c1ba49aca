"""What confining Blender costs: CPU seconds with and without Landlock, the filter of system calls, and bubblewrap.

    python benchmarks/sandbox.py FOLDER                  20 models of a folder, five rounds
    python benchmarks/sandbox.py FOLDER --models 4 --rounds 1

Each model is rendered (8 views of 128², 8 samples, one thread) in a Blender process of each kind, in turns. CPU
seconds, user and system, of the Blender process as it counts them, the least of the rounds: other work on the machine
only adds. `none` is a process for which Landlock's calls fail, as in a container that lacks it, and that gets no
filter. The interval is a bootstrap's over models. Starting a process is not counted: it serves many assets.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from dataengine.corpus.config import Limits, RenderConfig
from dataengine.errors import AssetFailure
from dataengine.render.blender.protocol import RenderRequest
from dataengine.render.confinement import Sandbox, why_no_bubblewrap
from dataengine.render.pool import BlenderPool, discard
from dataengine.render.settings import resolve
from dataengine.sources.local import find_local

# An interpreter for which Landlock's three calls (444 to 446) fail with ENOSYS.
WITHOUT_LANDLOCK = """#!{python}
import ctypes, os, struct, sys
steps = [(0x20, 0, 0, 0), (0x35, 0, 2, 444), (0x25, 1, 0, 446), (0x06, 0, 0, 0x00050026), (0x06, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)), 0, 0) == 0
os.execv({python!r}, [{python!r}, *sys.argv[1:]])
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    kinds: list[Sandbox] = ["kernel"] + ([] if why_no_bubblewrap() else ["bwrap"])
    seconds: dict[str, list[float]] = {name: [] for name in ("none", *kinds)}
    with ExitStack() as stack:
        pools = {"none": stack.enter_context(unconfined(args.folder))}
        for kind in kinds:
            pools[kind] = stack.enter_context(BlenderPool(Limits(), readable=[args.folder], threads=1, sandbox=kind))
        for wanted in requests(args.folder, args.models):
            try:
                for pool in pools.values():
                    cost(pool, wanted)  # what the file system and Blender keep is kept
                rounds = [{name: cost(pool, wanted) for name, pool in pools.items()} for _ in range(args.rounds)]
            except AssetFailure as failure:
                print(f"{Path(wanted.path).name}: {failure.code}, left out")
                continue
            for name in pools:
                seconds[name].append(min(r[name] for r in rounds))
            print(Path(wanted.path).name, *(f"{name} {found[-1]:.2f}" for name, found in seconds.items()), flush=True)
    base = np.array(seconds["none"])
    draws = np.random.default_rng(0).integers(0, len(base), (10_000, len(base)))
    print(f"{len(base)} models, least of {args.rounds} rounds, CPU seconds: none {base.sum():.2f}")
    for kind in kinds:
        confined = np.array(seconds[kind])
        low, high = np.quantile(confined[draws].sum(1) / base[draws].sum(1) - 1, [0.025, 0.975])
        print(f"{kind:<7} {confined.sum():.2f}: {confined.sum() / base.sum() - 1:+.1%} ({low:+.1%} to {high:+.1%})")


@contextmanager
def unconfined(folder: Path) -> Iterator[BlenderPool]:
    with tempfile.TemporaryDirectory() as place:
        interpreter = Path(place) / "python"
        interpreter.write_text(WITHOUT_LANDLOCK.format(python=sys.executable))
        interpreter.chmod(0o755)
        os.environ["DATAENGINE_BLENDER_PYTHON"] = str(interpreter)
        said: list[str] = []
        pool = BlenderPool(
            Limits(),
            readable=[folder],
            threads=1,
            sandbox="landlock",
            on_sandbox=lambda state: said.extend(state.values()),
        )
        with pool:
            with pool.worker() as worker:
                worker.ask("sandbox")
            del os.environ["DATAENGINE_BLENDER_PYTHON"]
            assert any("Landlock: Function not implemented" in line for line in said), said
            yield pool


def cost(pool: BlenderPool, wanted: RenderRequest) -> float:
    reply = pool.render(wanted)
    discard(reply)
    return reply.cpu_seconds


def requests(folder: Path, count: int) -> Iterator[RenderRequest]:
    """Of models of the folder, evenly over its list."""
    plan = resolve(RenderConfig(resolution=128))
    [look] = plan.looks.looks
    found = find_local(str(folder), Limits()).assets.to_pylist()
    for row in found[:: max(1, len(found) // count)][:count]:
        path = (folder / row["path"]).resolve()
        yield RenderRequest(
            uid="0" * 32,
            path=str(path),
            format=row["format"],
            up=None,
            frame=None,
            width=plan.resolution,
            height=plan.resolution,
            normalisation=plan.rig.normalisation,
            look=look.to_json() | {"samples": look.samples},
            samples=look.samples,
            engine="CYCLES",
            device="CPU",
            threads=1,
            seed=0,
            max_texture=512,
            cameras=plan.rig.cameras(plan.resolution),
            textures=[str(path.parent / d) for d in row["dependencies"] or []],
        )


if __name__ == "__main__":
    main()
