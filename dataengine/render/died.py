"""How a Blender process ended, for the one that asked it something."""

import contextlib
import signal

KILLED = (-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGKILL, 128 + signal.SIGTERM)  # bubblewrap's are the latter
OUT_OF_MEMORY_WORDS = ("bad_alloc", "Malloc returns null", "Calloc returns null", "Out of memory", "MemoryError")


class Died(Exception):
    """The process ended, or was killed for what it used.

    Attributes:
        reason: 'crash', 'cpu', 'wall', 'memory', or 'broken' (it said or did what no honest Blender does).
        message: one line for a person.
        log: what it printed last.
        killed: whether somebody killed it: not we, and not a fault of its own.
    """

    def __init__(self, reason: str, message: str, log: str, killed: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.log = log
        self.killed = killed


def ended(reason: str, message: str, log: str, code: int | None) -> Died:
    """The Died of a process that has this exit code. A crash is worded here, and may be one for lack of memory."""
    killed = code in KILLED
    if reason == "crash":
        message = f"Blender died: {how_it_ended(code)}"
        if any(word in log for word in OUT_OF_MEMORY_WORDS):
            reason, message = "memory", f"Blender ran out of the memory it may use ({how_it_ended(code)})"
    return Died(reason, message, log, killed)


def how_it_ended(code: int | None) -> str:
    if code is None:
        return "it closed its pipe"
    number = -code if code < 0 else code - 128  # bubblewrap reports a signal as a shell does
    if number > 0:
        with contextlib.suppress(ValueError):
            return f"signal {signal.Signals(number).name}"
    return f"exit code {code}"
