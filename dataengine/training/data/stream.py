"""Streaming of tokens shards: global shuffle, exact resume, any number of ranks, no conversion and no worker processes.

What the stream promises:
- The sequence of global batches depends on the index, the seed, the batch size and the window; on nothing else. Rank r
  of R gets the r-th R-th of every global batch.
- The state is (epoch, samples consumed). A stream that starts from a state gives the batches that would have followed.
- Epochs follow each other without a seam: every batch is full, every sample is seen once an epoch.
- Buffers are used again and again. A batch is yours until you ask for the second one after it; copy what you keep.
- With `ahead`, a thread prepares the next batches while you work on this one.
"""

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from tarfile import LENGTH_NAME
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import IterableDataset, get_worker_info

from dataengine.errors import UsageError
from dataengine.training.config import CACHE_BYTES
from dataengine.training.data.index import Int64, Layout, SampleIndex
from dataengine.training.data.shard_mmap import BLOCK, ShardFiles, blocks
from dataengine.training.data.shuffle import Order, uniforms

_TOGETHER = 32
"""Samples that one call gathers: few enough that they are in the processor's cache when the next converts them."""


class StreamState(NamedTuple):
    """Where a stream stands: how many epochs are behind it, and how many samples of this one (all ranks together)."""

    epoch: int
    samples: int


BEGIN = StreamState(0, 0)


@dataclass
class Batch:
    """One rank's part of a global batch.

    Attributes:
        tokens: (B, views, rows, columns) int64.
        cameras: (B, views, numbers) float32, as the tokens stage wrote them.
        uniforms: (B, width) float32 in [0, 1): the randomness of these samples, the same at any number of ranks.
            Column 0 is stratified: over a global batch its values are evenly spaced, from a random start.
        captions: one per sample; empty where there is none.
        uids: one per sample.
        rows: (B,) the samples' rows in the index.
        state: of the stream after this batch.
    """

    tokens: torch.Tensor
    cameras: torch.Tensor
    uniforms: torch.Tensor
    captions: list[str]
    uids: list[str]
    rows: Int64
    state: StreamState

    def clone(self) -> "Batch":
        """A copy that outlives the stream's buffers."""
        arrays = (self.tokens.clone(), self.cameras.clone(), self.uniforms.clone())
        return Batch(*arrays, list(self.captions), list(self.uids), self.rows.copy(), self.state)


