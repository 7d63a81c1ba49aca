"""What does a view cost, and how good is it? Ours beside the procedure that people use today.

    python benchmarks/render.py                       12 models, three rounds: the figures of docs/benchmarks.md
    python benchmarks/render.py --models 2 --quick    a minute: does it run, and is the order of magnitude right
    python benchmarks/render.py --only studio         one look
    python benchmarks/render.py --only studio --brief its defaults beside today's procedure, without the curve
    python benchmarks/render.py --channels            what normals, albedo, orm and ids cost, at the defaults of `plan`

Every variant renders the same 8 views of 256² of the same textured models with the same cameras (those of recipe
`objaverse`, which today's procedure uses), all cores busy with one-thread Blenders. CPU seconds are those of all
processes, from the file to the members of the shard (today's: to its PNGs). PSNR is on the object, in sRGB, against a
reference of many samples of two views per model, made once and kept in bench-cache/. Variants alternate round by round;
figures are medians over the rounds.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import OpenEXR
import psutil
from PIL import Image

from dataengine.corpus.config import Limits, RenderConfig, ViewSet
from dataengine.corpus.schema import CHANNELS
from dataengine.errors import AssetFailure
from dataengine.render.asset import Renderer
from dataengine.render.blender.protocol import Camera, RenderRequest
from dataengine.render.chance import asset_seed
from dataengine.render.checks import check_views
from dataengine.render.looks import Look, look
from dataengine.render.pool import BlenderPool, discard
from dataengine.render.recipes import recipe
from dataengine.render.rigs import orbit
from dataengine.render.views import Views, ViewsHeader, read_exr, to_members
from dataengine.render.worker import RECYCLE_ASSETS

ROOT = Path(__file__).parents[1]
CACHE = ROOT / "bench-cache" / "render"
VIEWS, SIZE = 8, 256
REFERENCE_VIEWS = (1, 4)
CORES = len(os.sched_getaffinity(0))
RIG = dataclasses.replace(recipe("objaverse").rig, layout=orbit(VIEWS, 30, 1.5))

# Textured, of one root (today's procedure scales each root apart), 556 to 179,000 triangles.
MODELS = (
    "kh_Duck",
    "kk_chest_gold",
    "ms_chair",
    "xr_meta-quest-touch-plus_right",
    "p3d_cow",
    "pc_cat",
    "kh_CesiumMilkTruck",
    "ms_traffic_cone",
    "mz_camera_tool",
    "kk_bed_decorated",
    "ms_coffee_bag",
    "pc_chess-board",
)

Denoiser = Literal["none", "fast", "accurate"]
Pixels = npt.NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way to render: a look with samples and denoiser. `today` is the procedure of todays_procedure.py."""

    look: str
    samples: int
    denoiser: Denoiser
    today: bool = False

    @property
    def label(self) -> str:
        if self.today:
            return f"today's procedure, {self.samples} + accurate"
        plus = "" if self.denoiser == "none" else f" + {self.denoiser}"
        mark = " (default)" if self == default(self.look) else ""
        return f"{self.look} {self.samples}{plus}{mark}"


@dataclasses.dataclass
class Round:
    """One pass over all models."""

    cpu: float  # seconds, all processes
    wall: float
    psnr: list[float]  # dB, one per model
    peak: int  # bytes, the largest process
    phases: dict[str, float]  # seconds, summed over the models


def default(name: str) -> Variant:
    chosen = look(name)
    return Variant(name, chosen.samples, chosen.denoiser)


def variants(name: str, brief: bool) -> list[Variant]:
    """The curve of one look; two points of it are enough to tell tracing from the rest."""
    if brief:
        return (
            [default(name), Variant(name, 16, "none")]
            if name == "studio"
            else [Variant(name, n, "none") for n in (8, 16)]
        )
    if name == "studio":
        curve = [Variant(name, n, "none") for n in (4, 8, 16, 32)] + [Variant(name, n, "fast") for n in (4, 8, 16)]
    else:
        curve = [Variant(name, n, "none") for n in (8, 16, 32, 64)] + [Variant(name, n, "fast") for n in (8, 16, 32)]
    return [*curve, *([] if default(name) in curve else [default(name)])]


def request(model: Path, chosen: Look, samples: int, cameras: Sequence[Camera], seed: int) -> RenderRequest:
    return RenderRequest(
        uid=hashlib.sha256(model.name.encode()).hexdigest()[:32],
        path=str(model),
        format=model.suffix[1:],
        up=None,
        frame=None,
        width=SIZE,
        height=SIZE,
        normalisation=RIG.normalisation,
        look=chosen.to_json(),
        samples=samples,
        engine="CYCLES",
        device="CPU",
        threads=1,
        seed=seed,
        max_texture=4 * SIZE,
        cameras=list(cameras),
    )


