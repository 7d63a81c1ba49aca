"""A corpus whose views are pictures: discs on transparency, with real cameras."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dataengine.corpus import schema
from dataengine.corpus.config import CorpusConfig, RenderConfig, SourceConfig, ViewSet
from dataengine.corpus.corpus import CONFIG, Corpus
from dataengine.corpus.fragments import Fragment, tar_name, write_fragment
from dataengine.corpus.shards import write_shard
from dataengine.corpus.storage import Store
from dataengine.stages.run import run_shards
from dataengine.stages.tokenize import TokenStage
from dataengine.tokenize.device_tokenizer import DeviceTokenizer
from tests.synthetic import plan_row, put_plan


def make_corpus(folder: Path, *, assets: int = 5, shard_size: int = 5, views: int = 3, side: int = 32) -> Corpus:
    """All shards rendered; asset 3 of each shard has failed. Every third asset has no caption."""
    store = Store(folder)
    sources, render = (SourceConfig(spec="local:models"),), RenderConfig(resolution=side)
    store.put(
        CONFIG,
        CorpusConfig(sources=sources, sets=(ViewSet(render=render),), shard_size=shard_size).to_yaml().encode(),
    )
    put_plan(store, [plan_row(n, shard_size) for n in range(assets)])
    corpus = Corpus.open(folder)
    for shard in corpus.shards():
        commit_views(corpus, shard, views=views, side=side)
    return corpus


def commit_views(
    corpus: Corpus,
    shard: int,
    *,
    views: int = 3,
    side: int = 32,
    seed: int = 0,
    view_set: str = "orbit8",
    changed: Mapping[int, Mapping[str, bytes | None]] = {},
) -> Fragment:
    """Commits a views shard.

    Args:
        seed: of the pictures.
        changed: by row: members to replace, or to leave out where None.
    """
    rows: list[dict[str, Any]] = []
    groups: list[tuple[str, dict[str, bytes]]] = []
    plan = corpus.plan(shard).to_pylist()
    for n, row in enumerate(plan):
        head = {"uid": row["uid"], "shard": shard, "row": n}
        if n == 3:
            rows.append({**head, "status": "failed", "error": "EMPTY_SCENE", "message": "nothing visible"})
            continue
        files: dict[str, bytes | None] = {"cameras.json": cameras(views, side)}
        if row["caption"] is not None:
            files["txt"] = row["caption"].encode()
        for v in range(views):
            files[f"{v:02d}.rgba.png"] = png(disc(side, seed + 100 * n + v))
            files[f"{v:02d}.depth.png"] = b"depth is not read"
        files |= changed.get(n, {})
        groups.append((row["uid"], {k: f for k, f in files.items() if f is not None}))
        rows.append({**head, "status": "ok", "num_views": views, "resolution": side})
    path = Path(corpus.url) / f".{shard}.tmp"
    tar = write_shard(path, groups)
    name = tar_name(f"views/{view_set}", shard, tar.sha256)
    corpus.store.put(name, path)
    path.unlink()
    for row in rows:
        row["tar"] = name
        row["members"] = [m.as_row() for m in tar.members.get(row["uid"], [])]
    return write_fragment(
        corpus.store,
        f"views/{view_set}",
        shard,
        schema=schema.VIEWS,
        input=plan[0]["shard_input"] + corpus.config.view_set(view_set).input,
        tar=name,
        tar_sha256=tar.sha256,
        settings={},
        rows=rows,
    )


def disc(side: int, seed: int) -> Any:
    """(side, side, 4) uint8: a shaded disc, straight alpha, soft edge."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    cx, cy, radius = random.uniform(0.3, 0.7), random.uniform(0.3, 0.7), random.uniform(0.1, 0.3)
    alpha = np.clip((radius - np.hypot(x - cx, y - cy)) * side + 0.5, 0, 1)
    shade = (0.3 + 0.7 * x)[..., None] * random.uniform(0.2, 1, 3)
    return (np.concatenate([shade * (alpha > 0)[..., None], alpha[..., None]], -1) * 255).astype(np.uint8)


def png(pixels: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def cameras(views: int, side: int) -> bytes:
    """As the views stage writes it."""
    found = [
        {
            "K": [[40.0 + v, 0.0, side / 2], [0.0, 40.0 + v, side / 2], [0.0, 0.0, 1.0]],
            "c2w": (np.eye(4) + v).tolist(),
            "near": 0.5,
            "far": 2.5,
            "orthographic": v == 1,
            "width": side,
            "height": side,
        }
        for v in range(views)
    ]
    return json.dumps({"format": "dataengine.cameras/1", "views": found}).encode()


def tokenize_shard(
    corpus: Corpus,
    shard: int,
    compute: DeviceTokenizer,
    *,
    retry: bool = False,
    on_asset: Any = lambda row: None,
    say: Any = lambda line: None,
    **settings: Any,
) -> Fragment:
    """Runs the tokens stage on one shard; its fragment."""
    stage = TokenStage.on(compute, **settings)
    run_shards(corpus, stage, [shard], retry=retry, on_asset=on_asset, say=say)
    fragment = corpus.fragment(stage.name, shard)
    assert fragment is not None
    return fragment
