"""Shards as mapped memory.

Samples lie anywhere in any number of shards. So that one call of numpy can gather a whole batch, `blocks` sees all
mapped shards as a single array: tar members and mappings begin at multiples of 512. What is gathered from is known to
be there: each shard is hashed before it is used (once a process), and its size is compared before every batch (of a
loop that is faster than any training, only every 50 ms), since touching what was cut off would end the process.
"""

import hashlib
import mmap
import os
import resource
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tarfile import BLOCKSIZE

import numpy as np
import numpy.typing as npt

from dataengine.corpus.os_errors import explain
from dataengine.corpus.storage import Store
from dataengine.errors import DataengineError
from dataengine.training.config import CACHE_BYTES
from dataengine.training.data.shard_cache import ShardCache, changed, digest

BLOCK = BLOCKSIZE
# Mapped at once, if the system allows so many open files. 10 million samples are 40 thousand shards; Linux has 65,530
# mappings for a process unless told otherwise.
_MOST_OPEN = 50_000
_ADDRESSES = 1 << 47
_TRUSTED_SECONDS = 0.05  # shorter than a step of training; a loop that only reads would look at nothing but sizes


class _Blocks:
    """All memory of the process, for numpy: one item at each multiple of 512."""

    def __init__(self, shift: int, nbytes: int) -> None:
        self.__array_interface__ = {
            "version": 3,
            "data": (BLOCK + shift, True),
            "shape": (_ADDRESSES // BLOCK - 2 - nbytes // BLOCK,),
            "strides": (BLOCK,),
            "typestr": f"|V{nbytes}",
        }


def blocks(shift: int, nbytes: int) -> npt.NDArray[np.void]:
    """Its item at a sample's place (see `ShardFiles.places`): `nbytes` from byte `shift` of the sample on."""
    return np.asarray(_Blocks(shift, nbytes))


class ShardFiles:
    """Maps shards by number.

    Args:
        store: the corpus.
        tars: the shards' names; each ends in the first 16 digits of the tar's SHA-256.
        ends: how many bytes of each shard will be asked for at most.
        inspect: called once a shard, when it is mapped, with its number and its place; raises if it is not as expected.
        cache: folder for copies of shards that are not on a local disk; several processes may share it.
        cache_bytes: how much it may hold. Shards of the batch in hand are never dropped.
    """

    def __init__(
        self,
        store: Store,
        tars: list[str],
        ends: npt.NDArray[np.int64],
        inspect: Callable[[int, int], None],
        cache: Path | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._store, self._tars, self._ends, self._inspect = store, tars, ends, inspect
        self._cache = ShardCache(store, cache, cache_bytes)
        self._verified: set[int] = set()  # by their hash
        self._inspected: set[int] = set()
        self._maps: dict[int, mmap.mmap] = {}
        self._places = np.zeros(len(tars), np.int64)  # of the mapped ones
        self._trusted = np.zeros(len(tars), bool)  # mapped, and its size was compared a moment ago
        self._trusted_until = 0.0
        self._room = _allowed_files()
        self._pool = ThreadPoolExecutor(min(16, 4 * (os.cpu_count() or 1)), "shards")

    def places(self, shards: npt.NDArray[np.int32], first_blocks: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
        """Where samples begin, as indices into `blocks`; valid until the next call.

        Shards that were not mapped before are fetched and hashed in parallel.

        Args:
            shards: in which they are.
            first_blocks: where they begin there, in units of BLOCK.

        Raises:
            DataengineError: if a shard has vanished or is not the one that the manifest names.
        """
        if (now := time.monotonic()) > self._trusted_until:
            self._trusted[:] = False
            self._trusted_until = now + _TRUSTED_SECONDS
        if not self._trusted[shards].all():
            self._prepare(set(shards.tolist()))
        places: npt.NDArray[np.int64] = self._places[shards] + first_blocks
        return places

    def _prepare(self, shards: set[int]) -> None:
        """Maps them, and sees that those which are mapped have not been cut."""
        if not shards <= self._maps.keys():
            self._map(shards)
        for shard in shards:
            if self._maps[shard].size() != len(self._maps[shard]):
                raise self.changed(shard)
            if shard not in self._inspected:
                self._inspect(shard, int(self._places[shard]))
                self._inspected.add(shard)
            self._trusted[shard] = True

    def _map(self, shards: set[int]) -> None:
        new = sorted(shard for shard in shards if shard not in self._maps)
        self._close_some(len(new), shards)
        known = all(shard in self._verified for shard in new)  # then there is nothing to do that takes a thread
        opened = map(self._open, new) if known else self._pool.map(self._open, new)
        for shard, mapped in zip(new, opened, strict=True):
            self._maps[shard] = mapped
            self._places[shard] = np.frombuffer(mapped, np.uint8).ctypes.data // BLOCK - 1

    def _close_some(self, count: int, wanted: set[int]) -> None:
        """Makes room for so many more, closing what was mapped first."""
        excess = len(self._maps) + count - self._room
        for shard in [s for s in self._maps if s not in wanted][:excess] if excess > 0 else []:
            self._maps.pop(shard).close()
            self._trusted[shard] = False

    def changed(self, shard: int) -> DataengineError:
        """The error for a shard whose bytes are not what the manifest says."""
        return changed(self._store, self._tars[shard])

    def close(self) -> None:
        self._pool.shutdown()
        while self._maps:
            self._maps.popitem()[1].close()

    def _open(self, shard: int) -> mmap.mmap:
        with self._cache.open(self._tars[shard]) as f:
            if shard not in self._verified:
                if not hashlib.file_digest(f, "sha256").hexdigest().startswith(digest(self._tars[shard])):
                    raise self.changed(shard)
                self._verified.add(shard)
            if os.fstat(f.fileno()).st_size < self._ends[shard]:
                raise self.changed(shard)
            try:
                return mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
            except OSError as e:
                raise DataengineError(explain(e, self._store.url_of(self._tars[shard]))) from e


def _allowed_files() -> int:
    """How many shards may be open at once: most of what the system allows, after asking it for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * _MOST_OPEN if hard == resource.RLIM_INFINITY else min(hard, 2 * _MOST_OPEN)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # macOS has a limit of its own below the one that it tells
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return _MOST_OPEN if soft == resource.RLIM_INFINITY else max(16, min(_MOST_OPEN, soft // 2))
