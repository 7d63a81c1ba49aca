"""Does the tokens stage keep the encoder busy? Its rate beside the bare encoder's on tensors already in memory.

    python benchmarks/tokens.py                                small, 64 assets of 8 views of 128²
    python benchmarks/tokens.py --tokenizer show-o --resolution 256 --assets 8 --random
    python benchmarks/tokens.py --quick                        half a minute: does it run

Both go through the network in the same shapes. Rounds alternate; figures are medians over rounds. `stage` reads the
views shard, decodes its PNGs, composites, encodes, and commits the tokens shard (the command's `--no-checks`).
`checked` is the command's default, which also decodes and compares every view; `bare checked` does that with tensors in
memory. FLOP are counted by torch; the ceiling is a large square matrix product of the same dtype.

(Not called tokenize.py: scripts import from their own folder first, and Python's `inspect` needs its own `tokenize`.)
"""

import argparse
import io
import json
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from dataengine.corpus import schema
from dataengine.corpus.config import CorpusConfig, SourceConfig
from dataengine.corpus.corpus import CONFIG, PLAN, Corpus
from dataengine.corpus.fragments import tar_name, write_fragment
from dataengine.corpus.shards import write_shard
from dataengine.corpus.storage import Store
from dataengine.stages.run import run_shards
from dataengine.stages.tokenize import TokenStage
from dataengine.tokenize import build, load
from dataengine.tokenize.device_tokenizer import DeviceTokenizer, pick_device
from dataengine.tokenize.images import composite, decode_png

VIEWS = 8
WHITE = (255, 255, 255)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokenizer", default="small")
    parser.add_argument("--weights", default=None)
    parser.add_argument("--random", action="store_true", help="untrained weights: speed does not depend on them")
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--assets", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.assets, options.rounds = 8, 2
    device = pick_device(options.device)
    tokenizer = build(options.tokenizer) if options.random else load(options.tokenizer, options.weights)
    compute = DeviceTokenizer(tokenizer, device)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DATAENGINE_SPOOL"] = str(Path(folder) / "spool")
        corpus = make_corpus(Path(folder) / "corpus", options.assets, options.resolution)
        report(compute, corpus, options.assets, options.rounds, options.resolution)


