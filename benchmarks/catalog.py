"""Does the manifest answer at the size it is made for?

    python benchmarks/catalog.py                        # 10,000 planned assets: queries in under 0.2 s
    python benchmarks/catalog.py --assets 10_000_000    # with every fragment: status and queries in under 2 s

Generates a corpus's plan and fragments (no tars; one view an asset: more views make rows longer, but these queries do
not read them), asks before and after compaction, each time in a fresh process, and prints seconds and peak memory.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from dataengine import Catalog, Corpus
from dataengine.corpus import schema
from dataengine.corpus.config import CorpusConfig, SourceConfig
from dataengine.corpus.fragments import FORMAT_VERSION
from dataengine.manifests.compact import compact
from dataengine.manifests.status import status
from dataengine.stages.plan_files import GROUP_ROWS

QUERIES = {
    "ok assets by licence": "SELECT licence, count(*) FROM assets WHERE status = 'ok' GROUP BY ALL",
    "a training set": "SELECT uid, shard, row FROM assets WHERE status = 'ok' AND licence = 'cc0-1.0' "
    "AND face_count BETWEEN 2000 AND 3000 AND split = 'train'",
    "failures by kind": "SELECT error, count(*), min(message) FROM failures GROUP BY ALL",
    "quality by source": "SELECT source, avg(depth_error), avg(coverage[1]) FROM assets WHERE status = 'ok' "
    "GROUP BY ALL",
}
LICENCES = ["cc-by-4.0", "cc0-1.0", "cc-by-nc-4.0", "cc-by-sa-4.0", None]
SHARE = [0.6, 0.15, 0.1, 0.05, 0.1]
START = datetime(2026, 1, 1, tzinfo=UTC)


def hex_strings(rng: np.random.Generator, count: int, length: int) -> pa.Array:
    offsets = np.arange(0, (count + 1) * length, length, dtype=np.int32)
    text = rng.bytes(count * length // 2).hex().encode()
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(text))


def table(columns: dict[str, pa.Array], of: pa.Schema, rows: int) -> pa.Table:
    arrays = [columns[f.name].cast(f.type) if f.name in columns else pa.nulls(rows, f.type) for f in of]
    return pa.Table.from_arrays(arrays, schema=of)


def generate(folder: Path, assets: int, shard_size: int, fragments: bool) -> None:
    """A plan, and a views fragment a shard; two of a hundred assets have failed."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    config = CorpusConfig(sources=(SourceConfig(spec="local:models"),), shard_size=shard_size)
    (folder / "corpus.yaml").write_text(config.to_yaml())
    (folder / "plan").mkdir()
    (folder / config.sets[0].stage).mkdir(parents=True)
    pool = 997  # captions, titles and the like repeat
    words = pa.array([f"a {i} shaded thing with several parts, number {i}" for i in range(pool)])
    waiting: list[pa.Table] = []
    with pq.ParquetWriter(folder / "plan/assets.parquet", schema.PLAN, compression="zstd") as plan:
        for shard, start in enumerate(range(0, assets, shard_size)):
            n = min(shard_size, assets - start)
            uid = hex_strings(rng, n, 32)
            licence = pa.array([LICENCES[i] for i in rng.choice(5, n, p=SHARE)], pa.string())
            input = f"{shard:064x}"
            index = pa.array(rng.integers(0, pool, n))
            planned = {
                "uid": uid,
                "status": pa.array(["planned"] * n),
                "shard": pa.array([shard] * n),
                "row": pa.array(range(n)),
                "shard_input": pa.array([input] * n),
                "source": pa.array(["local:a" if shard % 3 else "local:b"] * n),
                "uri": words.take(index),
                "format": pa.array(["glb"] * n),
                "bytes": pa.array(rng.integers(1000, 10_000_000, n)),
                "face_count": pa.array(rng.integers(0, 50_000, n)),
                "licence": licence,
                "caption": words.take(index),
                "group_id": uid,
                "split": pa.array(["train" if i % 50 else "val" for i in range(n)]),
            }
            add_rows(plan, waiting, table(planned, schema.PLAN, n), last=start + n >= assets)
            if fragments:
                write_views(folder, rng, shard, uid, input + config.sets[0].input)


def add_rows(plan: pq.ParquetWriter, waiting: list[pa.Table], rows: pa.Table, last: bool) -> None:
    """Writes what waits once it makes a row group as large as `dataengine plan` writes them, or is the last."""
    waiting.append(rows)
    if sum(t.num_rows for t in waiting) >= GROUP_ROWS or last:
        plan.write_table(pa.concat_tables(waiting))
        waiting.clear()


