"""Streaming of tokens shards: global shuffle, exact resume, any number of ranks, no conversion and no worker processes.

What the stream promises:
- The sequence of global batches depends on the index, the seed, the batch size and the window; on nothing else. Rank r
  of R gets the r-th R-th of every global batch.
- The state is (epoch, samples consumed). A stream that starts from a state gives the batches that would have followed.
- Epochs follow each other without a seam: every batch is full, every sample is seen once an epoch.
- One thread prepares the next batches in buffers that are used again and again. A batch is yours until you ask for the
  second one after it; copy what you keep.
"""

import os
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from dataengine.errors import UsageError
from dataengine.training.files import CACHE_BYTES, ShardFiles
from dataengine.training.index import Index, Int64, Layout
from dataengine.training.order import Order, uniforms

_AHEAD = 2


class State(NamedTuple):
    """Where a stream stands: how many epochs are behind it, and how many samples of this one (all ranks together)."""

    epoch: int
    samples: int


BEGIN = State(0, 0)


@dataclass
class Batch:
    """One rank's part of a global batch.

    Attributes:
        tokens: (B, views, rows, columns) int64.
        cameras: (B, views, numbers) float32, as the tokens stage wrote them.
        uniforms: (B, width) float32 in [0, 1): the randomness of these samples, the same at any number of ranks.
            Column 0 is stratified: over a global batch its values are evenly spaced, from a random start.
        captions: one a sample; empty where there is none.
        rows: (B,) the samples' rows in the index.
        state: of the stream after this batch.
    """

    tokens: torch.Tensor
    cameras: torch.Tensor
    uniforms: torch.Tensor
    captions: list[str]
    rows: Int64
    state: State

    def clone(self) -> "Batch":
        """A copy that outlives the stream's buffers."""
        arrays = (self.tokens.clone(), self.cameras.clone(), self.uniforms.clone())
        return Batch(*arrays, list(self.captions), self.rows.copy(), self.state)


