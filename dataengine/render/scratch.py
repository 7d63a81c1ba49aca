"""A folder in memory for what Blender hands over, gone when its owner is gone, however it went."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "dataengine-"
LOCK = "owner.lock"
ENOUGH = 512 << 20  # containers often get a /dev/shm of 64 MB, too small for a few workers' views


class Scratch:
    """A folder of its own on tmpfs (else in the temporary folder), held by a file lock.

    The lock goes with the process, also by kill -9, and unlike a process id it cannot be taken over by a stranger
    or be misread in another container: a folder whose lock can be taken is garbage, and the next owner removes it.
    """

    def __init__(self) -> None:
        base = roomiest()
        remove_stale(base)
        made = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=base))
        self._lock = os.open(made / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        # Under the name that others look for only now: a folder without a held lock is garbage to them.
        self.path = made.rename(base / made.name[1:])

    def close(self) -> None:
        """Removes the folder. Idempotent."""
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


def roomiest() -> Path:
    shared = Path("/dev/shm")
    if shared.is_dir() and os.access(shared, os.W_OK) and shutil.disk_usage(shared).free >= ENOUGH:
        return shared
    return Path(tempfile.gettempdir())


def remove_stale(base: Path) -> int:
    """Removes the scratch folders under `base` whose owner is dead; returns how many."""
    removed = 0
    for folder in base.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # another user's, or another process removes it right now
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
            finally:
                os.close(lock)
    return removed
