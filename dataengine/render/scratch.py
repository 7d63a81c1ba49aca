"""A folder in memory for what Blender hands over, gone when its owner is gone, however it went."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

from dataengine.errors import DataengineError
from dataengine.render.handover import clear
from dataengine.render.process_tree import held_in

PREFIX = "dataengine-"
LOCK = "owner.lock"
WAIT_SECONDS = 10.0
SPARE = 64 << 20  # of temporary files, beside the views: more is not the machine's fault
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
            clear(self.path)
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


class ScratchFull(DataengineError):
    """There is no room for what an asset is to write, and it is not the asset that has filled it."""

    def __init__(self, folder: Path, needed: int) -> None:
        free = shutil.disk_usage(folder).free
        super().__init__(
            f"the scratch folder {folder.parent} is full: {free >> 20} MiB free, an asset's views take up to "
            f"{needed >> 20} MiB; use fewer --workers, or give the container more (docker run --shm-size=2g)"
        )
        self._folder = folder
        self._needed = needed

    @classmethod
    def check(cls, folder: Path, needed: int) -> None:
        """Raises if `needed` bytes do not fit, and what lies in `folder` is not why."""
        if shutil.disk_usage(folder.parent).free < needed and held_in(folder) <= needed + SPARE:
            raise cls(folder.parent, needed)

    def wait(self) -> None:
        """Waits a while for others to make room."""
        deadline = time.monotonic() + WAIT_SECONDS
        while shutil.disk_usage(self._folder).free < self._needed and time.monotonic() < deadline:
            time.sleep(0.2)


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
            if folder.lstat().st_uid != os.geteuid():
                continue
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                clear(folder)
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
            finally:
                os.close(lock)
    return removed
