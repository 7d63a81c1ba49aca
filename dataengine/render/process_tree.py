"""What a Blender process uses: itself, and whatever it may have started."""

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

SCAN_SECONDS = 0.5
FILES = 20_000  # in a scratch folder: each costs the kernel memory, also an empty one
FILE_COST = 4096


class ProcessTree:
    """The descendants of a keeper.

    Args:
        keeper: its process id; on systems without one, Blender's own.
        grows: whether processes may come and go; else the tree is looked at once.
        scratch: the folder that they write in. What lies there, and what they hold of deleted files, is memory too.
    """

    def __init__(self, keeper: int, grows: bool, scratch: Path) -> None:
        self._keeper = psutil.Process(keeper)
        self._grows = grows
        self._scratch = scratch
        self._scanned = self._measured = 0.0
        self._held = 0
        self._members: list[psutil.Process] = []
        self.scan()

    def scan(self) -> list[psutil.Process]:
        """Looks for the members anew."""
        with contextlib.suppress(psutil.Error):
            found = self._keeper.children(recursive=True)
            self._members = found or [self._keeper]
        self._scanned = time.monotonic()
        return self._members

    def pid_of(self, told: int) -> int:
        """The process id, out here, of the member that calls itself `told` in its own namespace."""
        return next((m.pid for m in reversed(self._members) if own_number(m.pid) == told), told)

    def cpu_seconds(self) -> float:
        """Of all members, and of those that they or the keeper have waited for."""
        total = 0.0
        for process in (self._keeper, *self.members()) if self._grows else self.members():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
                if self._grows:
                    total += times.children_user + times.children_system
        return total

    def memory_bytes(self) -> int:
        """Resident, plus what lies in scratch, which is memory as well where scratch is on tmpfs."""
        resident = 0
        for process in self.members():
            with contextlib.suppress(psutil.Error):
                resident += int(process.memory_info().rss)
        return resident + self.scratch_bytes()

    def threads(self) -> int:
        """Of all members; each costs the kernel memory that nothing else counts."""
        total = 0
        for process in self.members():
            with contextlib.suppress(psutil.Error):
                total += process.num_threads()
        return total

    def scratch_bytes(self) -> int:
        """What lies in scratch or is held of deleted files; measured every half second at most."""
        if time.monotonic() - self._measured > SCAN_SECONDS:
            self._held = held_in(self._scratch) + sum(map(held_deleted, (m.pid for m in self._members)))
            self._measured = time.monotonic()
        return self._held

    def members(self) -> list[psutil.Process]:
        if self._grows and time.monotonic() - self._scanned > SCAN_SECONDS:
            self.scan()
        return self._members


def own_number(pid: int) -> int:
    """What a process of ours is called in the innermost namespace that it is in."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return int(line.split()[-1])
    return pid


def held_in(folder: Path) -> int:
    """Bytes that a folder takes, by blocks and not by what sizes say. Links are not followed."""
    held = 0
    for files, info in enumerate(walk(folder)):
        held += info.st_blocks * 512 + FILE_COST
        if files > FILES:
            return 1 << 62
    return held


def walk(folder: Path) -> Iterator[os.stat_result]:
    waiting = [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    with contextlib.suppress(OSError):
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(entry.path)
                        yield entry.stat(follow_symlinks=False)
        except OSError:
            continue  # it has gone meanwhile, or cannot be entered


def held_deleted(pid: int) -> int:
    """Bytes of open files that no folder names any more: deleted ones, and anonymous memory files."""
    held = 0
    for info in open_files(pid):
        if stat.S_ISREG(info.st_mode) and info.st_nlink == 0:
            held += info.st_blocks * 512
    return held


def open_files(pid: int) -> Iterator[os.stat_result]:
    try:
        names = os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208
    except OSError:
        return
    for name in names:
        with contextlib.suppress(OSError):
            yield os.stat(f"/proc/{pid}/fd/{name}")  # noqa: PTH116
