"""What a Blender process prints: the last of it, for a row's log."""

import contextlib
import os
import re

LOG_BYTES = 32 << 10
LOG_LINES = 30
PROGRESS = re.compile(r"Fra:\d+ Mem:|Saved: '|Time: \d\d:")


class Printed:
    """The end of a pipe that a process prints into, read as soon as there is something and kept as far as is of use.

    Attributes:
        fd: of the pipe, which does not block; -1 when it is closed.
    """

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self._kept = bytearray()

    def drain(self) -> bool:
        """Takes what was printed; False at the end of the pipe."""
        with contextlib.suppress(BlockingIOError, OSError):
            while piece := os.read(self.fd, 1 << 16):
                self._kept += piece
                del self._kept[:-LOG_BYTES]
            return False
        return True

    def lines(self) -> list[str]:
        """The last lines that were printed since it was cleared, without those that tell progress."""
        self.drain()
        text = self._kept.decode("utf-8", "replace").replace("\0", "")
        lines = [line for line in text.splitlines() if line.strip() and not PROGRESS.match(line)]
        return [line.rstrip()[:500] for line in lines[-LOG_LINES:]]

    def clear(self) -> None:
        """Forgets what was printed before the next request."""
        self._kept.clear()

    def close(self) -> None:
        """Idempotent. What was taken stays."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
