"""The order in which samples are seen, and the randomness that each of them gets.

Both are pure functions of (seed, position), where position counts the samples since the start of training. So a run
that was killed goes on exactly where it was, and any number of workers or ranks sees the same global order. Neither
depends on `numpy.random`'s shuffles, whose streams may change between versions.

A permutation is a Feistel network over Z_a × Z_a with a = ⌈√n⌉ (additive, so it is a bijection for any a), walked
until it lands below n (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002). It needs no memory and
any part of it can be computed alone.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

Int = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

_ROUNDS = 4  # make a permutation that passes for a random one (Luby and Rackoff 1988)


def mix(x: U64) -> U64:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014): each output bit depends on every input bit."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def permute(x: Int, n: Int | int, key: U64 | int) -> Int:
    """Where a random permutation of 0 … n-1 sends x.

    Args:
        x: what to permute, each below its n.
        n: size of the permuted set; a scalar or one an element.
        key: chooses the permutation; a scalar or one an element.
    """
    # One value for all stays one: dividing by it is several times faster.
    sizes, keys = np.atleast_1d(np.asarray(n, np.int64)), np.atleast_1d(np.asarray(key, np.uint64))
    sides = np.ceil(np.sqrt(sizes.astype(np.float64))).astype(np.uint64)
    sides += sides * sides < sizes.astype(np.uint64)  # the float square root may fall short by one
    out = x.astype(np.uint64)
    todo = np.arange(len(out))
    while len(todo):
        a, k, end = (v if len(v) == 1 else v[todo] for v in (sides, keys, sizes.astype(np.uint64)))
        left = out[todo] // a
        right = out[todo] - left * a
        for r in range(_ROUNDS):
            mixed = left + mix(right ^ mix(k + np.uint64(r)))
            left, right = right, mixed - mixed // a * a
        out[todo] = left * a + right
        todo = todo[out[todo] >= end]
    return out.astype(np.int64)


class Order:
    """An endless stream of rows: every epoch holds each row once, in an order of its own.

    Args:
        counts: samples of each shard; the rows of a shard follow each other, shards in this sequence.
        seed: chooses the order.
        window: how many shards are mixed with each other at a time. None mixes all, which is what a local disk wants.
            Behind a cache that is smaller than the corpus it bounds what must be on disk: the shards are shuffled,
            cut into windows, and each window's samples are shuffled.
    """

    def __init__(self, counts: Int, seed: int, window: int | None = None) -> None:
        self.samples = int(counts.sum())
        self._counts = counts.astype(np.int64)
        self._starts = np.concatenate([[0], np.cumsum(self._counts)[:-1]])
        self._seed = np.uint64(seed)
        self._window = min(window or len(counts), len(counts))
        self._block = lru_cache(4)(self._compute)
        self._layout = lru_cache(2)(self._epoch_layout)

    def __reduce__(self) -> tuple[type["Order"], tuple[Int, int, int]]:
        return Order, (self._counts, int(self._seed), self._window)

    def rows(self, start: int, stop: int) -> Int:
        """The rows at positions start … stop-1; epochs follow each other without a seam."""
        parts = []
        while start < stop:
            epoch, first = divmod(start, self.samples)
            block, skip = divmod(first, _BLOCK)
            # A few thousand positions at a time: as fast as a stored permutation, without storing one.
            part = self._block(epoch, block)[skip : skip + stop - start]
            parts.append(part)
            start += len(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _compute(self, epoch: int, block: int) -> Int:
        rows = self._within(epoch, np.arange(block * _BLOCK, min((block + 1) * _BLOCK, self.samples)))
        rows.setflags(write=False)  # parts of it are handed out
        return rows

    def _within(self, epoch: int, position: Int) -> Int:
        shards, ends, window_ends, key = self._layout(epoch)
        if len(window_ends) == 1:
            return permute(position, self.samples, mix(key))
        window = np.searchsorted(window_ends, position, side="right")
        base = np.concatenate([[0], window_ends])[window]
        size = window_ends[window] - base
        mixed = base + permute(position - base, size, mix(key + window.astype(np.uint64)))
        slot = np.searchsorted(ends, mixed, side="right")
        shard = shards[slot]
        rows: Int = self._starts[shard] + mixed - (ends[slot] - self._counts[shard])
        return rows

    def _epoch_layout(self, epoch: int) -> tuple[Int, Int, Int, U64]:
        """The shards in this epoch's sequence, where each ends, where each window ends, and the epoch's key."""
        key = mix(np.atleast_1d(mix(np.atleast_1d(self._seed)) + np.uint64(epoch)))
        shards = permute(np.arange(len(self._counts)), len(self._counts), key)
        ends = np.cumsum(self._counts[shards])
        lasts = np.arange(self._window, len(shards) + self._window, self._window).clip(max=len(shards)) - 1
        return shards, ends, ends[lasts], key


_BLOCK = 8192


def uniforms(seed: int, position: int, samples: int, width: int) -> npt.NDArray[np.float32]:
    """Random numbers of consecutive samples, in [0, 1), shape (samples, width): the same whoever asks for them.

    Philox is counter-based (Salmon et al. 2011): the stream is skipped to the position in constant time.
    """
    width4 = -(-width // 8)  # one counter step gives four 64-bit words, each of which makes two float32
    generator = np.random.Philox(key=seed)
    generator.advance(position * width4)
    words = generator.random_raw(samples * width4 * 4).view(np.uint32)
    scaled = (words >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)
    return scaled.reshape(samples, width4 * 8)[:, :width]
