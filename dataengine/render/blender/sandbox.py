"""What the child does to itself before it reads a stranger's file."""

import ctypes
import resource
import select
import signal
import fcntl
import os
from typing import Any


def die_with_parent(life: int) -> None:
    """Ends this process when the write end of the pipe `life` closes, even in the middle of native code.

    The kernel sends SIGIO (default action: terminate) on the pipe's hang-up. PR_SET_PDEATHSIG would fire when the
    *thread* that spawned us ends, which in a pool of threads is no death of the parent.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([life], [], [], 0)[0]:  # the parent was gone before we listened
        os._exit(4)


def line_buffer_stdout() -> None:
    """Makes C's stdout line-buffered: on a pipe it is not, and a crash would take Blender's last words with it."""
    libc = ctypes.CDLL(None)
    libc.setvbuf(ctypes.c_void_p.in_dll(libc, "stdout"), None, 1, 0)


def enter(settings: dict[str, Any]) -> dict[str, str]:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if settings.get("address_space"):
        resource.setrlimit(resource.RLIMIT_AS, (settings["address_space"], settings["address_space"]))
    return {}