def references(pool: BlenderPool, models: Sequence[Path], name: str, samples: int) -> dict[Path, Pixels]:
    """(2, SIZE, SIZE, 4) sRGB a model, without denoiser, from the cache where it has them."""
    CACHE.mkdir(parents=True, exist_ok=True)
    chosen = dataclasses.replace(look(name), denoiser="none", adaptive_threshold=0.0)
    cameras = [RIG.cameras(SIZE)[i] for i in REFERENCE_VIEWS]

    def one(model: Path) -> Pixels:
        # a seed that no measured variant has: noise in common would flatter
        wanted = request(model, chosen, samples, cameras, seed=20_240_229)
        key = json.dumps({**wanted.to_json(), "path": hashlib.sha256(model.read_bytes()).hexdigest()})
        file = CACHE / f"{model.stem}-{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npy"
        if not file.exists():
            reply = pool.render(wanted)
            np.save(file, read_exr(reply.exr, cameras).rgba)
            discard(reply)
            print(f"reference {model.stem} {name}: {reply.cpu_seconds:.0f} CPU-s", flush=True)
        return np.asarray(np.load(file))

    with ThreadPoolExecutor(CORES) as threads:
        return dict(zip(models, threads.map(one, models), strict=True))


def psnr(image: Pixels, reference: Pixels) -> float:
    """dB over the pixels that the reference's object covers, sRGB over mid-grey."""

    def shown(rgba: Pixels) -> npt.NDArray[np.float64]:
        alpha = rgba[..., 3:] / 255
        return np.asarray(rgba[..., :3] / 255 * alpha + 0.5 * (1 - alpha))

    on_object = reference[..., 3] > 127
    return float(-10 * np.log10(max(1e-10, np.mean((shown(image) - shown(reference))[on_object] ** 2))))


def run_ours(pool: BlenderPool, models: Sequence[Path], variant: Variant, truth: dict[Path, Pixels]) -> Round:
    chosen = dataclasses.replace(look(variant.look), denoiser=variant.denoiser)
    cameras = RIG.cameras(SIZE)

    def one(model: Path) -> tuple[float, int, dict[str, float], Views]:
        wanted = request(model, chosen, variant.samples, cameras, asset_seed(0, model.stem))
        reply = pool.render(wanted)
        began = time.thread_time()
        copy_exr(reply.exr)
        marks = [time.thread_time()]
        views = read_exr(reply.exr, cameras)
        discard(reply)
        marks.append(time.thread_time())
        check_views(views, reply.radius)
        marks.append(time.thread_time())
        to_members(views, ViewsHeader(RIG.name, chosen.name, RIG.normalisation, reply.scale, reply.offset))
        marks.append(time.thread_time())
        phases = {key: reply.seconds.get(key, 0.0) for key in ("import", "textures", "normalise", "render")}
        phases |= dict(zip(("read", "check", "encode"), np.diff(marks).tolist(), strict=True))
        # the copy took a read as well; both are the benchmark's own and not part of the CPU seconds
        phases["write"] = max(0.0, marks[0] - began - phases["read"])
        return reply.cpu_seconds + marks[-1] - marks[0], reply.peak_memory, phases, views

    start = time.monotonic()
    with ThreadPoolExecutor(CORES) as threads:
        results = list(threads.map(one, models))
    wall = time.monotonic() - start
    quality = [psnr(r[3].rgba[list(REFERENCE_VIEWS)], truth[m]) for m, r in zip(models, results, strict=True)]
    phases = {key: sum(r[2][key] for r in results) for key in results[0][2]}
    return Round(sum(r[0] for r in results), wall, quality, max(r[1] for r in results), phases)


def copy_exr(files: Iterable[str]) -> None:
    """Writes what Blender wrote once more, on the same tmpfs, by the same library: Blender does not say how long."""
    for name in files:
        with OpenEXR.File(name, separate_channels=True) as exr:
            pixels = {key: channel.pixels for key, channel in exr.channels().items()}
        header = {"compression": OpenEXR.NO_COMPRESSION, "type": OpenEXR.scanlineimage}
        OpenEXR.File(header, pixels).write(f"{name}.copy")
        Path(f"{name}.copy").unlink()


