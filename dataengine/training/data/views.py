"""Streaming of views shards: decoded pictures, depth and cameras of assets, as a torch dataset.

What the dataset promises, as `Stream` does for tokens (stream.py):
- The order is a function of the selection, the seed and the window; each epoch has its own. What is drawn for an asset
  (views, background) is a function of the seed and the place in the stream.
- Ranks and workers share it without duplicates or losses. With `batch_size` the batches are the same at any number of
  workers; without, each worker takes every so many-th sample.
- The state is (epoch, samples consumed). What starts from a state gives what would have followed.
- Every member is compared with its hash in the manifest before it is decoded.
- Memory: 16 bytes a member that is wanted, the text that is wanted, and two batches.
"""

import gc
import hashlib
import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from tarfile import BLOCKSIZE
from typing import IO, Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch.utils.data import IterableDataset, default_collate, get_worker_info

from dataengine.corpus.corpus import Corpus
from dataengine.corpus.storage import Store
from dataengine.errors import DataengineError, UsageError
from dataengine.machine import usable_cores
from dataengine.manifests.catalog import Catalog
from dataengine.render.views import parse_cameras
from dataengine.tokenize.images import Colour, parse_background
from dataengine.training.config import CACHE_BYTES
from dataengine.training.data.shard_cache import ShardCache
from dataengine.training.data.shuffle import Order, uniforms
from dataengine.training.data.stream import StreamState
from dataengine.training.data.view_fields import FIELDS, TEXT, AssetViews, Settings
from dataengine.training.data.view_index import ViewIndex, build_view_index, nearest

Sample = dict[str, Any]
DEFAULT_FIELDS = ("colour", "alpha", "depth", "K", "c2w", "orthographic", "caption", "uid")


class _Step(NamedTuple):
    """What a worker reads at once.

    Attributes:
        positions: the places of its samples in the stream.
        end: where the stream stands behind all ranks' samples of this step.
        resume: the position from which this worker would go on with its next step.
    """

    positions: range
    end: int
    resume: int


