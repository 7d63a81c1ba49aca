"""Corpora without a renderer: real tars and fragments, invented pixels."""

import hashlib
import io
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataengine.corpus import schema
from dataengine.corpus.config import CorpusConfig, RenderConfig, SourceConfig, ViewSet, content_hash
from dataengine.corpus.corpus import CONFIG, PLAN, Corpus
from dataengine.corpus.fragments import Fragment, tar_name, write_fragment
from dataengine.corpus.shards import write_shard

START = datetime(2026, 1, 1, tzinfo=UTC)
LICENCES = ("cc0-1.0", "cc-by-4.0", "cc-by-nc-4.0", None)


def uid_of(n: int) -> str:
    return hashlib.sha256(str(n).encode()).hexdigest()[:32]


def plan_row(n: int, shard_size: int, **columns: Any) -> dict[str, Any]:
    """Row n of a plan; every third asset has no caption."""
    return {
        "uid": uid_of(n),
        "status": "planned",
        "shard": n // shard_size,
        "row": n % shard_size,
        "source": "local:models",
        "uri": f"models/{n}.glb",
        "format": "glb" if n % 4 else "obj",
        "bytes": 1000 + n,
        "face_count": (n * 7919) % 5000,
        "licence": LICENCES[n % len(LICENCES)],
        "tags": ["chair"] if n % 2 else ["table", "wood"],
        "caption": None if n % 3 == 0 else f"asset number {n}",
        "group_id": uid_of(n),
        "split": "val" if n % 10 == 0 else "train",
        **columns,
    }


def make_corpus(
    url: str | Path,
    assets: int = 10,
    *,
    shard_size: int = 4,
    views: Sequence[int] | None = None,
    tokens: Sequence[int] = (),
    failing: Callable[[int], bool] = lambda n: n % 5 == 3,
    num_views: int = 2,
    duplicates: int = 0,
    sets: Sequence[str] = ("orbit8",),
    tmp: Path | None = None,
) -> Corpus:
    """A planned corpus with committed shards.

    Args:
        url: where; a folder or an fsspec URL.
        assets: how many are planned.
        shard_size: assets per shard.
        views: shards with a views fragment; None: all.
        tokens: shards with a tokens fragment too, of tokenizer `small`.
        failing: which assets (by their number in the plan) have failed.
        num_views: a rendered asset's.
        duplicates: rows of the plan that are duplicates of the first assets.
        sets: names of the view sets; `views` and `tokens` are of the first.
        tmp: where tars are made before they are put; needed where url is not a folder.
    """
    from dataengine.corpus.storage import Store

    store = Store(url)
    config = CorpusConfig(
        sources=(SourceConfig(spec="local:models"),),
        sets=tuple(ViewSet(name=name, render=RenderConfig(rig=name)) for name in sets),
        shard_size=shard_size,
    )
    store.put(CONFIG, config.to_yaml().encode())
    rows = [plan_row(n, shard_size) for n in range(assets)]
    put_plan(
        store,
        rows
        + [
            {**rows[n], "status": "duplicate", "reason": f"same bytes as models/{n}.glb", "shard": None, "row": None}
            for n in range(duplicates)
        ],
    )
    corpus = Corpus.open(url)
    for shard in corpus.shards() if views is None else views:
        commit_views(corpus, shard, failing=failing, num_views=num_views, tmp=tmp)
    for shard in tokens:
        commit_tokens(corpus, shard, tmp=tmp)
    return corpus


def put_plan(store: Any, rows: list[dict[str, Any]]) -> None:
    """Writes the plan; fills in each row's shard_input."""
    shards: dict[int | None, list[str]] = {}
    for row in rows:
        shards.setdefault(row["shard"], []).append(f"{row['uid']} {row['uri']}")
    for row in rows:
        row["shard_input"] = None if row["shard"] is None else content_hash(shards[row["shard"]])
    buffer = io.BytesIO()
    planned_with = {"corpus.yaml": store.read(CONFIG)} if store.exists(CONFIG) else None
    table = pa.Table.from_pylist(rows, schema=schema.PLAN)
    pq.write_table(table.replace_schema_metadata(planned_with), buffer)
    store.put(PLAN, buffer.getvalue())


