"""A remote file that is read in ranges, each asked for again when the network fails."""

import io
from collections.abc import Callable
from typing import Any


class RangedFile(io.RawIOBase):
    """A file to read from start to end or here and there, a block ahead.

    Args:
        size: bytes in all.
        read_range: (offset, bytes) → those bytes; raises what a reader is to see.
        block_size: bytes to ask for at least.
    """

    def __init__(self, size: int, read_range: Callable[[int, int], bytes], block_size: int) -> None:
        super().__init__()
        self.size = size
        self._read_range = read_range
        self._block_size = block_size
        self._position = 0
        self._start, self._ahead = 0, b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        begin = self._position
        end = self.size if size is None or size < 0 else min(begin + size, self.size)
        if begin >= end:
            return b""
        self._position = end
        if not self._start <= begin <= end <= self._start + len(self._ahead):
            if end - begin > self._block_size:
                return self._read_range(begin, end - begin)
            self._start, self._ahead = begin, self._read_range(begin, min(self._block_size, self.size - begin))
        return self._ahead[begin - self._start : end - self._start]

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
