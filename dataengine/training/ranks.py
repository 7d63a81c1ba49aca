"""The processes that train together, and the signals that stop them."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from dataengine.errors import UsageError


@dataclass(frozen=True)
class Ranks:
    """This process among the others."""

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        return self.rank == 0


@contextmanager
def join_ranks(wanted: str) -> Iterator[Ranks]:
    """Joins the other processes, if torchrun or Ray Train started any, and leaves them at the end."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: this machine has no CUDA device that torch can use")
    gpu = wanted != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if gpu else torch.device("cpu")
    if gpu:
        torch.cuda.set_device(device)
    ours = "WORLD_SIZE" in os.environ and not dist.is_initialized()
    if ours:
        dist.init_process_group("nccl" if gpu else "gloo")
    try:
        together = dist.is_initialized()
        yield Ranks(dist.get_rank() if together else 0, dist.get_world_size() if together else 1, device)
    finally:
        if ours:
            dist.destroy_process_group()


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and Ctrl-C set; the second Ctrl-C is an ordinary one."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # a worker of Ray: Ray ends it
        yield stop
        return

    def handle(number: int, _: object) -> None:
        stop.set()
        signal.signal(number, old[signal.Signals(number)])

    old = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