def commit_views(
    corpus: Corpus,
    shard: int,
    *,
    failing: Callable[[int], bool] = lambda n: n % 5 == 3,
    num_views: int = 2,
    salt: str = "",
    view_set: str = "orbit8",
    tmp: Path | None = None,
) -> Fragment:
    """Commits a views shard; another `salt` makes other pixels, as a retry would."""
    plan = corpus.plan(shard).to_pylist()
    number = {row["uid"]: shard * corpus.config.shard_size + row["row"] for row in plan}
    good = [row for row in plan if not failing(number[row["uid"]])]

    def files(row: dict[str, Any]) -> dict[str, bytes]:
        found = {"cameras.json": b"[]", "txt": (row["caption"] or "").encode()}
        for v in range(num_views):
            found[f"{v:02d}.rgba.png"] = f"{row['uid']} {v} rgba {salt}".encode() * 20
            found[f"{v:02d}.depth.png"] = f"{row['uid']} {v} depth {salt}".encode() * 20
        return found

    tar, sha256, members = _put_tar(corpus, f"views/{view_set}", shard, [(r["uid"], files(r)) for r in good], tmp)
    rows = []
    for row in plan:
        n = number[row["uid"]]
        common = {
            "uid": row["uid"],
            "shard": shard,
            "row": row["row"],
            "attempts": 1,
            "cpu_seconds": 1.0 + n % 7,
            "wall_seconds": 2.0,
            "finished_at": START + timedelta(seconds=2 * n + 2),
            "host": "testing",
        }
        if failing(n):
            error = "CRASH" if n % 2 else "EMPTY_SCENE"
            rows.append({**common, "status": "failed", "error": error, "message": f"asset {n} is bad", "log": "words"})
            continue
        rows.append(
            {
                **common,
                "status": "ok",
                "tar": tar,
                "members": members[row["uid"]],
                "num_views": num_views,
                "resolution": 64,
                "up": "Z",
                "scale": 1.0,
                "offset": [0.0, 0.0, 0.0],
                "azimuth": [360.0 * v / num_views for v in range(num_views)],
                "elevation": [30.0] * num_views,
                "coverage": [0.25] * num_views,
                "clipped": [0] * (num_views - 1) + [3 if n == 1 else 0],
                "luminance_mean": [0.5] * num_views,
                "luminance_spread": [0.1] * num_views,
                "depth_coverage": [1.0] * num_views,
                "view_depth_error": [0.001] * num_views,
                "depth_error": 0.001,
                "depth_error_footprint": 0.2,
                "missing_textures": [],
            }
        )
    return write_fragment(
        corpus.store,
        f"views/{view_set}",
        shard,
        schema=schema.VIEWS,
        input=plan[0]["shard_input"] + corpus.config.view_set(view_set).input,
        tar=tar,
        tar_sha256=sha256,
        settings={},
        rows=rows,
    )


def commit_tokens(
    corpus: Corpus, shard: int, *, tokenizer: str = "small", view_set: str = "orbit8", tmp: Path | None = None
) -> Fragment:
    """Commits the tokens shard of a committed views shard."""
    views = corpus.fragment(f"views/{view_set}", shard)
    assert views is not None
    captions = {row["uid"]: row["caption"] for row in corpus.plan(shard).to_pylist()}
    good = [row for row in views.table.to_pylist() if row["status"] == "ok"]

    def files(uid: str) -> dict[str, bytes]:
        found = {"tokens.npy": f"tokens of {uid}".encode(), "cameras.npy": b"cameras"}
        return found | ({"txt": captions[uid].encode()} if captions[uid] else {})

    stage = f"tokens/{tokenizer}"
    tar, sha256, members = _put_tar(corpus, stage, shard, [(r["uid"], files(r["uid"])) for r in good], tmp)
    rows = [
        {
            "uid": row["uid"],
            "shard": shard,
            "row": row["row"],
            "status": "ok",
            "tar": tar,
            "members": members[row["uid"]],
            "num_views": row["num_views"],
            "grid": [8, 8],
            "psnr": [27.5] * row["num_views"],
            "ssim": [0.9] * row["num_views"],
            "psnr_object": [25.0] * row["num_views"],
            "distinct_codes": 30,
            "background_share": 0.5,
            "finished_at": START,
        }
        for row in good
    ] + [
        {
            **{k: row[k] for k in ("uid", "shard", "row", "status", "error")},
            "message": "has no views",
            # the first fragments do not say it, and were made when there was one set
            "failed_in": None if len(corpus.config.sets) == 1 else views.stage,
        }
        for row in views.table.to_pylist()
        if row["status"] == "failed"
    ]
    rows.sort(key=lambda row: row["row"])
    return write_fragment(
        corpus.store,
        stage,
        shard,
        schema=schema.TOKENS,
        made_from=f"views/{view_set}",
        input=views.sha256,
        tar=tar,
        tar_sha256=sha256,
        settings={},
        rows=rows,
    )


def _put_tar(
    corpus: Corpus, stage: str, shard: int, groups: list[tuple[str, dict[str, bytes]]], tmp: Path | None
) -> tuple[str | None, str | None, dict[str, Any]]:
    if not groups:
        return None, None, {}
    folder = tmp or Path(corpus.url)
    path = folder / f".{shard}.tar.tmp"
    written = write_shard(path, groups)
    name = tar_name(stage, shard, written.sha256)
    corpus.store.put(name, path)
    path.unlink()
    return name, written.sha256, {uid: [m.as_row() for m in ms] for uid, ms in written.members.items()}
