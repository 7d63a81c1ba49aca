"""A corpus with tokens and without pictures: what the loader and the trainer need, in milliseconds."""

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from dataengine.corpus import schema
from dataengine.corpus.config import CorpusConfig, SourceConfig, ViewSet
from dataengine.corpus.corpus import CONFIG, PLAN, Corpus
from dataengine.corpus.fragments import spec_hash, tar_name, write_fragment
from dataengine.corpus.shards import write_shard
from dataengine.corpus.storage import Store

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


def orbit_cameras(views: int, size: int = 32, distance: float = 1.5) -> npt.NDArray[np.float32]:
    """(views, 30) as in cameras.npy: an orbit at elevation 30° that looks at the origin."""
    rows = []
    for v in range(views):
        a, e = 2 * math.pi * v / views, math.pi / 6
        towards = -np.array([math.cos(e) * math.cos(a), math.cos(e) * math.sin(a), math.sin(e)])
        right = np.array([-math.sin(a), math.cos(a), 0.0])
        c2w = np.eye(4)
        c2w[:3, :3] = np.stack([right, np.cross(towards, right), towards], 1)
        c2w[:3, 3] = -distance * towards
        k = np.array([[size, 0, size / 2], [0, size, size / 2], [0, 0, 1.0]])
        rows.append(np.concatenate([k.ravel(), c2w.ravel(), [distance - 1, distance + 1, 0, size, size]]))
    return np.array(rows, np.float32)


def make_corpus(
    folder: Path,
    samples: int = 40,
    shard_size: int = 8,
    *,
    tokens: Callable[[int], Tokens] = plain_tokens,
    caption: Callable[[int], str | None] = lambda i: f"thing {i}" if i % 5 else None,
    spec: dict[str, Any] = SPEC,
    val_every: int = 10,
    pictures: bool = False,
    other_set: bool = False,
) -> Corpus:
    """Writes plan, views fragments and tokens shards; every tenth sample is of split `val`.

    With `pictures` there are views shards as well: what `ToyCodec` makes of the tokens, on flat depth. With `other_set`
    there is another view set, `negative`, whose colours are the opposite ones.
    """
    store = Store(folder)
    sets = (ViewSet(), ViewSet(name="negative")) if other_set else (ViewSet(),)
    store.put(CONFIG, CorpusConfig(sources=(SourceConfig(spec="local:none"),), sets=sets).to_yaml().encode())
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
        arrays = [tokens(shard * shard_size + r["row"]) for r in rows]
        views = _write_views(store, folder, shard, rows, arrays, pictures)
        if other_set:
            _write_views(store, folder, shard, rows, [15 - a for a in arrays], pictures, "negative")
        _write_tokens(
            store, folder, shard, rows, arrays, [caption(shard * shard_size + r["row"]) for r in rows], spec, views
        )
    return Corpus.open(folder)


def _write_views(
    store: Store,
    folder: Path,
    shard: int,
    rows: list[dict[str, Any]],
    arrays: list[Tokens],
    pictures: bool,
    name: str = "orbit8",
) -> str:
    """The hash of the shard's views fragment."""
    tar, members = None, {}
    if pictures:
        written = write_shard(
            folder / "views.tmp", [(r["uid"], _pictures(a)) for r, a in zip(rows, arrays, strict=True)]
        )
        tar, members = tar_name(f"views/{name}", shard, written.sha256), written.members
        store.put(tar, written.path)
        written.path.unlink()
    base = {"shard": shard, "status": "ok", "num_views": len(arrays[0]), "tar": tar}
    fragment = write_fragment(
        store,
        f"views/{name}",
        shard,
        schema=schema.VIEWS,
        input=f"input{shard}{Corpus.open(folder).config.view_set(name).input}",
        tar=tar,
        tar_sha256=None,
        settings={},
        rows=[
            {**base, "uid": r["uid"], "row": r["row"], "members": [m.as_row() for m in members.get(r["uid"], [])]}
            for r in rows
        ],
    )
    return fragment.sha256


def _pictures(tokens: Tokens) -> dict[str, bytes]:
    images = ToyCodec().decode(torch.from_numpy(tokens.astype(np.int64)))
    height, width = images.shape[2:]
    rows = orbit_cameras(len(images), width)
    cameras = [
        {"K": r[:9].tolist(), "c2w": r[9:25].tolist(), "near": float(r[25]), "far": float(r[26]), "orthographic": False}
        | {"width": width, "height": height}
        for r in rows
    ]
    members = {"cameras.json": json.dumps({"views": cameras}).encode()}
    for v, image in enumerate(images):
        rgb = ((image / 2 + 0.5) * 255).round().byte().permute(1, 2, 0).numpy()
        alpha = np.full((*rgb.shape[:2], 1), 255, np.uint8)
        depth = np.full(rgb.shape[:2], 32768, np.uint16)
        for name, picture in (("rgba", np.concatenate([rgb, alpha], 2)), ("depth", depth)):
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "png")
            members[f"{v:02d}.{name}.png"] = buffer.getvalue()
    return members


def _write_tokens(
    store: Store,
    folder: Path,
    shard: int,
    rows: list[dict[str, Any]],
    arrays: list[Tokens],
    captions: list[str | None],
    spec: dict[str, Any],
    views: str,
) -> None:
    count, height, width = arrays[0].shape
    groups = []
    for r, array, text in zip(rows, arrays, captions, strict=True):
        members = {"tokens.npy": npy(array), "cameras.npy": npy(orbit_cameras(count, 16 * width))}
        groups.append((r["uid"], members | ({"txt": text.encode()} if text else {})))
    written = write_shard(folder / "tokens.tmp", groups)
    stage = f"tokens/{spec['name']}"
    tar = tar_name(stage, shard, written.sha256)
    store.put(tar, written.path)
    written.path.unlink()
    base = {"shard": shard, "status": "ok", "num_views": count, "tar": tar, "grid": [height, width]}
    write_fragment(
        store,
        stage,
        shard,
        schema=schema.TOKENS,
        made_from="views/orbit8",
        spec=spec_hash(spec),
        input=views,
        tar=tar,
        tar_sha256=written.sha256,
        settings={"tokenizer": spec},
        rows=[
            {**base, "uid": r["uid"], "row": r["row"], "members": [m.as_row() for m in written.members[r["uid"]]]}
            for r in rows
        ],
    )


class ToyCodec:
    """16 colours, a flat patch of 16×16 pixels each: a tokenizer without loss on its own pictures."""

    palette = torch.tensor([[r, g, b] for r in (-1.0, 1.0) for g in (-1.0, 1.0) for b in (-1.0, -0.3, 0.3, 1.0)])

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        means = torch.nn.functional.avg_pool2d(images, 16).permute(0, 2, 3, 1)
        return torch.cdist(means.reshape(1, -1, 3), self.palette[None])[0].argmin(1).view(means.shape[:-1])

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        colours = self.palette[codes].permute(0, 3, 1, 2)
        return colours.repeat_interleave(16, 2).repeat_interleave(16, 3)


def npy(array: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()