def run_today(models: Sequence[Path], variant: Variant, truth: dict[Path, Pixels]) -> Round:
    def one(model: Path) -> tuple[float, int, Pixels]:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, str(ROOT / "benchmarks/todays_procedure.py"), str(model), folder]
            options = ["--views", str(VIEWS), "--size", str(SIZE), "--samples", str(variant.samples)]
            with subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
                _, status, usage = os.wait4(child.pid, 0)
                child.returncode = os.waitstatus_to_exitcode(status)
            if child.returncode:
                raise SystemExit(f"today's procedure failed on {model}: exit {child.returncode}")
            files = [Path(folder) / f"{i:03d}.png" for i in REFERENCE_VIEWS]
            return (
                usage.ru_utime + usage.ru_stime,
                usage.ru_maxrss * 1024,
                np.stack([np.asarray(Image.open(f)) for f in files]),
            )

    start = time.monotonic()
    with ThreadPoolExecutor(CORES) as threads:
        results = list(threads.map(one, models))
    wall = time.monotonic() - start
    quality = [psnr(r[2], truth[m]) for m, r in zip(models, results, strict=True)]
    return Round(sum(r[0] for r in results), wall, quality, max(r[1] for r in results), {})


def channel_costs(models: Sequence[Path], rounds: int) -> None:
    """CPU seconds of the whole way of an asset with each channel, beside the way without: a Blender for each, and one
    model after another in all of them."""
    configs = {name: RenderConfig(channels=name) for name in ("", *CHANNELS, ",".join(CHANNELS))}
    configs["normal, no colour"] = RenderConfig(channels="normal", colour=False)
    cpu: dict[str, list[float]] = {name: [] for name in configs}
    size: dict[str, list[int]] = {name: [] for name in configs}
    folders = sorted({model.parent for model in models})
    with contextlib.ExitStack() as stack:
        opened = {
            name: stack.enter_context(Renderer((ViewSet(name="views", render=c),), workers=1, readable=folders))
            for name, c in configs.items()
        }
        for number in range(rounds + 1):  # the first starts the Blenders
            for model in models:
                asset = {"uid": hashlib.sha256(model.name.encode()).hexdigest()[:32], "format": "glb", "up": None}
                for name, renderer in opened.items():
                    [(_, made)] = renderer.render(asset, model, [], ["views"])
                    if isinstance(made, AssetFailure):
                        raise made
                    if number:
                        cpu[name].append(made.row["cpu_seconds"])
                        size[name].append(sum(map(len, made.members.values())))
    print(f"{len(models)} models, {VIEWS} views of {SIZE}², {rounds} rounds; more: medians over models and rounds")
    for name in configs:
        more = [own - plain for own, plain in zip(cpu[name], cpu[""], strict=True)]
        ratio = [own / plain for own, plain in zip(cpu[name], cpu[""], strict=True)]
        means = f"{statistics.fmean(cpu[name]):6.2f} CPU-s an asset, {statistics.fmean(size[name]) / 1024:6.0f} KiB"
        cost = f"{statistics.median(more):+.2f} CPU-s, {statistics.median(ratio):.2f} times"
        print(f"{name or 'colour and depth alone':26}{means}; more: {cost}")


def start_up(pool: BlenderPool) -> float:
    """CPU seconds until a Blender is ready, which ours pays once in RECYCLE_ASSETS assets."""
    with pool.worker() as worker:
        worker.close()
        worker.ask("devices")
        assert worker.pid is not None
        times = psutil.Process(worker.pid).cpu_times()
    return float(times.user + times.system)


@dataclasses.dataclass(frozen=True)
class Figure:
    """Medians over the rounds."""

    variant: Variant
    cpu_per_asset: float
    views_per_cpu_second: float
    wall_an_asset: float
    psnr: float  # mean over the models
    worst: float
    peak: int
    phases: dict[str, float]  # an asset


def figure(variant: Variant, rounds: Sequence[Round], assets: int, start: float) -> Figure:
    cpu = statistics.median(r.cpu for r in rounds) / assets + (0 if variant.today else start / RECYCLE_ASSETS)
    best = rounds[0]
    return Figure(
        variant,
        cpu,
        VIEWS / cpu,
        statistics.median(r.wall for r in rounds) / assets,
        statistics.fmean(best.psnr),
        min(best.psnr),
        max(r.peak for r in rounds),
        {k: statistics.median(r.phases[k] for r in rounds) / assets for k in best.phases},
    )


