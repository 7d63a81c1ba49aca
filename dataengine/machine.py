"""What this process may use of the machine: a container's share, where there is one.

A container sees the host's cores and memory. What it may use is in the control groups (cgroups) that the kernel holds
the process in: its own group and all above it, each with a limit or none. Files, versions 1 and 2:
https://docs.kernel.org/admin-guide/cgroup-v1/index.html, https://docs.kernel.org/admin-guide/cgroup-v2.html
"""

import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Cores that this process may keep busy: at least one, and whole ones only."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([cores, *_core_limits()])))


def usable_memory() -> int:
    """Bytes of memory that this process and its children may use in all."""
    return min([int(psutil.virtual_memory().total), *_memory_limits()])


def peak_memory() -> int:
    """The most bytes of memory that this process has held so far."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def _core_limits() -> Iterator[float]:
    for group in _groups(""):
        quota, _, period = _read(group / "cpu.max").partition(" ")
        if quota.isdigit():  # not `max`
            yield int(quota) / int(period)
    for group in _groups("cpu"):
        quota, period = _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")
        if quota.isdigit():  # not -1
            yield int(quota) / int(period)


def _memory_limits() -> Iterator[int]:
    """Where there is none, version 1 says about 2⁶³."""
    files = [g / "memory.max" for g in _groups("")] + [g / "memory.limit_in_bytes" for g in _groups("memory")]
    return (int(text) for text in map(_read, files) if text.isdigit())


def _groups(controller: str) -> Iterator[Path]:
    """Folders of the groups that this process is in, from the innermost to the top.

    Args:
        controller: of version 1, `cpu` or `memory`; empty: version 2's groups, which have all controllers.
    """
    for line in _read(OWN_GROUPS).splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            # In a container the path may be the host's, of which only the top is to be seen.
            for group in (PurePosixPath(path), *PurePosixPath(path).parents):
                yield GROUPS / controller / group.relative_to("/")


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:  # another version, or not Linux
        return ""