def report(compute: DeviceTokenizer, corpus: Corpus, assets: int, rounds: int, resolution: int) -> None:
    images = assets * VIEWS
    pictures = [picture(resolution, n) for n in range(VIEWS)]
    rgba = np.stack([decode_png(p) for p in pictures])
    rgb, covered = composite(rgba, WHITE), rgba[..., 3] > 0
    memory: list[int] = []
    turns = count()

    def bare() -> None:
        for _ in range(assets):
            compute.encode(rgb).cpu()

    def bare_checked() -> None:
        for _ in range(assets):
            codes = compute.encode(rgb)
            compute.check(rgb, covered, codes)

    def stage(checks: bool) -> None:
        background = (255, 255, next(turns))  # another one each time, or the shard would be done
        tokens = TokenStage.on(compute, background=background, checks=checks)
        run_shards(corpus, tokens, [0], on_asset=lambda _: memory.append(resident()))

    runs: dict[str, Callable[[], None]] = {
        "bare": bare,
        "stage": lambda: stage(False),
        "bare checked": bare_checked,
        "checked": lambda: stage(True),
    }
    compute.encode(rgb)
    compute.check(rgb, covered, compute.encode(rgb))
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            seconds[name].append(timed(run, compute.device))
    rate = {name: images / statistics.median(s) for name, s in seconds.items()}
    fragment = corpus.fragment(f"tokens/{compute.spec.name}", 0)
    assert fragment is not None and fragment.tar is not None
    first, last = memory[: len(memory) // 4], memory[-len(memory) // 4 :]
    with FlopCounterMode(display=False) as counter:  # of this thread only
        compute.tokenizer.encode(torch.zeros(VIEWS, 3, resolution, resolution, device=compute.device))
    flop = counter.get_total_flops() / VIEWS
    found = {
        "tokenizer": compute.spec.name,
        "device": torch.cuda.get_device_name()
        if compute.device.type == "cuda"
        else f"{torch.get_num_threads()} threads",
        "images_per_second": {name: round(r, 1) for name, r in rate.items()},
        "stage_of_bare": round(rate["stage"] / rate["bare"], 3),
        "checked_of_bare_checked": round(rate["checked"] / rate["bare checked"], 3),
        "gflop_per_image": round(flop / 1e9, 2),
        "encoder_gflops_per_second": round(flop * rate["bare"] / 1e9, 1),
        "matrix_ceiling_gflops_per_second": ceilings(compute.device),
        "token_bytes_per_view": fragment.table["members"][0].as_py()[1]["size"] / VIEWS,
        "tar_bytes_per_view": round(corpus.store.fs.size(corpus.store.path(fragment.tar)) / images, 1),
        "resident_mb_first_and_last_quarter": [round(statistics.median(m) / 2**20) for m in (first, last)],
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    print(json.dumps(found, indent=1))


def timed(run: Callable[[], None], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def ceilings(device: torch.device) -> dict[str, float]:
    """GFLOP/s of a matrix product: float32, and on a GPU TF32 and bfloat16."""
    kinds = [("float32", torch.float32, False)]
    if device.type == "cuda":
        kinds += [("tf32", torch.float32, True), ("bfloat16", torch.bfloat16, False)]
    size = 8192 if device.type == "cuda" else 1024
    found = {}
    for name, dtype, tf32 in kinds:
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a = torch.randn(size, size, dtype=dtype, device=device)
        a @ a
        found[name] = round(2 * size**3 / min(timed(lambda a=a: a @ a, device) for _ in range(5)) / 1e9, 1)
        torch.backends.cuda.matmul.allow_tf32 = before
    return found


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def make_corpus(folder: Path, assets: int, resolution: int) -> Corpus:
    """One rendered shard of invented pictures: shaded, textured discs."""
    store = Store(folder)
    store.put(CONFIG, CorpusConfig(sources=(SourceConfig(spec="local:nothing"),)).to_yaml().encode())
    plan = [
        {"uid": f"{n:032x}", "status": "planned", "shard": 0, "row": n, "shard_input": "none", "split": "train"}
        for n in range(assets)
    ]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(plan, schema=schema.PLAN), buffer)
    store.put(PLAN, buffer.getvalue())
    camera = {"K": np.eye(3).tolist(), "c2w": np.eye(4).tolist(), "near": 0.5, "far": 2.0, "orthographic": False}
    cameras = json.dumps({"views": [camera] * VIEWS}).encode()
    pngs = [picture(resolution, n) for n in range(VIEWS)]
    files = {"cameras.json": cameras, **{f"{v:02d}.rgba.png": png for v, png in enumerate(pngs)}}
    tar = write_shard(folder / "shard.tmp", ((row["uid"], files) for row in plan))
    name = tar_name("views/orbit8", 0, tar.sha256)
    store.put(name, tar.path)
    rows = [
        {
            "uid": r["uid"],
            "shard": 0,
            "row": r["row"],
            "status": "ok",
            "tar": name,
            "num_views": VIEWS,
            "resolution": resolution,
            "members": [m.as_row() for m in tar.members[r["uid"]]],
        }
        for r in plan
    ]
    write_fragment(
        store,
        "views/orbit8",
        0,
        schema=schema.VIEWS,
        input="none",
        tar=name,
        tar_sha256=tar.sha256,
        settings={},
        rows=rows,
    )
    return Corpus.open(folder)


def picture(side: int, seed: int) -> bytes:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    alpha = np.clip((0.35 - np.hypot(x - 0.5, y - 0.5)) * side + 0.5, 0, 1)
    texture = (
        0.5 + 0.3 * np.sin(40 * x * random.uniform(0.5, 2)) * np.sin(40 * y) + random.normal(0, 0.02, (side, side))
    )
    rgb = np.clip(texture, 0, 1)[..., None] * random.uniform(0.3, 1, 3) * (alpha > 0)[..., None]
    buffer = io.BytesIO()
    Image.fromarray((np.concatenate([rgb, alpha[..., None]], -1) * 255).astype(np.uint8)).save(buffer, "png")
    return buffer.getvalue()


if __name__ == "__main__":
    main()
