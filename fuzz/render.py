"""From damaged models to committed shards, by the command itself: no row is lost, and good assets keep their bytes."""

import hashlib
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import trimesh

from fuzz.mutations import mutate
from tests import asset_files as files

BATCH = 60
SENTINELS = 4
SUFFIXES = {
    "glb": files.glb(3),
    "obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\n",
    "stl": files.stl(4),
    "ply": files.ply(),
    "fbx": files.fbx(),
    "dae": files.dae(),
    "usda": files.USDA.format(reference="other.usda").encode(),
}
PLAN = ["--rig", "hammersley-2", "--resolution", "16", "--samples", "1", "--shard-size", "64"]


def render_batches(seconds: float, seed: int) -> tuple[int, int]:
    """Batches until the time is up; returns (files, finds)."""
    deadline = time.monotonic() + seconds
    tried = finds = 0
    counts: Counter[str] = Counter()
    dice = random.Random(f"render {seed}")
    wanted: dict[str, str] | None = None
    while tried == 0 or time.monotonic() < deadline:
        with tempfile.TemporaryDirectory(prefix="dataengine-fuzz-") as folder:
            faults, sentinels = batch(Path(folder), dice, counts)
            wanted = wanted or sentinels
            if sentinels != wanted:
                faults.append("the good assets' bytes are not those of the first batch")
        for fault in faults:
            print(f"find: render, seed {seed}, batch {tried // BATCH}: {fault}", file=sys.stderr)
        finds += len(faults)
        tried += BATCH
    ends = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    print(f"{'render':<12} {tried:>7} {'':>8} {'':>7} {finds:>6}\n  rows: {ends}", flush=True)
    return tried, finds


def batch(folder: Path, dice: random.Random, counts: Counter[str]) -> tuple[list[str], dict[str, str]]:
    """Plans, renders and verifies one folder; returns what went wrong, and the good assets' members' hashes."""
    models, corpus = folder / "models", folder / "corpus"
    models.mkdir()
    for n in range(SENTINELS):
        trimesh.creation.box(extents=(1, 1, 1 + n / 4)).export(models / f"good{n}.glb")
    for n in range(BATCH):
        suffix = dice.choice(list(SUFFIXES))
        (models / f"bad{n:03d}.{suffix}").write_bytes(mutate(SUFFIXES[suffix], dice))
    faults = []
    for words in (
        ["plan", str(corpus), "--source", f"local:{models}", *PLAN],
        ["render", str(corpus), "--shard", "all"],
        ["verify", str(corpus)],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "dataengine", *words], capture_output=True, text=True, timeout=900, check=False
        )
        if done.returncode or "Traceback" in done.stderr:
            faults.append(f"{words[0]} ended with {done.returncode}: {done.stderr[-500:]}")
            return faults, {}
    planned = pq.read_table(corpus / "plan" / "assets.parquet").to_pylist()
    rows = {r["uid"]: r for f in (corpus / "views").rglob("*.parquet") for r in pq.read_table(f).to_pylist()}
    due = {r["uid"] for r in planned if r["status"] == "planned"}
    if lost := due - rows.keys():
        faults.append(f"{len(lost)} rows are lost")
    if len(planned) != BATCH + SENTINELS:
        faults.append(f"{len(planned)} rows were planned of {BATCH + SENTINELS} files")
    counts.update(str(r["error"] or r["status"]) for r in rows.values())
    counts.update("duplicate" for r in planned if r["status"] == "duplicate")
    names = {r["uid"]: str(r["uri"]).rsplit("/", 1)[-1] for r in planned}
    good = {uid: name for uid, name in names.items() if name.startswith("good")}
    hashes = {
        path: hashlib.sha256("".join(m["sha256"] for m in rows[uid]["members"] or []).encode()).hexdigest()
        for uid, path in good.items()
        if uid in rows
    }
    failed = [
        f"{name}: {rows[uid]['message']}" if uid in rows else name
        for uid, name in good.items()
        if uid not in rows or rows[uid]["status"] != "ok"
    ]
    if failed or len(good) != SENTINELS:
        faults.append(f"good assets have failed or are missing: {failed}")
    return faults, hashes
