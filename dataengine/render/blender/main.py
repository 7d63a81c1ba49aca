"""The program in the Blender process: read a request, do it, reply, until the pipe closes.

Messages are JSON behind a four-byte little-endian length, on a pipe pair of their own: Blender prints on 1 and 2.
"""

import json
import os
import resource
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from . import sandbox
from .protocol import LoadReply, LoadRequest, RenderReply, RenderRequest


def main(requests: int, replies: int, life: int, channel: int) -> None:
    """Says its process id, is told its settings (see sandbox.enter; also `threads`), and serves until the parent closes
    the request pipe. Leaves by os._exit: a normal exit of a Blender that has seen a Python driver deadlocks in its
    destructors."""
    if sys.platform != "linux":
        sandbox.die_with_parent(life)
    sandbox.line_buffer_stdout()
    send(replies, {"pid": os.getpid()})
    settings = receive(requests)
    if settings is None:
        os._exit(0)
    # The sandbox comes before bpy: its rules bind the calling thread and those it starts later, and bpy starts some.
    with socket.socket(fileno=channel) as opened:
        active = sandbox.enter(settings, opened)
    try:
        with few_threads(settings["threads"]):
            import bpy

            bpy.ops.wm.read_factory_settings(use_empty=True)
    except ImportError as error:
        send(replies, {"ready": False, "error": str(error)})
        os._exit(3)
    bpy.context.preferences.filepaths.use_scripts_auto_execute = False
    send(replies, {"ready": True, "blender": bpy.app.version_string, "sandbox": active})
    while (message := receive(requests)) is not None:
        send(replies, answer(message, active))
    os._exit(0)


@contextmanager
def few_threads(count: int) -> Iterator[None]:
    """Lets TBB see `count` cores while it starts; 0 lets it see all.

    Cycles renders with the threads that it is told, but TBB keeps one for every core of the machine, and those without
    work spin: a one-thread render on two cores burned both (8.3 CPU seconds for 4.2 of work). The process
    may use every core again afterwards.
    """
    if not count or not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(cores)[:count]))
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def answer(message: dict[str, Any], active: dict[str, str]) -> dict[str, Any]:
    match message["op"]:
        case "load":
            return load(LoadRequest.from_json(message["request"])).to_json()
        case "render":
            from .failure import Unable

            try:
                return render(RenderRequest.from_json(message["request"])).to_json()
            except Unable as error:
                return {"fatal": str(error)}
        case "devices":
            from .devices import list_devices

            return {"devices": list_devices()}
        case "light":
            from .environment import measure

            return measure(message["path"])
        case "sandbox":
            return {"sandbox": active}
        case other:
            return {"error": f"unknown op {other!r}"}


def load(request: LoadRequest) -> LoadReply:
    """Imports one asset; what Python can see go wrong becomes the reply's `error`."""
    from .asset import load_asset

    with measured() as used:
        error, message = tried(lambda: load_asset(request))
    return LoadReply(error, message, **used)


def render(request: RenderRequest) -> RenderReply:
    """Renders one view set of the asset that was loaded last; errors as in `load`."""
    from .asset import render_asset

    replies: list[RenderReply] = []
    with measured() as used:
        error, message = tried(lambda: replies.append(render_asset(request)))
    reply = replies[0] if replies else RenderReply(error=error, message=message)
    return RenderReply.from_json({**reply.to_json(), **used})


def tried(work: Callable[[], None]) -> tuple[str, str]:
    """(error, message) of what Python can see go wrong; both empty where nothing does."""
    from .failure import Failure

    try:
        work()
    except Failure as failure:
        return failure.code, failure.message
    except MemoryError as error:
        return "OUT_OF_MEMORY", f"the memory limit was reached: {one_line(error)}"
    return "", ""


@contextmanager
def measured() -> Iterator[dict[str, Any]]:
    """What is done inside, in CPU seconds and bytes; filled in at its end."""
    used: dict[str, Any] = {}
    cpu = time.process_time()
    reset_peak_memory()
    yield used
    sys.stdout.flush()
    sys.stderr.flush()
    used |= {"cpu_seconds": time.process_time() - cpu, "peak_memory": peak_memory()}


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def reset_peak_memory() -> None:
    """Linux lets a process forget its high-water mark; elsewhere the mark is that of the process so far."""
    try:
        with open("/proc/self/clear_refs", "w") as f:  # noqa: PTH123
            f.write("5")
    except OSError:
        return


def peak_memory() -> int:
    try:
        with open("/proc/self/status") as f:  # noqa: PTH123
            for line in f:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return maxrss()
    return maxrss()


def maxrss() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def receive(fd: int) -> dict[str, Any] | None:
    head = read_exactly(fd, 4)
    if head is None:
        return None
    body = read_exactly(fd, struct.unpack("<I", head)[0])
    return None if body is None else json.loads(body)


def read_exactly(fd: int, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        piece = os.read(fd, size - len(data))
        if not piece:
            return None
        data += piece
    return bytes(data)


def send(fd: int, message: dict[str, Any]) -> None:
    body = json.dumps(message).encode()
    data = memoryview(struct.pack("<I", len(body)) + body)
    while data:
        data = data[os.write(fd, data) :]