class Reader:
    """Reads samples by their row in the index.

    Args:
        index: what there is.
        captions: whether captions are read; those of a batch cost as much again as its tokens.
        cache, cache_bytes: for shards that are not on a local disk, see `ShardFiles`.
    """

    def __init__(
        self, index: Index, *, captions: bool = True, cache: Path | None = None, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self._index = index
        self._files = ShardFiles(index.store, index.tars, cache, cache_bytes)
        arrays = ((index.tokens_at, index.tokens_layout), (index.cameras_at, index.cameras_layout))
        self._arrays_end = max(at + layout.nbytes for at, layout in arrays)
        self._captions = captions and index.caption_at >= self._arrays_end
        self._raw = np.empty((0, 0), np.uint8)
        self._slots: list[memoryview] = []

    def read(self, rows: Int64, tokens: torch.Tensor, cameras: torch.Tensor) -> list[str]:
        """Fills tokens (B, views, rows, columns) and cameras (B, views, numbers); returns the captions.

        Raises:
            DataengineError: if a shard has vanished or changed, naming it and its hash.
        """
        index = self._index
        shards = index.shard[rows].tolist()
        sizes = index.caption_size[rows].tolist() if self._captions else [0] * len(rows)
        files = self._files.descriptors(shards)
        end, at = self._arrays_end, index.caption_at
        self._reserve(len(rows), at + max(sizes) if any(sizes) else end)
        captions = []
        for shard, offset, size, slot in zip(shards, index.offset[rows].tolist(), sizes, self._slots, strict=False):
            wanted = at + size if size else end
            if os.preadv(files[shard], [slot[:wanted]], offset) != wanted:
                raise self._files.changed(shard)
            captions.append(str(slot[at:wanted], "utf-8", "replace") if size else "")
        self._unpack(shards, index.tokens_at, index.tokens_layout, tokens)
        self._unpack(shards, index.cameras_at, index.cameras_layout, cameras)
        return captions

    def batch(self, rows: Int64) -> Batch:
        """Samples in fresh tensors, for whoever wants some rather than a stream."""
        tokens, cameras = _buffers(self._index, len(rows), pin=False)
        captions = self.read(rows, tokens, cameras)
        return Batch(tokens, cameras, torch.empty(len(rows), 0), captions, rows, State(0, 0))

    def close(self) -> None:
        self._files.close()

    def _reserve(self, count: int, size: int) -> None:
        """Room for the bytes of `count` samples; kept, and larger when need be."""
        if self._raw.shape[0] < count or self._raw.shape[1] < size:
            shape = max(count, self._raw.shape[0]), -(-max(size, self._raw.shape[1]) // 64) * 64
            self._raw = np.empty(shape, np.uint8)
            self._slots = [memoryview(row) for row in self._raw]

    def _unpack(self, shards: list[int], at: int, layout: Layout, out: torch.Tensor) -> None:
        head = len(layout.header)
        raw = self._raw[: len(shards), at : at + layout.nbytes]
        # In words of eight bytes: members begin at multiples of 512, headers are multiples of 64 bytes long.
        strange = raw[:, :head].view(np.uint64) != np.frombuffer(layout.header, np.uint64)
        if strange.any():
            raise self._files.changed(shards[int(np.flatnonzero(strange.any(axis=1))[0])])
        np.copyto(out.numpy().reshape(len(shards), -1), raw[:, head:].view(layout.dtype))


class Stream:
    """An endless iterator over batches.

    Args:
        index: the samples.
        batch_size: samples of a global batch, over all ranks.
        seed: of the order and of `Batch.uniforms`.
        state: where to begin.
        rank, ranks: which part of each global batch to read.
        width: random numbers a sample.
        window: shards that are mixed with each other, see `Order`.
        pin: page-locked buffers, from which a GPU copies while it computes.
        captions, cache, cache_bytes: see `Reader`.
        worker, workers: gives every `workers`-th global batch, from the `worker`-th on.

    Raises:
        UsageError: if the batch cannot be divided among the ranks.
    """

    def __init__(
        self,
        index: Index,
        *,
        batch_size: int,
        seed: int = 0,
        state: State = BEGIN,
        rank: int = 0,
        ranks: int = 1,
        width: int = 0,
        window: int | None = None,
        pin: bool = False,
        captions: bool = True,
        cache: Path | None = None,
        cache_bytes: int = CACHE_BYTES,
        worker: int = 0,
        workers: int = 1,
    ) -> None:
        if batch_size % ranks:
            raise UsageError(f"a batch of {batch_size} cannot be divided among {ranks} ranks: choose a multiple")
        self._index, self._seed, self._width = index, seed, width
        self._order = Order(index.counts, seed, window)
        self._reader = Reader(index, captions=captions, cache=cache, cache_bytes=cache_bytes)
        self._global, self._local, self._rank = batch_size, batch_size // ranks, rank
        self._position = state.epoch * len(index) + state.samples + worker * batch_size
        self._stride = workers * batch_size
        self._ring = [_buffers(index, self._local, pin) for _ in range(_AHEAD + 3)]
        self._ready: queue.Queue[Batch | BaseException] = queue.Queue(_AHEAD)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="stream", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """The next batch. Raises what the reading thread met, DataengineError as a rule."""
        if self._stop.is_set():
            raise StopIteration
        item = self._ready.get()
        if isinstance(item, BaseException):
            self.close()
            raise item
        return item

    def close(self) -> None:
        """Ends the thread and closes the files."""
        self._stop.set()
        while self._thread.is_alive():
            try:
                self._ready.get_nowait()  # lets a waiting thread see that it should end
            except queue.Empty:
                self._thread.join(0.01)
        self._reader.close()

    def _work(self) -> None:
        slot = 0
        try:
            while not self._stop.is_set():
                self._ready.put(self._next(*self._ring[slot]))
                slot = (slot + 1) % len(self._ring)
        except BaseException as e:  # noqa: BLE001 - handed to the thread that reads, which raises it
            self._ready.put(e)

    def _next(self, tokens: torch.Tensor, cameras: torch.Tensor) -> Batch:
        first = self._position + self._rank * self._local
        rows = self._order.rows(first, first + self._local)
        captions = self._reader.read(rows, tokens, cameras)
        state = State(*divmod(self._position + self._global, len(self._index)))
        batch = Batch(tokens, cameras, self._uniforms(first), captions, rows, state)
        self._position += self._stride
        return batch

    def _uniforms(self, first: int) -> torch.Tensor:
        if not self._width:
            return torch.empty(self._local, 0)
        own = uniforms(self._seed, first, self._local, self._width)
        shift = uniforms(self._seed, self._position, 1, self._width)[0, 0]
        places = np.arange(self._local, dtype=np.float32) + np.float32(first - self._position)
        own[:, 0] = (shift + places / np.float32(self._global)) % np.float32(1)
        return torch.from_numpy(own)


class StreamDataset(IterableDataset[Batch]):
    """The stream for torch's DataLoader (`batch_size=None`).

    With workers, worker w of W reads every W-th global batch, so that the loader's round robin restores the order.
    One thread in the trainer is faster (pickling batches between processes costs more than reading them): `Stream`.

    Args:
        index: the samples.
        options: those of `Stream`.
    """

    def __init__(self, index: Index, **options: Any) -> None:
        self._index, self._options = index, options

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        stream = Stream(self._index, **self._options, worker=worker, workers=workers)
        try:
            for batch in stream:
                yield batch.clone()
        finally:
            stream.close()


def _buffers(index: Index, count: int, pin: bool) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.empty(count, *index.tokens_layout.shape, dtype=torch.int64, pin_memory=pin)
    cameras = torch.empty(count, *index.cameras_layout.shape, dtype=torch.float32, pin_memory=pin)
    return tokens, cameras
