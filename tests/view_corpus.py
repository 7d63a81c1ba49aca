"""A corpus whose views are worked out: a sphere, traced by its formula, with depth, normals and real rigs' cameras."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from dataengine.corpus.config import CorpusConfig, RenderConfig, SourceConfig, ViewSet
from dataengine.corpus.corpus import CONFIG, Corpus
from dataengine.corpus.storage import Store
from dataengine.render.blender.protocol import Camera
from dataengine.render.rigs import rig
from dataengine.render.views import ViewsHeader, cameras_json, encode_depth
from tests.synthetic import plan_row, put_plan
from tests.token_corpus import commit_views

RADIUS = 0.3
Array = npt.NDArray[Any]


def centre(n: int) -> Array:
    """Of the sphere of the n-th asset of a shard."""
    return np.array([0.1, -0.05, 0.03 * n])


def cameras(side: int) -> list[Camera]:
    """Three perspective views and an orthographic one."""
    return [*rig("hammersley-3").cameras(side), rig("six_views").cameras(side)[1]]


def make_view_corpus(
    folder: Path, *, assets: int = 12, shard_size: int = 5, side: int = 24, normals: bool = False
) -> Corpus:
    """All shards rendered; asset 3 of each has failed, and every third has no caption."""
    store = Store(folder)
    config = CorpusConfig(
        sources=(SourceConfig(spec="local:models"),),
        sets=(ViewSet(render=RenderConfig(resolution=side)),),
        shard_size=shard_size,
    )
    store.put(CONFIG, config.to_yaml().encode())
    put_plan(store, [plan_row(n, shard_size) for n in range(assets)])
    corpus = Corpus.open(folder)
    for shard in corpus.shards():
        render(corpus, shard, side, normals)
    return corpus


def render(corpus: Corpus, shard: int, side: int, normals: bool = False) -> None:
    """Commits the views of a shard."""
    rows = range(len(corpus.plan(shard)))
    commit_views(
        corpus, shard, views=4, side=side, changed={n: members(side, centre(n), normals) for n in rows if n != 3}
    )


def members(side: int, middle: Array, normals: bool) -> dict[str, bytes]:
    found = cameras(side)
    files = {"cameras.json": cameras_json(found, side, side, ViewsHeader("r", "l", "sphere", 1.0, [0, 0, 0]))}
    for v, camera in enumerate(found):
        depth, normal = trace(camera, side, middle)
        rgba = np.zeros((side, side, 4), np.uint8)
        rgba[..., :3] = (normal + 1) * 127.5
        rgba[..., 3] = np.where(np.arange(side) % 5 == 0, 100, 255)  # see-through columns
        rgba[depth == 0] = 0
        files[f"{v:02d}.rgba.png"] = png(rgba)
        files[f"{v:02d}.depth.png"] = encode_depth(depth.astype(np.float32), camera.near, camera.far)
        if normals:
            stored = np.round((normal + 1) * 32767.5).astype(np.uint16)
            stored[depth == 0] = 0
            files[f"{v:02d}.normal.png"] = png16(stored)
    return files


def trace(camera: Camera, side: int, middle: Array) -> tuple[Array, Array]:
    """(H, W) planar depth of the sphere, 0 = none, and (H, W, 3) its normals in the world."""
    K, c2w = np.array(camera.K), np.array(camera.c2w)
    v, u = np.mgrid[:side, :side] + 0.5
    x, y = (u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1]
    zero, one = np.zeros_like(x), np.ones_like(x)
    start = np.stack([x, y, zero], -1) if camera.orthographic else np.zeros((side, side, 3))
    along = np.stack([zero, zero, one] if camera.orthographic else [x, y, one], -1)  # z grows by 1 a unit of it
    origin, towards = start @ c2w[:3, :3].T + c2w[:3, 3] - middle, along @ c2w[:3, :3].T
    a, b = (towards**2).sum(-1), (origin * towards).sum(-1)
    root = b**2 - a * ((origin**2).sum(-1) - RADIUS**2)
    z = np.where(root > 0, (-b - np.sqrt(root.clip(0))) / a, 0)
    normal = (origin + z[..., None] * towards) / RADIUS
    return z, np.where(root[..., None] > 0, normal, 0)


def png(pixels: Array) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def png16(pixels: Array) -> bytes:
    """(H, W, 3) uint16 as a PNG (ISO/IEC 15948), which Pillow does not write: lines without filters."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width, _ = pixels.shape
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in pixels)
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