def write_views(folder: Path, rng: np.random.Generator, shard: int, uid: pa.Array, input: str) -> None:
    n = len(uid)
    failed = rng.random(n) < 0.02
    own = rng.bytes(32).hex()
    struct = pa.StructArray.from_arrays(
        [
            pa.array(["00.depth.png", "00.rgba.png", "cameras.json", "txt"] * n),
            pa.array(np.arange(4 * n) * 30_000),
            pa.array(rng.integers(10_000, 30_000, 4 * n)),
            hex_strings(rng, 4 * n, 64),
        ],
        fields=list(schema.MEMBERS.value_type),
    )
    lists = pa.array(np.arange(n + 1, dtype=np.int32))
    floats = {
        name: pa.ListArray.from_arrays(lists, pa.array(rng.random(n), pa.float32()))
        for name in ("coverage", "luminance_mean", "luminance_spread", "depth_coverage", "view_depth_error")
    }
    seconds = rng.random(n) * 10
    columns = {
        "uid": uid,
        "shard": pa.array([shard] * n),
        "row": pa.array(range(n)),
        "status": pa.array(np.where(failed, "failed", "ok")),
        "error": pa.array(np.where(failed, "IMPORT_ERROR", None)),
        "message": pa.array(np.where(failed, "the importer refused the file", None)),
        "tar": pa.array([f"views/orbit8/{shard:05d}-{own[:16]}.tar"] * n),
        "members": pa.ListArray.from_arrays(pa.array(np.arange(n + 1, dtype=np.int32) * 4), struct),
        "num_views": pa.array([1] * n),
        "resolution": pa.array([256] * n),
        "depth_error": pa.array(rng.random(n) * 0.01),
        "cpu_seconds": pa.array(seconds),
        "wall_seconds": pa.array(seconds),
        "finished_at": pa.array([START + timedelta(seconds=shard * 100 + s) for s in seconds]),
        "host": pa.array([f"node-{shard % 100}"] * n),
        "input": pa.array([input] * n),
        "fragment": pa.array([own] * n),
        **floats,
    }
    head = {"format": FORMAT_VERSION, "stage": "views/orbit8", "shard": shard, "input": input, "tar": None}
    head |= {"tar_sha256": None, "settings": {}, "sha256": own}
    rows = table(columns, schema.VIEWS, n).replace_schema_metadata({"dataengine": json.dumps(head)})
    pq.write_table(rows, folder / f"views/orbit8/{shard:05d}.parquet", compression="zstd")


def measure(folder: Path) -> None:
    """Times everything in this process; prints JSON."""

    def timed(call: Callable[[], object]) -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    catalog = Catalog(folder)
    first = timed(lambda: catalog.sql("SELECT 1").fetchall())
    uid = catalog.sql("SELECT uid FROM assets WHERE shard = 3 LIMIT 1").fetchall()[0][0]
    calls: dict[str, Callable[[], object]] = {"status": lambda: status(catalog)}
    for name, query in QUERIES.items():
        calls[name] = lambda query=query: catalog.sql(query).fetchall()  # type: ignore[misc]
    calls["find one uid"] = lambda: catalog.find(uid)
    seconds = {"first look at the files": first, **{n: median(timed(c) for _ in range(3)) for n, c in calls.items()}}
    print(json.dumps({"seconds": seconds, "peak": peak_mib()}))


def peak_mib() -> float:
    # Not ru_maxrss: a child's begins at its parent's.
    (line,) = [x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def measured(folder: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--measure", str(folder)], check=True, capture_output=True, text=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return {**found["seconds"], "peak memory, MiB": found["peak"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=int, default=10_000)
    parser.add_argument("--shard-size", type=int, default=1000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where to generate")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(args.measure)
        return
    console = Console(width=120)
    folder = Path(tempfile.mkdtemp(prefix="catalog-", dir=args.folder)) / "corpus"
    small = args.assets <= 100_000
    try:
        start = time.perf_counter()
        generate(folder, args.assets, args.shard_size, fragments=not small)
        console.print(f"generated {args.assets:,} assets in {time.perf_counter() - start:.0f} s")
        columns = {"as written": measured(folder)} if small else {}
        if not small:
            start = time.perf_counter()
            done = compact(Corpus.open(folder))
            seconds = time.perf_counter() - start
            fragments = sum(p.stat().st_size for p in folder.glob("views/orbit8/*.parquet"))
            console.print(
                f"compacted {done.shards:,} shards ({fragments / 1e9:.1f} GB of fragments) into {done.files} files "
                f"({done.bytes / 1e9:.1f} GB) in {seconds:.0f} s; peak memory of that process "
                f"{peak_mib():.0f} MiB"
            )
            columns["compacted"] = measured(folder)
            # A run goes on: a hundred shards are committed after the compaction.
            for path in sorted(folder.glob("views/orbit8/*.parquet"))[:100]:
                path.write_bytes(path.read_bytes())
            columns["and 100 newer shards"] = measured(folder)
        table = Table(f"{args.assets:,} assets", *columns)
        for name in next(iter(columns.values())):
            table.add_row(name, *(f"{c[name]:,.0f}" if "MiB" in name else f"{c[name]:.3f} s" for c in columns.values()))
        console.print(table)
    finally:
        shutil.rmtree(folder.parent)


if __name__ == "__main__":
    main()
