"""The tokens stage: one committed views shard → one committed tokens shard.

    <uid>.tokens.npy    (views, h, w), the smallest unsigned dtype that holds the codebook
    <uid>.cameras.npy   (views, 30) float32, see views.CAMERA_COLUMNS
    <uid>.txt           the caption, where there is one

Views are read and decoded by threads while the device encodes. Finished assets wait in the spool, so that a kill costs
the assets in hand; the codes of an asset depend on its own pixels only, so the finished tar is the same, byte for byte.
"""

import resource
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import numpy as np
import torch

from dataengine.corpus.commit import commit_shard
from dataengine.corpus.config import content_hash
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.fragments import Fragment
from dataengine.corpus.result import Result
from dataengine.errors import AssetFailure, DataengineError, ErrorCode, UsageError
from dataengine.stages.spool import Spool
from dataengine.tokenize.compute import Compute
from dataengine.tokenize.images import Colour
from dataengine.tokenize.model import check_size
from dataengine.tokenize.spec import TokenizerSpec
from dataengine.tokenize.views import CAMERA_COLUMNS, AssetViews, npy, read_views

VIEWS = "views"
WHITE: Colour = (255, 255, 255)
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
READERS = 4  # threads; PNGs decode without the interpreter's lock

OnAsset = Callable[[Mapping[str, Any]], None]
Say = Callable[[str], None]


def stage_name(spec: TokenizerSpec) -> str:
    return f"tokens/{spec.name}"


def is_done(corpus: Corpus, shard: int, spec: TokenizerSpec, *, retry: bool = False) -> bool:
    """Whether the shard's tokens are committed, made from the present views with this very tokenizer.

    Args:
        spec: with its background, as `tokenize_shard` records it.
        retry: a shard in which an asset that has views failed is not done.
    """
    return _done(corpus, shard, spec, retry) is not None


def assets_in(corpus: Corpus, shard: int) -> int:
    """Assets of a rendered shard; 0 if it has no views fragment yet."""
    views = corpus.fragment(VIEWS, shard)
    return 0 if views is None else views.table.num_rows


def tokenize_shard(
    corpus: Corpus,
    shard: int,
    compute: Compute,
    *,
    background: Colour = WHITE,
    resolution: int | None = None,
    batch: int = 64,
    retry: bool = False,
    checks: bool = True,
    on_asset: OnAsset = lambda row: None,
    say: Say = lambda line: None,
) -> Fragment:
    """Encodes the views of one shard and commits their tokens; a shard that is done is left alone.

    Args:
        corpus: with the shard's views committed.
        compute: the tokenizer on its device; use one for many shards.
        background: sRGB colour that views are composited over.
        resolution: side in pixels to scale views down to before they are encoded; None: as they were rendered.
        batch: images that are read and decoded ahead of the device. It changes speed and memory, never a token.
        retry: encode again where an asset that has views has failed.
        checks: measure the round trip; it costs as much again as encoding. Without, those columns are null.
        on_asset: called with the row of each asset as it is finished (or found finished in the spool).
        say: told in one line what a person should know, such as that memory was short.

    Returns:
        The fragment. Each asset of the shard has a row; those without views carry the reason they have none.

    Raises:
        UsageError: if the shard has no views yet, or their resolution is below the one asked for, or no multiple of
            the tokenizer's factor.
        DataengineError: if the store or the spool cannot be written, or one view does not fit into memory.
    """
    spec = replace(compute.spec, background=background, resolution=resolution)
    done = _done(corpus, shard, spec, retry)
    if done is not None:
        return done
    views = corpus.fragment(VIEWS, shard)
    if views is None:
        corpus.plan(shard)  # says so if there is no such shard
        raise UsageError(
            f"shard {shard} of {corpus.url} has no views; run `dataengine render {corpus.url} --shard {shard}` first"
        )
    rows = views.table.to_pylist()
    sides = {r["resolution"] for r in rows if r["status"] == "ok"}
    for side in sides:
        if resolution is not None and resolution > side:
            raise UsageError(f"views of {side}×{side} cannot be scaled down to {resolution}×{resolution}")
        check_size(spec, resolution or side, resolution or side)
    while True:
        try:
            return _tokenize(corpus, views, rows, compute, spec, batch, checks, on_asset)
        except (RuntimeError, MemoryError) as e:
            if not isinstance(e, torch.OutOfMemoryError | MemoryError) and "allocate memory" not in str(e):
                raise  # the CPU's allocator has no error of its own
            if compute.pixels <= (resolution or max(sides)) ** 2:
                raise DataengineError(f"out of memory on {compute.device}: {str(e).splitlines()[0]}") from e
            compute = compute.halved()
            say(f"out of memory: shard {shard} starts again with {compute.pixels} pixels a call")


def _done(corpus: Corpus, shard: int, spec: TokenizerSpec, retry: bool) -> Fragment | None:
    fragment = corpus.fragment(stage_name(spec), shard)
    if fragment is None or fragment.settings.get("tokenizer") != spec.as_dict():
        return None
    views = corpus.fragment(VIEWS, shard)
    if views is None or views.sha256 != fragment.input:
        return None
    if retry:
        there = {r["uid"] for r in views.table.select(["uid", "status"]).to_pylist() if r["status"] == "ok"}
        failed = fragment.table.select(["uid", "status"]).to_pylist()
        if any(r["status"] == "failed" and r["uid"] in there for r in failed):
            return None
    return fragment


