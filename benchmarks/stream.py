"""Does streaming from plain WebDataset tars cost anything?

    python benchmarks/stream.py                     # 20,000 samples of 8 × 256 tokens, captions and cameras
    python benchmarks/stream.py --index 10_000_000  # seconds and memory of the index of so many

Batches of int64 tensors with cameras and captions, shuffled, read in the calling thread; samples per second of CPU time
(all threads), page cache warm, from the second epoch on (in the first, each shard is hashed once). Beside: `webdataset`
on the same tars (shuffle buffer 1000), a raw memory map of the same content, one record a sample, gathered in random
order and converted in new tensors; mosaicml-streaming and litdata on copies of their own where they can be imported.
Rounds alternate; figures are medians.
"""

import argparse
import io
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.table import Table as Grid

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.catalog import add_rows, hex_strings, table
from dataengine.corpus import schema
from dataengine.corpus.config import CorpusConfig, SourceConfig
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.fragments import FORMAT_VERSION
from dataengine.corpus.storage import Store
from dataengine.manifests.catalog import Catalog
from dataengine.manifests.compact import compact
from dataengine.training.data.index import build_index
from dataengine.training.data.stream import Stream
from tests.training.synthetic import SPEC, make_corpus, npy, orbit_cameras

BATCH, VIEWS, GRID = 32, 8, 16
LIMIT, PEER = "memory map", "webdataset"


