"""A corpus with tokens and without pictures: what the loader and the trainer need, in milliseconds."""

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dataengine.config import CorpusConfig, SourceConfig
from dataengine.corpus import CONFIG, PLAN, Corpus
from dataengine.manifests import schema
from dataengine.manifests.fragments import tar_name, write_fragment
from dataengine.shards import write_shard
from dataengine.storage import Store

SPEC = {
    "name": "toy",
    "factor": 16,
    "bits": 4,
    "bit_order": "lsb_first",
    "codebook_size": 16,
    "weights": "raw",
    "weights_sha256": "0" * 64,
    "dtype": "float32",
    "background": [255, 255, 255],
}

Tokens = npt.NDArray[np.unsignedinteger[Any]]


def uid_of(i: int) -> str:
    return f"{i * 2654435761 % 2**128:032x}"


def plain_tokens(i: int) -> Tokens:
    """(4, 2, 3) uint8 that tell which sample they belong to."""
    return ((np.arange(24).reshape(4, 2, 3) * 7 + i) % 16).astype(np.uint8)


def orbit_cameras(views: int) -> npt.NDArray[np.float32]:
    """(views, 4, 4) camera-to-world on an orbit at elevation 30°, as far as the azimuth needs them."""
    c2w = np.tile(np.eye(4, dtype=np.float32), (views, 1, 1))
    for v in range(views):
        a, e = 2 * math.pi * v / views, math.pi / 6
        c2w[v, :3, 3] = 1.5 * np.array([math.cos(e) * math.cos(a), math.cos(e) * math.sin(a), math.sin(e)])
    return c2w


def make_corpus(
    folder: Path,
    samples: int = 40,
    shard_size: int = 8,
    *,
    tokens: Callable[[int], Tokens] = plain_tokens,
    caption: Callable[[int], str | None] = lambda i: f"thing {i}" if i % 5 else None,
    spec: dict[str, Any] = SPEC,
    val_every: int = 10,
) -> Corpus:
    """Writes plan, views fragments (no tars) and tokens shards; every tenth sample is of split `val`."""
    store = Store(folder)
    store.put(CONFIG, CorpusConfig(sources=(SourceConfig(spec="local:none"),)).to_yaml().encode())
    plan = [
        {
            "uid": uid_of(i),
            "status": "planned",
            "shard": i // shard_size,
            "row": i % shard_size,
            "shard_input": f"input{i // shard_size}",
            "source": "local:none",
            "format": "glb",
            "licence": "cc0-1.0" if i % 2 else "cc-by-4.0",
            "caption": caption(i),
            "group_id": uid_of(i),
            "split": "val" if i % val_every == 0 else "train",
        }
        for i in range(samples)
    ]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(plan, schema=schema.PLAN), buffer)
    store.put(PLAN, buffer.getvalue())
    for shard in range(-(-samples // shard_size)):
        rows = [p for p in plan if p["shard"] == shard]
        _write_shard(store, folder, shard, rows, tokens, caption, spec, shard_size)
    return Corpus.open(folder)


def _write_shard(
    store: Store,
    folder: Path,
    shard: int,
    rows: list[dict[str, Any]],
    tokens: Callable[[int], Tokens],
    caption: Callable[[int], str | None],
    spec: dict[str, Any],
    shard_size: int,
) -> None:
    arrays = [tokens(shard * shard_size + r["row"]) for r in rows]
    views, height, width = arrays[0].shape
    base = {"shard": shard, "status": "ok", "num_views": views}
    views_fragment = write_fragment(
        store,
        "views",
        shard,
        input=f"input{shard}",
        tar=None,
        tar_sha256=None,
        settings={},
        rows=[{**base, "uid": r["uid"], "row": r["row"], "resolution": 16 * height, "members": []} for r in rows],
    )
    groups = []
    for r, array in zip(rows, arrays, strict=True):
        members = {"tokens.npy": npy(array), "cameras.npy": npy(orbit_cameras(views))}
        text = caption(shard * shard_size + r["row"])
        groups.append((r["uid"], members | ({"txt": text.encode()} if text else {})))
    path = folder / "shard.tmp"
    written = write_shard(path, groups)
    stage = f"tokens/{spec['name']}"
    tar = tar_name(stage, shard, written.sha256)
    store.put(tar, path)
    path.unlink()
    write_fragment(
        store,
        stage,
        shard,
        input=views_fragment.sha256,
        tar=tar,
        tar_sha256=written.sha256,
        settings={"tokenizer": spec},
        rows=[
            {
                **base,
                "uid": r["uid"],
                "row": r["row"],
                "tar": tar,
                "members": [m.as_row() for m in written.members[r["uid"]]],
                "grid": [height, width],
            }
            for r in rows
        ],
    )


def npy(array: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()
