"""System calls that a Blender process was refused: answered and counted here, in the parent (seccomp_unotify(2)).

The child's filter hands a call that it refuses to us, by a descriptor that the child gives away before it opens a
stranger's file; the answer is always EPERM. Where we are gone, the kernel itself refuses (ENOSYS).
"""

import contextlib
import errno
import fcntl
import os
import platform
import select
import socket
import struct
from collections import Counter

from dataengine.render.seccomp import ARCHITECTURES, X32
from dataengine.render.syscall_names import names

RECEIVE, SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV, _SEND; linux/seccomp.h
NOTICE = struct.Struct("<QIIiI56x")  # struct seccomp_notif: id, pid, flags, data.nr, data.arch
ANSWER = struct.Struct("<QqiI")  # struct seccomp_notif_resp: id, val, error, flags
MOST = 1000  # for one asset: honest ones are refused nothing
SHOWN = 8  # kinds of call


class Refusals:
    """What one process is refused. An object without a listener counts nothing.

    Args:
        listener: the descriptor, which this object closes; -1: there is none.
    """

    def __init__(self, listener: int) -> None:
        self.fd = listener
        self._counts: Counter[str] = Counter()

    @classmethod
    def received(cls, channel: socket.socket, seconds: float) -> "Refusals":
        """Takes the listener from the child; there is none if it closes the channel, or says nothing for so long."""
        channel.settimeout(seconds)
        with contextlib.suppress(OSError):
            _, listeners, _, _ = socket.recv_fds(channel, 1, 1)
            return cls(listeners[0] if listeners else -1)
        return cls(-1)

    def answer(self) -> None:
        """Refuses the calls that wait for an answer; closes itself when no process is left that could make any."""
        ready = select.poll()
        ready.register(self.fd, select.POLLIN)
        while events := ready.poll(0):
            if not events[0][1] & select.POLLIN:  # hung up: asking now could wait for ever
                self.close()
                return
            notice = bytearray(80)
            try:
                fcntl.ioctl(self.fd, RECEIVE, notice, True)
                call, _, _, number, architecture = NOTICE.unpack(notice)
                self._counts[name_of(number, architecture)] += 1
                fcntl.ioctl(self.fd, SEND, ANSWER.pack(call, 0, -errno.EPERM, 0))
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.EINTR):  # else who called was killed meanwhile
                    raise
            if self.too_many():
                return

    def too_many(self) -> bool:
        """Whether it is more than any asset needs, so that answering would only keep us busy."""
        return self._counts.total() > MOST

    def __bool__(self) -> bool:
        return bool(self._counts)

    def __str__(self) -> str:
        """`3 × socket, 1 × execve`, the most frequent first."""
        said = [f"{count} × {name}" for name, count in self._counts.most_common(SHOWN)]
        return ", ".join([*said, "…"] if len(self._counts) > SHOWN else said)

    def clear(self) -> None:
        """Forgets the counts."""
        self._counts.clear()

    def close(self) -> None:
        """The kernel then refuses by itself. Idempotent."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def name_of(number: int, architecture: int) -> str:
    """A call's name; a number where it has none that we know."""
    machine = platform.machine()
    if architecture != ARCHITECTURES[machine]:
        return f"call {number} of another architecture"
    number &= 0xFFFFFFFF
    if machine == "x86_64" and number >= X32:
        return f"x32 call {number & ~X32}"
    return names(machine).get(number, f"call {number}")