class Views(IterableDataset[Sample]):
    """The rendered views of a corpus's assets, as tensors: `DataLoader(Views(corpus), batch_size=8)`.

    Iterating never ends, unless `epochs` says so, and goes on where the iteration before stopped. A sample is a dict of
    the fields that were asked for, and `views`, the numbers of its V views. World, axes and units are those of
    docs/formats.md: z up, cameras as in OpenCV, the normalised object's units; pixel centres at half integers.

    | field | |
    |---|---|
    | `colour` | (V, 3, H, W) sRGB over the background |
    | `alpha` | (V, 1, H, W) |
    | `depth` | (V, 1, H, W) planar z, 0 = none |
    | `mask` | (V, 1, H, W) bool: where there is depth |
    | `points` | (V, 3, H, W) where each pixel's surface is in the world; 0 where there is none |
    | `normal`, `normal_camera` | (V, 3, H, W) unit vectors in the world, in the camera; 0 where there is none |
    | `albedo` | (V, 3, H, W) base colour, sRGB; 0 where there is none |
    | `orm` | (V, 3, H, W) 1, roughness and metallic, linear; 0 where there is none |
    | `id` | (V, 1, H, W) int32: which object; 0 = none |
    | `origins`, `directions` | (V, 3, H, W) the rays through the pixels' centres, in the world; unit directions |
    | `pluecker` | (V, 6, H, W) the same rays as direction and moment |
    | `K`, `c2w`, `w2c` | (V, 3, 3) for H × W pixels, (V, 4, 4), (V, 4, 4) |
    | `near`, `far`, `azimuth`, `elevation` | (V,) as in cameras.json |
    | `orthographic` | (V,) bool |
    | `uid`, `caption`, `licence` | str, empty where there is none |

    Args:
        corpus: with views.
        view_set: whose views; None: the corpus's only set.
        fields: of a sample.
        views: how many are drawn for each sample, or which, in this order; None: all.
        resolution: pixels a side to scale down to, K with them: colour and alpha are means over each new pixel's area,
            all else is that of the pixel that holds its centre. None: as rendered.
        background: what colour is composited over: white, grey, black, R,G,B (0 to 255), or `random`: a colour drawn
            for each sample. None: straight colour, 0 where alpha is.
        dtype: of colour, alpha, albedo and orm: torch.float32 in [0, 1] or torch.uint8.
        split: train, val or test; None: all.
        where: SQL over `assets`; only those for which it is true.
        seed: of the order and of what is drawn.
        window: shards that are mixed with each other; None: all. See `Order`.
        batch_size: samples of a global batch, over all ranks. Items are then batches with a `state`, for
            `DataLoader(…, batch_size=None)`; the last one before an end is short. None: items are single samples.
        epochs: after how many an iteration ends; None: never.
        rank: which part of the stream; None: that of torch.distributed's process group, if there is one.
        ranks: of how many parts; None: likewise.
        threads: that decode; None: the machine's cores, or one in a DataLoader's worker.
        cache: where shards are copied to that are not on a local disk.
        cache_bytes: how much that may hold.

    Raises:
        UsageError: for an unknown view set, field, view or column, an empty selection, a corpus without views, views
            of several sizes, or a batch that cannot be divided among the ranks.
        DataengineError: while reading: if a shard has vanished, or a member is not what was written, by its name.
    """

    def __init__(
        self,
        corpus: Corpus | str | Path,
        *,
        view_set: str | None = None,
        fields: Sequence[str] = DEFAULT_FIELDS,
        views: int | Sequence[int] | None = None,
        resolution: int | None = None,
        background: str | None = "white",
        dtype: torch.dtype = torch.float32,
        split: str | None = "train",
        where: str | None = None,
        seed: int = 0,
        window: int | None = None,
        batch_size: int | None = None,
        epochs: int | None = None,
        rank: int | None = None,
        ranks: int | None = None,
        threads: int | None = None,
        cache: Path | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        for name in fields:
            if name not in FIELDS and name not in TEXT:
                raise UsageError(f"there is no field {name!r}{nearest(name, (*FIELDS, *TEXT))}")
        if dtype not in (torch.float32, torch.uint8):
            raise UsageError(f"colours cannot be of {dtype}: choose torch.float32 or torch.uint8")
        if not isinstance(views, int | None) and not len(views):
            raise UsageError("views=[] asks for none: leave it out for all")
        self._fields = [name for name in fields if name in FIELDS]
        self._text = [name for name in fields if name in TEXT]
        self._background = parse_background(background) if background not in (None, "random") else background
        self._index = build_view_index(
            Catalog(corpus),
            sorted({suffix for name in self._fields for suffix in FIELDS[name].needs}),
            view_set=view_set,
            views=None if views is None or isinstance(views, int) else list(views),
            text=list(dict.fromkeys(["uid", *self._text])),
            split=split,
            where=where,
        )
        gc.collect()  # the catalog is in a circle: freed in a forked worker, DuckDB would end that with a fault
        self._views = _checked_views(views, self._index)
        rendered, side = self._index.resolution, resolution or self._index.resolution
        if not 0 < side <= rendered:
            raise UsageError(f"views of {rendered}×{rendered} cannot be scaled down to {side}×{side}")
        self._settings = Settings(rendered, side, dtype)
        self._order, self._seed = Order(self._index.counts, seed, window), seed
        grouped = dist.is_available() and dist.is_initialized()
        self._rank = rank if rank is not None else dist.get_rank() if grouped else 0
        self._ranks = ranks if ranks is not None else dist.get_world_size() if grouped else 1
        if batch_size is not None and batch_size % self._ranks:
            raise UsageError(f"a batch of {batch_size} cannot be divided among {self._ranks} ranks: choose a multiple")
        self._batch_size, self._epochs, self._threads = batch_size, epochs, threads
        self._cache, self._cache_bytes = cache, cache_bytes
        self._position = 0

    @property
    def num_samples(self) -> int:
        """Samples of an epoch, over all ranks."""
        return len(self._index)

    def state_dict(self) -> dict[str, int]:
        """Where the stream stands: whole epochs, samples of this one (all ranks together), and the epoch's samples.

        It counts what this process has iterated over. Worker processes have counts of their own: with them, give
        `batch_size`, and take the state from a batch.
        """
        return self._state(self._position)

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes on from a state: the next iteration gives what would have followed.

        Raises:
            UsageError: if it is in the middle of an epoch of another selection.
        """
        if state["samples"] and state["of"] != len(self._index):
            raise UsageError(
                f"the state is of an epoch of {state['of']} samples, here one has {len(self._index)}: "
                "choose the same split and where, or begin with another epoch"
            )
        self._position = state["epoch"] * len(self._index) + state["samples"]

    def __iter__(self) -> Iterator[Sample]:
        worker = get_worker_info()
        if worker is not None:
            gc.freeze()  # nor may anybody else's
        threads = self._threads or (usable_cores() if worker is None else 1)
        # A store of its own: what fsspec connects with does not outlive the fork of a worker process.
        shards = ShardCache(Store(self._index.store.url), self._cache, self._cache_bytes)
        steps = self._steps(*(0, 1) if worker is None else (worker.id, worker.num_workers))
        ahead: deque[tuple[_Step, list[Future[Sample]]]] = deque()
        pool = ThreadPoolExecutor(threads, "views")
        try:
            while True:
                while sum(len(samples) for _, samples in [*ahead][1:]) < 2 * threads and (step := next(steps, None)):
                    ahead.append((step, [pool.submit(self._read, shards, p) for p in step.positions]))
                if not ahead:
                    return
                step, samples = ahead.popleft()
                item = self._item(step, [sample.result() for sample in samples])
                self._position = step.resume
                yield item
        finally:
            pool.shutdown(cancel_futures=True)

    def _steps(self, worker: int, workers: int) -> Iterator["_Step"]:
        """What a worker reads: every so many-th global batch, or as many samples as there are ranks."""
        begin, epoch = self._position, len(self._index)
        size = self._batch_size or self._ranks
        end = sys.maxsize if self._epochs is None else (begin // epoch + self._epochs) * epoch
        share = size // self._ranks
        for first in range(begin + worker * size, end, workers * size):
            own = range(first, min(first + size, end))[self._rank * share : (self._rank + 1) * share]
            if own:
                yield _Step(own, min(first + size, end), min(first + (workers - worker) * size, end))

    def _item(self, step: "_Step", samples: list[Sample]) -> Sample:
        if self._batch_size is None:
            return samples[0]
        batch: Sample = default_collate(samples)
        return {**batch, "state": self._state(step.end)}

    def _state(self, position: int) -> dict[str, int]:
        state = StreamState(*divmod(position, len(self._index)))
        return {**state._asdict(), "of": len(self._index)}

    def _read(self, shards: ShardCache, position: int) -> Sample:
        """The sample at a place in the stream."""
        index, row = self._index, int(self._order.rows(position, position + 1)[0])
        views, background = self._draw(position)
        suffixes, names = index.suffixes, index.names
        columns = {s: [1 + index.views.index(v) * len(suffixes) + k for v in views] for k, s in enumerate(suffixes)}
        tar = index.tars[index.shard[row]]
        with shards.open(tar) as f:
            cameras = self._member(f, row, 0)
            members = {s: [(names[j], self._member(f, row, j)) for j in chosen] for s, chosen in columns.items()}
        try:
            found = parse_cameras(cameras)
            asset = AssetViews([found[v] for v in views], members, self._settings, background)
            made = {name: FIELDS[name].make(asset) for name in self._fields}
        except DataengineError as e:
            raise DataengineError(f"{index.store.url_of(tar)}: {index.text['uid'][row]}: {e}") from e
        text = {name: index.text[name][row].as_py() or "" for name in self._text}
        return {**made, **text, "views": torch.tensor(views)}

    def _member(self, shard: IO[bytes], row: int, column: int) -> bytes:
        """A member's bytes, as they were written."""
        index = self._index
        offset = int(index.block[row, column]) * BLOCKSIZE
        content = os.pread(shard.fileno(), int(index.size[row, column]), offset)
        if int.from_bytes(hashlib.sha256(content).digest()[:8], "big") != index.digest[row, column]:
            tar, name = index.tars[index.shard[row]], f"{index.text['uid'][row]}.{index.names[column]}"
            raise DataengineError(
                f"{index.store.url_of(tar)}: {name} at byte {offset} has changed; "
                "run `dataengine verify` and render that shard again"
            )
        return content

    def _draw(self, position: int) -> tuple[Sequence[int], Colour | None]:
        """The views of a sample, and what is behind them."""
        count, views, background = self._index.num_views, self._views, self._background
        if not isinstance(views, int) and not isinstance(background, str):
            return views, background
        drawn = uniforms(self._seed, position, 1, count + 3)[0]
        chosen = np.argsort(drawn[:count])[:views].tolist() if isinstance(views, int) else views
        if isinstance(background, str):
            red, green, blue = (drawn[count:] * 256).astype(int).tolist()
            return chosen, (red, green, blue)
        return chosen, background


def _checked_views(views: int | Sequence[int] | None, index: ViewIndex) -> int | Sequence[int]:
    """How many views are drawn, or which are read."""
    if isinstance(views, int) and not 1 <= views <= index.num_views:
        raise UsageError(f"{views} views cannot be drawn: {index.view_set} has {index.num_views}")
    return index.views if views is None else views