def _tokenize(
    corpus: Corpus,
    views: Fragment,
    rows: list[dict[str, Any]],
    compute: Compute,
    spec: TokenizerSpec,
    batch: int,
    checks: bool,
    on_asset: OnAsset,
) -> Fragment:
    settings: dict[str, Any] = {
        "tokenizer": spec.as_dict(),
        "compute": {"device": compute.device.type, "pixels": compute.pixels, "torch": torch.__version__},
        "cameras": list(CAMERA_COLUMNS),
    }
    spool = Spool(content_hash([views.sha256, settings, checks]))
    results: dict[str, dict[str, Any]] = {}
    todo = []
    for row in rows:
        if row["status"] != "ok":
            results[row["uid"]] = _failed(row, ErrorCode(row["error"]), f"has no views: {row['message']}")
            on_asset(results[row["uid"]])
        elif (kept := spool.get(row["uid"])) is not None:
            results[row["uid"]] = kept.row
            on_asset(kept.row)
        else:
            todo.append(row)

    def read(row: dict[str, Any]) -> AssetViews | AssetFailure:
        try:
            asset = read_views(corpus.store, row, spec.background or WHITE, spec.resolution)
            check_size(spec, *asset.rgb.shape[1:3])
            return asset
        except AssetFailure as e:
            return e
        except UsageError as e:
            return AssetFailure(ErrorCode.MALFORMED, str(e))

    good = (r for r in rows if r["status"] == "ok")
    if spec.dtype != "float32":
        settings["agreement_with_float32"] = _agreement(compute, (read(r) for r in good))
    num_views = next((r["num_views"] for r in todo), None) or 1
    clock = _Clock()
    for row, asset in _ahead(read, todo, max(2, -(-batch // num_views))):
        if isinstance(asset, AssetFailure):
            result = Result(_failed(row, asset.code, asset.message), {})
        else:
            result = _encode(row, asset, compute, checks)
            clock.stamp(result.row)
            spool.put(row["uid"], result)
        results[row["uid"]] = result.row
        on_asset(result.row)
    in_order = ((r["uid"], results[r["uid"]]) for r in rows)
    try:
        fragment = commit_shard(
            corpus.store,
            stage_name(spec),
            views.shard,
            (spool.take(uid) if row["status"] == "ok" else (row, {}) for uid, row in in_order),
            input=views.sha256,
            settings=settings,
            folder=spool.folder,
        )
    except FileNotFoundError as e:
        committed = _done(corpus, views.shard, spec, retry=False)
        if committed is None:
            raise DataengineError(f"{e} was removed while shard {views.shard} was made; run it again") from e
        return committed
    spool.clear()
    return fragment


def _ahead(
    read: Callable[[dict[str, Any]], AssetViews | AssetFailure], rows: Iterable[dict[str, Any]], depth: int
) -> Iterator[tuple[dict[str, Any], AssetViews | AssetFailure]]:
    """(row, what was read) in order, with `depth` assets read ahead by threads."""
    pool = ThreadPoolExecutor(READERS, "views")
    try:
        left = iter(rows)
        waiting: deque[tuple[dict[str, Any], Future[AssetViews | AssetFailure]]] = deque()
        for row in islice(left, depth):
            waiting.append((row, pool.submit(read, row)))
        while waiting:
            row, future = waiting.popleft()
            asset = future.result()
            del future  # or the images would live as long as the next asset takes
            yield row, asset
            for following in islice(left, 1):
                waiting.append((following, pool.submit(read, following)))
    finally:
        pool.shutdown(cancel_futures=True)


def _encode(row: Mapping[str, Any], asset: AssetViews, compute: Compute, checks: bool) -> Result:
    spec = compute.spec
    started = time.monotonic()
    on_device = compute.encode(asset.rgb)
    codes = on_device.cpu().numpy()
    encoded = time.monotonic()
    members = {"tokens.npy": npy(codes.astype(spec.token_dtype)), "cameras.npy": npy(asset.cameras)}
    if asset.caption is not None:
        members["txt"] = asset.caption
    count, height, width = codes.shape
    patches = asset.covered.reshape(count, height, spec.factor, width, spec.factor)
    found: dict[str, Any] = {
        **_head(row),
        "status": "ok",
        "num_views": count,
        "grid": [height, width],
        "distinct_codes": len(np.unique(codes)),
        "background_share": float((~patches.any((2, 4))).mean()),
        "encode_seconds": encoded - started,
    }
    if checks:
        measured = compute.check(asset.rgb, asset.covered, on_device)
        found["psnr"] = measured.psnr
        found["psnr_object"] = [None if np.isnan(v) else v for v in measured.psnr_object]
        found["ssim"] = measured.ssim
        found["check_seconds"] = time.monotonic() - encoded
    return Result(found, members)


def _failed(row: Mapping[str, Any], code: ErrorCode, message: str) -> dict[str, Any]:
    return {**_head(row), "status": "failed", "error": code.value, "message": message, "finished_at": datetime.now(UTC)}


def _head(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"uid": row["uid"], "row": row["row"], "attempts": 1, "host": socket.gethostname()}


class _Clock:
    """What each asset cost: the time since the one before it, so that all add up to what the run took."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.monotonic(), time.process_time()

    def stamp(self, row: dict[str, Any]) -> None:
        wall, cpu = time.monotonic(), time.process_time()
        row |= {
            "wall_seconds": wall - self.wall,
            "cpu_seconds": cpu - self.cpu,
            "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT,
            "finished_at": datetime.now(UTC),
        }
        self.wall, self.cpu = wall, cpu


def _agreement(compute: Compute, assets: Iterable[AssetViews | AssetFailure]) -> float | None:
    """Share of equal codes in float32 and in the chosen dtype, over the shard's first asset that can be read."""
    for asset in assets:
        if isinstance(asset, AssetViews):
            exact = compute.encode(asset.rgb, dtype="float32")
            return float((compute.encode(asset.rgb) == exact).float().mean())
    return None
