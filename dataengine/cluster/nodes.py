"""The Ray cluster: joining it, and what its nodes have."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import ray

from dataengine.errors import UsageError
from dataengine.machine import usable_cores

REACH_SECONDS = 10.0


@dataclass(frozen=True)
class Node:
    """A node that is alive, and its resources in all: cores, GPUs, bytes of memory."""

    id: str
    cpus: float
    gpus: float
    memory: float


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Joins a Ray cluster, or starts Ray on this machine, and leaves or ends it afterwards.

    Raises:
        UsageError: if there is no cluster at that address.
    """
    if ray.is_initialized():
        yield
        return
    _connect(address)
    try:
        yield
    finally:
        ray.shutdown()


def _connect(address: str) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # An accelerator that a task did not ask for is hidden from it: "auto" devices then mean what was paid for.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address == "auto":
        with suppress(ConnectionError):
            ray.init(address="auto", **settings)
            return
        address = "local"
    if address == "local":
        ray.init(address="local", include_dashboard=False, num_cpus=_bound_to(), **settings)
        return
    _reach(address)
    try:
        ray.init(address=address, **settings)
    except (ConnectionError, ValueError, RuntimeError) as e:
        raise UsageError(f"no Ray cluster at {address}: {' '.join(str(e).split())}") from e


def _bound_to() -> int | None:
    """The cores that taskset, Slurm or a container leave to this process, where they do; Ray would count them all."""
    allowed = usable_cores()
    return allowed if allowed != os.cpu_count() else None


def _reach(address: str) -> None:
    """Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(f"--address {address!r} is not auto, local, HOST:PORT or ray://HOST:PORT")
    try:
        socket.create_connection((host, int(port)), REACH_SECONDS).close()
    except (OSError, OverflowError) as e:
        raise UsageError(f"no Ray cluster at {address}: {e}") from e


def alive() -> list[Node]:
    """The nodes that are alive."""
    found = (n for n in ray.nodes() if n["Alive"])  # type: ignore[no-untyped-call]
    return [
        Node(n["NodeID"], r.get("CPU", 0.0), r.get("GPU", 0.0), r.get("memory", 0.0))
        for n in found
        if (r := n["Resources"]) is not None
    ]


def usage() -> tuple[int, dict[str, float], dict[str, float]]:
    """(nodes alive, what is in use, what there is) of cores and GPUs."""
    there = alive()
    total = {"CPU": sum(n.cpus for n in there), "GPU": sum(n.gpus for n in there)}
    free = ray.available_resources()  # type: ignore[no-untyped-call]
    return len(there), {k: v - free.get(k, 0.0) for k, v in total.items()}, total