def report(figures: Sequence[Figure]) -> None:
    today = next(f for f in figures if f.variant.today)
    print(f"\n{'':38}{'CPU-s':>7}{'views/':>8}{'times':>7}{'PSNR dB':>9}{'worst':>7}{'peak':>7}")
    print(f"{'':38}{'/asset':>7}{'CPU-s':>8}{'today':>7}{'object':>9}{'model':>7}{'MB':>7}")
    for f in figures:
        ratio = f.views_per_cpu_second / today.views_per_cpu_second
        cost = f"{f.cpu_per_asset:7.2f}{f.views_per_cpu_second:8.2f}{ratio:7.1f}"
        print(f"{f.variant.label:38}{cost}{f.psnr:9.1f}{f.worst:7.1f}{f.peak / 1e6:7.0f}")
    for name in dict.fromkeys(f.variant.look for f in figures if not f.variant.today):
        mine = [f for f in figures if f.variant.look == name and not f.variant.today]
        # the look's own setting for studio; for the published one, the cheapest that is as good as today's
        good = [f for f in mine if f.variant == default(name) or (name != "studio" and f.psnr >= today.psnr)]
        chosen = min(good or mine, key=lambda f: f.cpu_per_asset)
        ratio = chosen.views_per_cpu_second / today.views_per_cpu_second
        print(f"\n{chosen.variant.label}: {ratio:.1f} times the views per CPU-second of today's procedure, ", end="")
        print(f"{chosen.psnr:.1f} dB (today's {today.psnr:.1f} dB), depth included")
        phases = phases_of(chosen, mine)
        where = ", ".join(f"{key} {1e3 * value:.0f}" for key, value in phases.items())
        print(f"  where an asset's time goes (ms, all {VIEWS} views): {where}")
        print(f"  the floor, tracing alone: {phases['trace']:.2f} s of {chosen.cpu_per_asset:.2f} CPU-s per asset")


def phases_of(chosen: Figure, curve: Sequence[Figure]) -> dict[str, float]:
    """Seconds an asset by phase. Blender does not say how long it traced: render time grows with the samples, by the
    tracing, from an intercept, which is sync and write; what a denoised variant takes beyond that line is denoising."""
    plain = [f for f in curve if f.variant.denoiser == "none"]
    slope, intercept = np.polyfit([f.variant.samples for f in plain], [f.phases["render"] for f in plain], 1)
    times = chosen.phases
    trace = float(slope) * chosen.variant.samples
    return {
        "import": times["import"] + times["textures"] + times["normalise"],
        "sync": max(0.0, float(intercept) - times["write"]),
        "trace": trace,
        "denoise": max(0.0, times["render"] - trace - float(intercept)) if chosen.variant.denoiser != "none" else 0.0,
        "write": times["write"],
        "read": times["read"],
        "check": times["check"],
        "encode": times["encode"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=Path, default=ROOT.parent / "shared/assets/open", help="folder of the models")
    parser.add_argument("--models", type=int, default=len(MODELS), help="how many of them")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--reference-samples", type=int, default=512)
    parser.add_argument("--only", choices=("studio", "objaverse"), action="append", help="one look")
    parser.add_argument("--brief", action="store_true", help="two variants a look")
    parser.add_argument("--channels", action="store_true", help="what channels cost, and nothing else")
    parser.add_argument("--quick", action="store_true", help="that in one round, with a 64-sample reference")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    models = [args.assets / f"{name}.glb" for name in MODELS[: args.models]]
    missing = [m.name for m in models if not m.is_file()]
    if missing:
        raise SystemExit(f"{args.assets} has no {', '.join(missing)}; name the folder of test models with --assets")
    if args.channels:
        channel_costs(models, args.rounds)
        return
    rounds, samples = (1, 64) if args.quick else (args.rounds, args.reference_samples)
    looks = args.only or ["studio", "objaverse"]
    chosen = [Variant("objaverse", 32, "accurate", today=True)]
    chosen += dict.fromkeys(v for name in looks for v in variants(name, args.brief or args.quick))

    print(f"{len(models)} models, {VIEWS} views of {SIZE}², {CORES} cores, {rounds} rounds", flush=True)
    done: dict[Variant, list[Round]] = {v: [] for v in chosen}
    with BlenderPool(Limits(cpu_seconds=1e5, wall_seconds=1e5), workers=CORES, threads=1) as pool:
        start = statistics.median(start_up(pool) for _ in range(3))
        truth = {name: references(pool, models, name, samples) for name in {"objaverse", *looks}}
        for number in range(rounds):
            for variant in chosen:
                run = run_today(models, variant, truth[variant.look]) if variant.today else None
                done[variant].append(run or run_ours(pool, models, variant, truth[variant.look]))
                last = done[variant][-1]
                print(f"round {number + 1} {variant.label}: {last.cpu / len(models):.2f} CPU-s per asset", flush=True)
    figures = [figure(v, runs, len(models), start) for v, runs in done.items()]
    print(f"\nstart-up of a Blender: {start:.2f} CPU-s, shared by {RECYCLE_ASSETS} assets")
    report(figures)
    if args.json:
        args.json.write_text(json.dumps([dataclasses.asdict(f) for f in figures], indent=1) + "\n")


if __name__ == "__main__":
    main()
