"""The system calls that a Blender process may make, as a seccomp program. Made here, only loaded over there.

An allow list: a call that syscalls.py does not name fails with EPERM, one that is newer than the table with ENOSYS, so
that the C library falls back as on an older kernel. Where the kernel can, those that fail with EPERM go through the
parent, which counts them (refusals.py). A change of mode is not made, and said to have worked. The calls of another
architecture of the same kernel (`int 0x80`, x32) are refused whole: their numbers mean something else. GPU drivers,
and the software OpenGL that EEVEE uses, get `drivers`: local and netlink sockets, every ioctl, anonymous memory files,
locks, priorities and affinities of threads.
"""

import errno
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dataengine.render.syscall_names import names
from dataengine.render.syscalls import NEWEST, numbers

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # AUDIT_ARCH_*
X32 = 0x40000000  # set in the number of a call of the x32 ABI, whose architecture reads as x86-64

# Classic BPF over struct seccomp_data {int nr; u32 arch; u64 instruction_pointer; u64 args[6]}; linux/seccomp.h.
LOAD, AND, IF_EQUAL, IF_GREATER, IF_AT_LEAST, RETURN = 0x20, 0x54, 0x15, 0x25, 0x35, 0x06
ALLOW = 0x7FFF0000
REFUSE = 0x00050000 | errno.EPERM
PRETEND = 0x00050000
COUNT = 0x7FC00000  # SECCOMP_RET_USER_NOTIF: whoever holds the listener answers, with EPERM
UNKNOWN = 0x00050000 | errno.ENOSYS

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant


@dataclass(frozen=True)
class Rule:
    """The call is allowed if argument `argument`, cut to its lower 32 bits and to `mask`, is one of `values`."""

    argument: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF


AF_UNIX, AF_NETLINK = 1, 16
THREAD = 0x00010000  # CLONE_THREAD: without it a process would come of it
NAMESPACES = 0x7E020000  # CLONE_NEW*, which take a namespace of their own
SET_ID = 0o6000  # set-user-id and set-group-id in a new file's mode
TERMINAL_AND_PIPES = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS TIOCGWINSZ FIONREAD FIONBIO FIO(N)CLEX
DUPLICATE_AND_FLAGS = (0, 1, 2, 3, 4, 5, 9, 1030, 1031, 1032, 1033, 1034)  # no locks, leases, owners of signals
NAME_AND_FACTS = (3, 15, 16, 21, 23, 29, 39, 41, 42, 0x53564D41)  # PR_*: names, timer slack, huge pages; PR_SET_VMA

FOR_DRIVERS = frozenset(
    [
        "socket",
        "socketpair",
        "connect",
        "sendto",
        "recvfrom",
        "sendmsg",
        "recvmsg",
        "recvmmsg",
        "sendmmsg",
        "shutdown",
        "getsockopt",
        "setsockopt",
        "getsockname",
        "getpeername",
        "memfd_create",
        "bind",
        "listen",
        "accept",
        "accept4",
        "flock",
        "kcmp",
        "setpriority",
        "sched_setscheduler",
        "sched_setparam",
        "sched_setattr",
    ]
)
PRETENDED = (
    "chmod",
    "fchmod",
    "fchmodat",
)  # done for all that the caller sees; USD's writer of temporary files warns else
AS_UNKNOWN = frozenset({"clone3", "openat2"})  # their flags lie in memory, where no filter can look


def program(machine: str, pid: int, drivers: bool, refuse: int = REFUSE) -> bytes | None:
    """The filter for the process `pid`, ready for PR_SET_SECCOMP; None if no table fits `machine`.

    Args:
        refuse: what happens to a call that is not allowed: REFUSE, or COUNT for a filter with a listener.
    """
    if machine not in ARCHITECTURES:
        return None
    rules = _rules(pid, drivers)
    code: list[Instruction] = [
        (LOAD, 0, 0, 4),
        (IF_EQUAL, 1, 0, ARCHITECTURES[machine]),
        (RETURN, 0, 0, refuse),
        (LOAD, 0, 0, 0),
    ]
    if machine == "x86_64":
        code += [(IF_AT_LEAST, 0, 1, X32), (RETURN, 0, 0, refuse)]
    for name, number in numbers(machine).items():
        if name in FOR_DRIVERS and not drivers:
            continue
        block = [(RETURN, 0, 0, UNKNOWN)] if name in AS_UNKNOWN else list(_block(rules.get(name), refuse))
        code += [(IF_EQUAL, 0, len(block), number), *block]
    calls = {name: number for number, name in names(machine).items()}
    for number in (calls[name] for name in PRETENDED if name in calls):
        code += [(IF_EQUAL, 0, 1, number), (RETURN, 0, 0, PRETEND)]
    # A driver that asks for what nobody has thought of takes it for an older kernel's, and does without.
    refused = UNKNOWN if drivers else refuse
    code += [(IF_GREATER, 0, 1, NEWEST), (RETURN, 0, 0, UNKNOWN), (RETURN, 0, 0, refused)]
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in code)


def _rules(pid: int, drivers: bool) -> dict[str, Rule]:
    """The calls that depend on an argument."""
    rules = {
        "clone": Rule(0, (THREAD,), THREAD | NAMESPACES),
        "kill": Rule(0, (pid,)),
        "tgkill": Rule(0, (pid,)),
        "prlimit64": Rule(0, (0, pid)),
        "sched_setaffinity": Rule(0, (0, pid)),
        "prctl": Rule(0, NAME_AND_FACTS),
        "fcntl": Rule(1, DUPLICATE_AND_FLAGS),
        "open": Rule(2, (0,), SET_ID),
        "openat": Rule(3, (0,), SET_ID),
        "creat": Rule(1, (0,), SET_ID),
    }
    if drivers:
        del rules["fcntl"], rules["sched_setaffinity"]  # locks of their caches, threads by their own number
        return rules | {"socket": Rule(0, (AF_UNIX, AF_NETLINK)), "socketpair": Rule(0, (AF_UNIX,))}
    return rules | {"ioctl": Rule(1, TERMINAL_AND_PIPES)}


def _block(rule: Rule | None, refuse: int) -> Iterator[Instruction]:
    """Decides one call whose number has been met; every path ends in a return."""
    if rule is None:
        yield (RETURN, 0, 0, ALLOW)
        return
    yield (LOAD, 0, 0, 16 + 8 * rule.argument)
    if rule.mask != 0xFFFFFFFF:
        yield (AND, 0, 0, rule.mask)
    yield from _one_of(rule.values)
    yield (RETURN, 0, 0, refuse)
    yield (RETURN, 0, 0, ALLOW)


def _one_of(values: Sequence[int]) -> Iterator[Instruction]:
    for position, value in enumerate(values):
        yield (IF_EQUAL, len(values) - position, 0, value)
