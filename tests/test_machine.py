"""A container's share of the machine, from files as the kernel documents them."""

import os
from pathlib import Path

import psutil
import pytest

from dataengine import machine

CORES = len(os.sched_getaffinity(0))
MIB = 1 << 20
UNLIMITED = "9223372036854771712"  # what version 1 says


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(machine, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "OWN_GROUPS", tmp_path / "self")
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(64)))
    return tmp_path


def write(root: Path, own: str, **limits: str) -> None:
    (root / "self").write_text(own)
    for name, text in limits.items():
        file = root / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")


def test_version_2_in_a_namespace_of_its_own(groups: Path) -> None:
    write(groups, "0::/\n", **{"cpu.max": "250000 100000", "memory.max": str(512 * MIB)})
    assert (machine.usable_cores(), machine.usable_memory()) == (2, 512 * MIB)


def test_the_smallest_limit_of_all_groups_above_counts(groups: Path) -> None:
    limits = {
        "kube/pod/own/cpu.max": "max 100000",
        "kube/pod/cpu.max": "300000 100000",
        "kube/cpu.max": "1600000 100000",
        "kube/pod/own/memory.max": "max",
        "kube/pod/memory.max": str(256 * MIB),
    }
    write(groups, "0::/kube/pod/own\n", **limits)
    assert (machine.usable_cores(), machine.usable_memory()) == (3, 256 * MIB)


def test_version_1(groups: Path) -> None:
    limits = {
        "cpu/docker/abc/cpu.cfs_quota_us": "150000",
        "cpu/docker/abc/cpu.cfs_period_us": "50000",
        "cpu/cpu.cfs_quota_us": "-1",
        "cpu/cpu.cfs_period_us": "100000",
        "memory/docker/abc/memory.limit_in_bytes": str(300 * MIB),
        "memory/memory.limit_in_bytes": UNLIMITED,
    }
    own = "12:cpuset:/\n4:memory:/docker/abc\n3:cpuacct,cpu:/docker/abc\n1:name=systemd:/docker/abc\n0::/\n"
    write(groups, own, **limits)
    assert (machine.usable_cores(), machine.usable_memory()) == (3, 300 * MIB)


def test_version_1_seen_from_inside_a_container(groups: Path) -> None:
    """The path is the host's, and the container's own group lies at the top."""
    limits = {"memory/memory.limit_in_bytes": str(300 * MIB), "cpu/cpu.cfs_quota_us": "50000"}
    write(groups, "4:memory:/docker/abc\n3:cpu:/docker/abc\n", **limits, **{"cpu/cpu.cfs_period_us": "100000"})
    assert (machine.usable_cores(), machine.usable_memory()) == (1, 300 * MIB)


def test_without_limits_it_is_the_machine(groups: Path) -> None:
    write(groups, "0::/user.slice\n", **{"user.slice/memory.max": "max", "user.slice/cpu.max": "max 100000"})
    assert (machine.usable_cores(), machine.usable_memory()) == (64, psutil.virtual_memory().total)
    (groups / "self").unlink()  # not Linux
    assert (machine.usable_cores(), machine.usable_memory()) == (64, psutil.virtual_memory().total)


def test_this_process_may_use_something() -> None:
    assert 1 <= machine.usable_cores() <= CORES
    assert 0 < machine.usable_memory() <= psutil.virtual_memory().total