class Reader:
    """Reads samples by their row in the index: a few calls of numpy for a batch, none for a sample but its caption's.

    Args:
        index: what there is.
        captions: whether captions are read.
        cache, cache_bytes: for shards that are not on a local disk, see `ShardFiles`.
    """

    def __init__(
        self, index: SampleIndex, *, captions: bool = True, cache: Path | None = None, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self._index = index
        self._tokens = _Array.of(index.tokens_at, index.tokens_layout)
        self._cameras = _Array.of(index.cameras_at, index.cameras_layout)
        # A tar fills a member's last block with zeros: of a short caption nothing but itself is gathered.
        self._short = min(BLOCK, int(index.caption_size.max())) if captions else 0
        self._captions = blocks(index.caption_at, max(1, self._short))
        self._all_short = bool(index.caption_size.min() > 0 and index.caption_size.max() <= BLOCK)
        self._changed = captions and len(index.changed) > 0
        self._firsts = index.firsts()
        self._files = ShardFiles(index.store, index.tars, index.ends(), self._inspect, cache, cache_bytes)

    def read(self, rows: Int64, into: "Buffers") -> tuple[list[str], list[str]]:
        """Fills the buffers, as long as `rows`; returns captions and uids.

        Raises:
            DataengineError: if a shard has vanished or changed, naming it and its hash.
        """
        places = self._files.places(self._index.shard[rows], self._index.block[rows])
        for array, out in ((self._tokens, into.flat_tokens), (self._cameras, into.flat_cameras)):
            for start in range(0, len(rows), _TOGETHER):
                part = slice(start, start + _TOGETHER)
                np.copyto(out[part].reshape(-1), array.bodies[places[part]].view(array.dtype))
        captions = self._read_captions(rows, places) if self._short else [""] * len(rows)
        return self._present(rows, captions) if self._changed else captions, self._uids(places)

    def batch(self, rows: Int64) -> Batch:
        """Samples in fresh tensors, for whoever wants some rather than a stream."""
        buffers = Buffers.of(self._index, len(rows), pin=False)
        captions, uids = self.read(rows, buffers)
        return Batch(
            buffers.tokens, buffers.cameras, torch.empty(len(rows), 0), captions, uids, rows, StreamState(0, 0)
        )

    def uids(self, rows: Int64) -> list[str]:
        """The assets' uids, from the headers of the samples' first members: `<uid>.<extension>`.

        Raises:
            DataengineError: as `read`.
        """
        return self._uids(self._files.places(self._index.shard[rows], self._index.block[rows]))

    def close(self) -> None:
        self._files.close()

    def _inspect(self, shard: int, place: int) -> None:
        """Raises if an array of the shard's samples is not where, or not what, the index says."""
        rows = slice(self._firsts[shard], self._firsts[shard] + self._index.counts[shard])
        places = place + self._index.block[rows].astype(np.int64)
        for array in (self._tokens, self._cameras):
            if array.heads[places].tobytes() != array.header * len(places):
                raise self._files.changed(shard)

    def _uids(self, places: Int64) -> list[str]:
        names = blocks(0, LENGTH_NAME)[places - 1].view(f"S{LENGTH_NAME}")
        return [name.partition(b".")[0].decode() for name in names.tolist()]

    def _read_captions(self, rows: Int64, places: Int64) -> list[str]:
        content = self._captions[places].view(f"S{self._short}").tolist()
        for i, size in [] if self._all_short else enumerate(self._index.caption_size[rows].tolist()):
            if not 0 < size <= self._short:
                content[i] = blocks(self._index.caption_at, size)[places[i]].tobytes() if size else b""
        return [caption.decode("utf-8", "replace") for caption in content]

    def _present(self, rows: Int64, captions: list[str]) -> list[str]:
        """The captions, with the plan's where the tar has others."""
        changed = self._index.changed
        at = np.searchsorted(changed, rows).clip(max=len(changed) - 1)
        for i in np.flatnonzero(changed[at] == rows).tolist():
            captions[i] = self._index.captions[int(at[i])].as_py()
        return captions


@dataclass(frozen=True)
class Buffers:
    """Room for a batch.

    Attributes:
        tokens: (B, views, rows, columns) int64.
        cameras: (B, views, numbers) float32.
        flat_tokens, flat_cameras: (B, …) the same memory, as numpy sees it.
    """

    tokens: torch.Tensor
    cameras: torch.Tensor
    flat_tokens: Int64
    flat_cameras: npt.NDArray[np.float32]

    @staticmethod
    def of(index: SampleIndex, count: int, pin: bool) -> "Buffers":
        """For `count` samples; `pin`: page-locked."""
        tokens = torch.empty(count, *index.tokens_layout.shape, dtype=torch.int64, pin_memory=pin)
        cameras = torch.empty(count, *index.cameras_layout.shape, dtype=torch.float32, pin_memory=pin)
        return Buffers(tokens, cameras, tokens.flatten(1).numpy(), cameras.flatten(1).numpy())


@dataclass(frozen=True)
class _Array:
    """One of the arrays of all mapped samples, by their place.

    Attributes:
        header: what each sample's must be.
        heads, bodies: bytes of the header, and of the elements.
        dtype: of the elements.
    """

    header: bytes
    heads: npt.NDArray[np.void]
    bodies: npt.NDArray[np.void]
    dtype: np.dtype[Any]

    @staticmethod
    def of(at: int, layout: Layout) -> "_Array":
        head = len(layout.header)
        bodies = blocks(at + head, layout.nbytes - head)
        return _Array(layout.header, blocks(at, head), bodies, layout.dtype)


class Stream(IterableDataset[Batch]):
    """An endless iterator over batches, and a torch dataset: `DataLoader(stream, batch_size=None)` gives the same ones.

    It needs no worker processes. Where a loader has some, they share the batches, which are then copies.

    Args:
        index: the samples.
        batch_size: samples of a global batch, over all ranks.
        seed: of the order and of `Batch.uniforms`.
        state: where to begin.
        rank: which part of each global batch to read.
        ranks: how many parts it has.
        width: random numbers per sample.
        window: shards that are mixed with each other, see `Order`.
        pin: page-locked buffers, from which a GPU copies while it computes.
        ahead: whether a thread prepares the next batches. Without, batches cost less CPU time, and are waited for.
        captions: whether captions are read.
        cache: where shards are copied to that are not on a local disk.
        cache_bytes: how much that may hold.

    Raises:
        UsageError: if the batch cannot be divided among the ranks.
    """

    def __init__(
        self,
        index: SampleIndex,
        *,
        batch_size: int,
        seed: int = 0,
        state: StreamState = BEGIN,
        rank: int = 0,
        ranks: int = 1,
        width: int = 0,
        window: int | None = None,
        pin: bool = False,
        ahead: bool = False,
        captions: bool = True,
        cache: Path | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        if batch_size % ranks:
            raise UsageError(f"a batch of {batch_size} cannot be divided among {ranks} ranks: choose a multiple")
        self._settings: dict[str, Any] = {
            "batch_size": batch_size, "seed": seed, "rank": rank, "ranks": ranks, "width": width, "window": window,
            "captions": captions, "cache": cache, "cache_bytes": cache_bytes,
        }  # fmt: skip
        self._index, self._seed, self._width = index, seed, width
        self._order = Order(index.counts, seed, window)
        self._reader = Reader(index, captions=captions, cache=cache, cache_bytes=cache_bytes)
        self._global, self._local, self._rank = batch_size, batch_size // ranks, rank
        self._no_uniforms = torch.empty(self._local, 0)
        self._position = state.epoch * len(index) + state.samples
        self._given = state  # behind the last batch that was given; a thread may have read further
        # Two batches are lent until another is asked for; a thread may fill three meanwhile.
        self._ring = cycle([Buffers.of(index, self._local, pin) for _ in range(5 if ahead else 2)])
        self._ready: queue.SimpleQueue[Batch | BaseException] = queue.SimpleQueue()
        self._free: queue.SimpleQueue[bool] = queue.SimpleQueue()  # True: room for a batch; False: end
        self._closed = False
        self._thread: threading.Thread | None = None
        if ahead:
            for _ in range(3):
                self._free.put(True)
            self._thread = threading.Thread(target=self._work, name="stream", daemon=True)
            self._thread.start()

    def __reduce__(self) -> tuple[partial["Stream"], tuple[SampleIndex]]:
        """For spawned workers: another one, that begins here."""
        return partial(Stream, **self._settings, state=self._given), (self._index,)

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        return self if worker is None else self._share(worker.id, worker.num_workers)

    def _share(self, worker: int, workers: int) -> Iterator[Batch]:
        """Every so many-th batch, by files and threads of its own: those of the parent did not come along."""
        make, arguments = self.__reduce__()
        own = make(*arguments)
        own._position += worker * self._global
        while True:
            yield next(own).clone()  # the queue to the parent would put the buffers themselves into shared memory
            own._position += (workers - 1) * self._global

    def __next__(self) -> Batch:
        """The next batch. Raises what the reading thread met, DataengineError as a rule."""
        if self._closed:
            raise StopIteration
        if self._thread is None:
            batch = self._read(next(self._ring))
            self._given = batch.state
            return batch
        found = self._ready.get()
        if isinstance(found, BaseException):
            self.close()
            raise found
        self._given = found.state
        self._free.put(True)  # the batch before the last one is no longer anybody's
        return found

    def close(self) -> None:
        """Ends the thread and closes the files."""
        self._closed = True
        if self._thread is not None:
            self._free.put(False)
            self._thread.join()
        self._reader.close()

    def _work(self) -> None:
        try:
            while self._free.get() and not self._closed:
                self._ready.put(self._read(next(self._ring)))
        except BaseException as e:  # noqa: BLE001 - handed to the thread that reads, which raises it
            self._ready.put(e)

    def _read(self, into: Buffers) -> Batch:
        first = self._position + self._rank * self._local
        rows = self._order.rows(first, first + self._local)
        captions, uids = self._reader.read(rows, into)
        state = StreamState(*divmod(self._position + self._global, len(self._index)))
        batch = Batch(into.tokens, into.cameras, self._uniforms(first), captions, uids, rows, state)
        self._position += self._global
        return batch

    def _uniforms(self, first: int) -> torch.Tensor:
        if not self._width:
            return self._no_uniforms
        own = uniforms(self._seed, first, self._local, self._width)
        shift = uniforms(self._seed, self._position, 1, self._width)[0, 0]
        places = np.arange(self._local, dtype=np.float32) + np.float32(first - self._position)
        own[:, 0] = (shift + places / np.float32(self._global)) % np.float32(1)
        return torch.from_numpy(own)