def tokens(i: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(i).integers(0, 1 << 18, (VIEWS, GRID, GRID), np.uint32)


def ours(index: Any, ahead: bool) -> Iterator[int]:
    stream = Stream(index, batch_size=BATCH, ahead=ahead)
    try:
        while True:
            yield len(next(stream).tokens)
    finally:
        stream.close()


RECORD = np.dtype([("tokens", np.uint32, (VIEWS, GRID, GRID)), ("cameras", np.float32, (VIEWS, 30)), ("text", "S80")])


def memory_map(file: Path, samples: int, whole: bool) -> Iterator[int]:
    """The limit: records of one size, gathered by numpy in random order. `whole`: cameras and captions too."""
    records = np.memmap(file, RECORD, "r")
    random = np.random.default_rng(0)
    while True:
        order = random.permutation(samples)
        for b in range(samples // BATCH):
            rows = order[b * BATCH : (b + 1) * BATCH]
            codes = torch.from_numpy(records["tokens"][rows].astype(np.int64))
            if whole:
                cameras = torch.from_numpy(records["cameras"][rows])
                assert len(cameras) == len([text.decode() for text in records["text"][rows].tolist()])
            yield len(codes)


def write_records(file: Path, samples: int) -> None:
    with file.open("wb") as f:
        for i in range(samples):
            f.write(np.array([(tokens(i), orbit_cameras(VIEWS), caption(i).encode())], RECORD).tobytes())


def web_dataset(tars: list[str]) -> Iterator[int]:
    import webdataset as wds

    def decode(sample: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor, str]:
        arrays = (np.load(io.BytesIO(sample[k])) for k in ("tokens.npy", "cameras.npy"))
        codes, cameras = arrays
        return torch.from_numpy(codes.astype(np.int64)), torch.from_numpy(cameras), sample.get("txt", b"").decode()

    data = wds.WebDataset(tars, shardshuffle=100, seed=0, empty_check=False).repeat().shuffle(1000).map(decode)
    for codes, _, _ in data.batched(BATCH, partial=False):
        yield len(torch.stack(list(codes)) if not isinstance(codes, torch.Tensor) else codes)


def endless(data: Any) -> Iterator[Any]:
    while True:
        yield from data


def stacked(items: Iterator[Any]) -> int:
    """A batch of what other libraries give sample by sample; converted all at once."""
    batch = [next(items) for _ in range(BATCH)]
    codes = torch.from_numpy(np.stack([item["tokens"] for item in batch]).astype(np.int64))
    cameras = torch.from_numpy(np.stack([item["cameras"] for item in batch]))
    assert len(cameras) == len([item["text"] for item in batch])
    return len(codes)


def record(i: int) -> dict[str, Any]:
    return {"tokens": tokens(i), "cameras": orbit_cameras(VIEWS), "text": caption(i)}


def mosaic(folder: Path) -> Iterator[int]:
    from streaming import StreamingDataset

    data = StreamingDataset(local=str(folder), shuffle=True, batch_size=BATCH)
    items = endless(data)
    while True:
        yield stacked(items)


def write_mosaic(folder: Path, samples: int) -> None:
    from streaming import MDSWriter

    arrays = {"tokens": f"ndarray:uint32:{VIEWS},{GRID},{GRID}", "cameras": f"ndarray:float32:{VIEWS},30"}
    with MDSWriter(out=str(folder), columns={**arrays, "text": "str"}) as out:
        for i in range(samples):
            out.write(record(i))


def lit(folder: Path) -> Iterator[int]:
    from litdata import StreamingDataset

    data = StreamingDataset(str(folder), shuffle=True)
    items = endless(data)
    while True:
        yield stacked(items)


def write_lit(folder: Path, samples: int) -> None:
    from litdata.streaming.writer import BinaryWriter

    folder.mkdir()
    writer = BinaryWriter(str(folder), chunk_bytes="16MB")
    for i in range(samples):
        writer[i] = record(i)
    writer.done()
    writer.merge()


def caption(i: int) -> str:
    return f"a 3D model of a small wooden object with four legs, number {i}"


def rate(reader: Iterator[int], batches: int) -> float:
    """Samples a CPU second over at least one, after an epoch in which shards are hashed and caches warmed."""
    for _ in range(batches):
        next(reader)
    began, seen, spent = time.process_time(), 0, 0.0
    while spent < 1:
        seen += sum(itertools.islice(reader, 20))
        spent = time.process_time() - began
    return seen / spent


def compare(samples: int, rounds: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="stream-"))
    try:
        make_corpus(
            folder / "corpus", samples, 1000, tokens=tokens, caption=caption, spec={**SPEC, "bits": 18}, val_every=10**9
        )
        index = build_index(Catalog(folder / "corpus"), "toy")
        write_records(folder / "raw", samples)
        batches = samples // BATCH
        tars = [index.store.url_of(t) for t in index.tars]
        readers: dict[str, Callable[[], Iterator[int]]] = {
            LIMIT: lambda: memory_map(folder / "raw", samples, True),
            "memory map, tokens only": lambda: memory_map(folder / "raw", samples, False),
            "dataengine": lambda: ours(index, False),
            "dataengine, a thread ahead": lambda: ours(index, True),
            PEER: lambda: web_dataset(tars),
        }
        for name, write, read in (("mosaicml-streaming", write_mosaic, mosaic), ("litdata", write_lit, lit)):
            try:
                write(folder / name, samples)
            except ImportError as e:
                print(f"{name} is left out ({e}): pip install {name}")
                continue
            readers[name] = lambda read=read, name=name: read(folder / name)
        found: dict[str, list[float]] = {name: [] for name in readers}
        for r in range(rounds):
            for name in list(readers)[:: 1 if r % 2 else -1]:
                found[name].append(rate(readers[name](), batches))
        grid = Grid("reader", "samples / CPU-s", "× memory map", "× webdataset")
        middle = {name: median(values) for name, values in found.items()}
        for name, value in middle.items():
            limit, peer = middle[LIMIT], middle[PEER]
            grid.add_row(name, f"{value:,.0f}", f"{value / limit:.2f}", f"{value / peer:.1f}")
        Console().print(grid)
    finally:
        shutil.rmtree(folder)


def index_of(samples: int, shard_size: int = 256) -> None:
    """Builds the index of a compacted corpus in a fresh process. Of its shards a piece of the first is there."""
    folder = Path(tempfile.mkdtemp(prefix="stream-"))
    try:
        make_manifest(folder, samples, shard_size)
        compact(Corpus.open(folder))
        subprocess.run([sys.executable, __file__, "--measure", str(folder)], check=True)
    finally:
        shutil.rmtree(folder)


def measure_index(folder: Path) -> None:
    base = peak_memory()
    began, busy = time.perf_counter(), time.process_time()
    index = build_index(Catalog(folder), "toy", split="train", where="licence IN ('cc0-1.0', 'cc-by-4.0')")
    seconds, cpu = time.perf_counter() - began, time.process_time() - busy
    print(
        f"{len(index):,} samples: {seconds:.1f} s ({cpu:.1f} CPU-s); {index.nbytes / len(index):.0f} bytes per sample, "
        f"{index.nbytes / 1e6:,.0f} MB held; peak {peak_memory():,.0f} MB, {base:,.0f} MB of it before"
    )


def peak_memory() -> float:
    """MB that this process has had resident at most (Linux; `ru_maxrss` would remember the parent's)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1e3


def make_manifest(folder: Path, samples: int, shard_size: int) -> None:
    """Plan, views and tokens fragments, as large as real ones where the index looks.

    `compact` sorts assets by their faces, whose numbers are random here: the index has all its sorting to do.
    """
    store, rng = Store(folder), np.random.default_rng(0)
    config = CorpusConfig(sources=(SourceConfig(spec="local:none"),))
    store.put("corpus.yaml", config.to_yaml().encode())
    kinds = {"cameras.npy": (512, 1088), "tokens.npy": (2560, 8320), "txt": (11776, 62)}
    (folder / "plan").mkdir()
    waiting: list[pa.Table] = []
    with pq.ParquetWriter(folder / "plan/assets.parquet", schema.PLAN, compression="zstd") as plan:
        for shard, start in enumerate(range(0, samples, shard_size)):
            n = min(shard_size, samples - start)
            rows = np.arange(n)
            uid = hex_strings(rng, n, 32)
            shared = {
                "uid": uid,
                "shard": pa.array(np.full(n, shard)),
                "row": pa.array(rows),
                "status": pa.array(["ok"] * n),
            }
            planned = {"status": pa.array(["planned"] * n), "shard_input": pa.array([f"{shard:064x}"] * n)}
            chosen = {"licence": pa.array(["cc0-1.0"] * n), "split": pa.array(["train"] * n), "group_id": uid}
            chosen["face_count"] = pa.array(rng.integers(0, 50_000, n))
            rows_of_plan = table({**shared, **planned, **chosen}, schema.PLAN, n)
            add_rows(plan, waiting, rows_of_plan, last=start + n >= samples)
            tar = f"tokens/toy/{shard:05d}-{shard:016x}.tar"
            parts = {
                "name": pa.array(list(kinds) * n),
                "offset": pa.array((rows[:, None] * 12288 + [o for o, _ in kinds.values()]).ravel()),
                "size": pa.array([s for _, s in kinds.values()] * n),
                "sha256": hex_strings(rng, 3 * n, 64),
            }
            structs = pa.StructArray.from_arrays(list(parts.values()), fields=list(schema.MEMBERS.value_type))
            views = {
                "input": pa.array([f"{shard:064x}{config.sets[0].input}"] * n),
                "fragment": pa.array([f"v{shard}"] * n),
            }
            tokens_of = {
                "made_from": pa.array([config.sets[0].stage] * n),
                "input": pa.array([f"v{shard}"] * n),
                "fragment": pa.array([f"t{shard}"] * n),
                "tar": pa.array([tar] * n),
                "num_views": pa.array([VIEWS] * n),
                "grid": pa.array([[GRID, GRID]] * n, pa.list_(pa.int32(), 2)),
                **{
                    f"{schema.TOKEN_MEMBERS[name]}_{what}": parts[what].take(pa.array(rows * len(kinds) + k))
                    for k, name in enumerate(kinds)
                    for what in ("offset", "size")
                },
                "members": pa.ListArray.from_arrays(pa.array(np.arange(n + 1, dtype=np.int32) * 3), structs),
            }
            for stage, of, more in (
                (config.sets[0].stage, schema.VIEWS, views),
                ("tokens/toy", schema.TOKENS, tokens_of),
            ):
                head = {"format": FORMAT_VERSION, "stage": stage, "shard": shard, "input": more["input"][0].as_py()}
                head |= {"tar": None, "tar_sha256": None, "settings": {}, "sha256": more["fragment"][0].as_py()}
                content = table({**shared, **more}, of, n).replace_schema_metadata({"dataengine": json.dumps(head)})
                (folder / stage).mkdir(parents=True, exist_ok=True)
                pq.write_table(content, folder / stage / f"{shard:05d}.parquet", compression="zstd")
    first = b"".join(
        content.rjust(end - start, b"\0")
        for content, start, end in (
            (npy(orbit_cameras(VIEWS)), 0, 512 + len(npy(orbit_cameras(VIEWS)))),
            (npy(tokens(0)), 512 + len(npy(orbit_cameras(VIEWS))), 2560 + 8320),
        )
    )
    store.put("tokens/toy/00000-0000000000000000.tar", first)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--index", type=int, default=0)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure_index(arguments.measure)
    elif arguments.index:
        index_of(arguments.index)
    else:
        compare(arguments.samples, arguments.rounds)


if __name__ == "__main__":
    main()
