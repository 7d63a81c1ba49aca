"""What does reading pixels cost beyond decoding them?

    python benchmarks/views.py CORPUS              # rendered; read again and again, --samples in all
    python benchmarks/views.py CORPUS --threads 2

`Views` gives float32 colour over white, alpha, metric depth, K and c2w of all views, shuffled, each member compared
with its hash. Beside it a bare loop: `tarfile` from end to end, the same PNGs decoded by Pillow into arrays as they are
stored, as many threads, nothing checked or converted; the same with `dataengine.decode`, which gives metric depth; and
with kornia-rs, the decoder of `Views`.
Samples per CPU second of all threads and per second; rounds alternate; figures are medians.
"""

import argparse
import io
import json
import tarfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, groupby, islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from kornia_rs.io import decode_image_png_u8, decode_image_png_u16
from PIL import Image
from rich.console import Console
from rich.table import Table as Grid

from dataengine import Corpus, Views, decode

BARE = "bare loop: tarfile, Pillow"


def groups(tars: list[str]) -> Iterator[dict[str, bytes]]:
    """The members of one asset after another."""
    for tar in cycle(tars):
        with tarfile.open(tar) as f:
            for _, members in groupby(f, lambda info: info.name.partition(".")[0]):
                yield {m.name.partition(".")[2]: f.extractfile(m).read() for m in members}  # type: ignore[union-attr]


def as_stored(members: dict[str, bytes]) -> list[Any]:
    return [np.asarray(Image.open(io.BytesIO(png))) for name, png in members.items() if name.endswith(".png")]


def by_kornia(members: dict[str, bytes]) -> list[Any]:
    size = tuple(json.loads(members["cameras.json"])[side] for side in ("height", "width"))
    rgba = [decode_image_png_u8(png, size, "rgba") for name, png in members.items() if name.endswith("rgba.png")]
    return rgba + [decode_image_png_u16(png, size, "mono") for n, png in members.items() if n.endswith("depth.png")]


def bare(tars: list[str], threads: int, decoder: Callable[[dict[str, bytes]], Any]) -> Iterator[Any]:
    with ThreadPoolExecutor(threads) as pool:
        waiting = []
        for members in groups(tars):
            waiting.append(pool.submit(decoder, members))
            if len(waiting) > 2 * threads:
                yield waiting.pop(0).result()


def ours(corpus: Corpus, threads: int, **options: Any) -> Iterator[Any]:
    fields = ("colour", "alpha", "depth", "K", "c2w")
    return iter(Views(corpus, split=None, threads=threads, fields=fields, **options))


def rate(reader: Iterator[Any], samples: int) -> tuple[float, float]:
    """Samples per CPU second and per second, after the first few."""
    list(islice(reader, 4))
    began, busy = time.perf_counter(), time.process_time()
    seen = sum(1 for _ in islice(reader, samples))
    return seen / (time.process_time() - busy), seen / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    corpus, threads = Corpus.open(arguments.corpus), arguments.threads
    tars = [tar for tar in corpus.tars(corpus.views_stage) if Path(tar).exists()]
    readers: dict[str, Callable[[], Iterator[Any]]] = {
        BARE: lambda: bare(tars, threads, as_stored),
        "the same, dataengine.decode": lambda: bare(tars, threads, decode),
        "the same, kornia-rs": lambda: bare(tars, threads, by_kornia),
        "Views": lambda: ours(corpus, threads),
        "Views, uint8": lambda: ours(corpus, threads, dtype=torch.uint8),
        "Views, uint8, alpha apart": lambda: ours(corpus, threads, dtype=torch.uint8, background=None),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in readers}
    for r in range(arguments.rounds):
        for name in list(readers)[:: 1 if r % 2 else -1]:
            found[name].append(rate(readers[name](), arguments.samples))
    grid = Grid("reader", "samples / CPU-s", "× bare loop", "samples / s", "× bare loop")
    for name, values in found.items():
        cpu, wall = (median(v[i] for v in values) for i in (0, 1))
        ratios = [median(v[i] / b[i] for v, b in zip(values, found[BARE], strict=True)) for i in (0, 1)]
        grid.add_row(name, f"{cpu:,.1f}", f"{ratios[0]:.2f}", f"{wall:,.1f}", f"{ratios[1]:.2f}")
    Console().print(grid)


if __name__ == "__main__":
    main()
