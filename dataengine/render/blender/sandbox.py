"""What the Blender process does to itself before it reads a stranger's file.

Everything here is best effort: containers and other kernels lack this or that, and the report says what is in force.
The limits work everywhere. Landlock confines file access, signals and abstract sockets; the capabilities of root go; a
seccomp filter, which the parent made (render/seccomp.py), lets only known system calls through. All of it comes before
bpy: Landlock and seccomp bind the calling thread and those it starts.
"""

import base64
import ctypes
import fcntl
import importlib.util
import os
import queue
import resource
import select
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/opt", "/sys/devices", "/sys/class", "/sys/bus", "/sys/dev")
SYSTEM_FILES = (
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/localtime",
    "/etc/fonts",
    "/etc/OpenCL",
    "/etc/vulkan",
    "/etc/glvnd",
    "/etc/nsswitch.conf",
)
PROC = ("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/self", "/proc/sys/vm", "/proc/driver", "/proc/modules")
DEVICES = ("/dev/null", "/dev/urandom", "/dev/random")
GPU_DEVICES = ("/dev/dri", "/dev/kfd", "/dev/nvidia-caps", "/dev/dxg")


def die_with_parent(life: int) -> None:
    """Ends this process when the write end of the pipe `life` closes, even in the middle of native code.

    The kernel sends SIGIO (default action: terminate) on the pipe's hang-up. For systems other than Linux, where
    keeper.py does more.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([life], [], [], 0)[0]:  # the parent was gone before we listened
        os._exit(4)


def line_buffer_stdout() -> None:
    """Makes C's stdout line-buffered: on a pipe it is not, and a crash would take Blender's last words with it."""
    name = "__stdoutp" if sys.platform == "darwin" else "stdout"
    libc = ctypes.CDLL(None)
    libc.setvbuf(ctypes.c_void_p.in_dll(libc, name), None, 1, 0)


def enter(settings: dict[str, Any], channel: socket.socket) -> dict[str, str]:
    """Applies the limits; returns what is in force, a word and its state for each measure.

    Args:
        settings: `out` (the folder to write in), `readable` (folders), `drivers` (whether GPU drivers work here),
            `address_space` and `file_size` (bytes, 0: unlimited), `filter` and `counting` (seccomp programs in base64,
            or nothing), `namespaces` (whether bubblewrap has put us in namespaces of our own).
        channel: to the parent, which counts what the filter `counting` refuses. Without it `filter` serves.
    """
    state = {"core_dumps": limit(resource.RLIMIT_CORE, 0)}
    for word, kind in (("address_space", resource.RLIMIT_AS), ("file_size", resource.RLIMIT_FSIZE)):
        state[word] = limit(kind, settings[word]) if settings[word] else "unlimited"
    if sys.platform != "linux":
        closed = ("files", "signals", "privileges", "system_calls", "network", "processes")
        return state | dict.fromkeys(closed, "open (its means are Linux's)")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0):  # PR_SET_NO_NEW_PRIVS, which Landlock and seccomp need
        return state | dict.fromkeys(("files", "system_calls"), f"open (no_new_privs: {last_error()})")
    own = settings["namespaces"]
    state |= confine_files(libc, settings["out"], settings["readable"], settings["drivers"])
    if own:
        state["namespaces"] = "own (bubblewrap): sees no other file, process or network"
        state["signals"] = "confined (bubblewrap): to itself"
    confined = own or state["files"].startswith("confined")
    state["privileges"] = drop_capabilities(libc, READ_SEARCH if confined else 0)
    programs = base64.b64decode(settings["counting"]), base64.b64decode(settings["filter"])
    return state | filter_calls(libc, *programs, settings["drivers"], own, channel)


def limit(kind: int, most: int) -> str:
    try:
        resource.setrlimit(kind, (most, most))
    except (ValueError, OSError) as error:  # macOS knows no limit of the address space
        return f"unlimited ({error})"
    return f"{most >> 20} MiB" if most else "off"


def last_error() -> str:
    return os.strerror(ctypes.get_errno())


# --- Landlock: linux/landlock.h. Access rights grow with the ABI; a rule may only name rights that the ruleset handles.
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
MAKE_CHAR, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = 1 << 6, 1 << 9, 1 << 10, 1 << 11, 1 << 12
TRUNCATE, IOCTL_DEV = 1 << 14, 1 << 15
ALL_V1 = (1 << 13) - 1
READ = EXECUTE | READ_FILE | READ_DIR
ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
NEVER = MAKE_CHAR | MAKE_SOCK | MAKE_FIFO | MAKE_BLOCK | MAKE_SYM  # not even in its own folder
NO_TCP = 0b11  # bind, connect
SCOPES = 0b11  # abstract UNIX sockets, signals
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same number on every architecture


def confine_files(libc: ctypes.CDLL, out: str, readable: list[str], drivers: bool) -> dict[str, str]:
    """Lets this process write plain files under `out` only, and read the system, Blender and `readable` only."""
    abi = libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if abi < 1:
        return dict.fromkeys(("files", "signals"), f"open (Landlock: {last_error()})")
    handled = ALL_V1
    handled |= (1 << 13) if abi >= 2 else 0  # REFER: renames and links across folders
    handled |= TRUNCATE if abi >= 3 else 0
    handled |= IOCTL_DEV if abi >= 5 else 0
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    attributes = struct.pack("<QQQ", handled, NO_TCP, SCOPES)[:size]
    ruleset = libc.syscall(CREATE_RULESET, attributes, ctypes.c_size_t(size), ctypes.c_uint32(0))
    if ruleset < 0:
        return dict.fromkeys(("files", "signals"), f"open (Landlock: {last_error()})")
    rules = {out: handled & ~NEVER}
    rules |= dict.fromkeys(devices(drivers), handled & (READ | WRITE_FILE | IOCTL_DEV | TRUNCATE))
    rules["/proc/self/clear_refs"] = handled & (WRITE_FILE | TRUNCATE)  # how an asset's peak memory is counted
    rules |= dict.fromkeys([*system_paths(), *readable], READ)
    for path, rights in rules.items():
        add_rule(libc, ruleset, path, rights)
    refused = libc.syscall(RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    os.close(ruleset)
    if refused:
        return dict.fromkeys(("files", "signals"), f"open (Landlock: {last_error()})")
    files = f"confined (Landlock {abi}): reads the system and the sources' folders, writes its own"
    return {"files": files, "signals": "confined (Landlock): to itself" if abi >= 6 else f"open (Landlock {abi} < 6)"}


def add_rule(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # not on this machine
    try:
        if not Path(path).is_dir():
            rights &= ON_FILES
        beneath = struct.pack("<Qi", rights, fd)
        libc.syscall(ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(1), beneath, ctypes.c_uint32(0))
    finally:
        os.close(fd)


def system_paths() -> list[str]:
    """What Python and Blender read while they work: their own trees and the system's libraries."""
    paths = [*SYSTEM, *SYSTEM_FILES, *PROC, sys.prefix, sys.base_prefix, *(p for p in sys.path if p)]
    if (bpy := importlib.util.find_spec("bpy")) and bpy.origin:
        paths.append(str(Path(bpy.origin).resolve().parent))
    paths.append(str(Path(__file__).resolve().parent))
    return paths


def devices(drivers: bool) -> list[str]:
    return [*DEVICES, *(gpu_devices() if drivers else [])]


def gpu_devices() -> list[str]:
    return [*GPU_DEVICES, *(str(p) for p in Path("/dev").glob("nvidia*"))]


# --- capabilities: linux/capability.h
READ_SEARCH = 1 << 2  # CAP_DAC_READ_SEARCH: root reads files of other users; which, Landlock decides


def drop_capabilities(libc: ctypes.CDLL, keep: int) -> str:
    """Gives up what root may do beyond its own files, all but `keep`, for good."""
    before = held_capabilities()
    libc.prctl(47, 4, 0, 0, 0)  # PR_CAP_AMBIENT_CLEAR_ALL
    for number in range(64):
        if not keep >> number & 1:
            libc.prctl(24, number, 0, 0, 0)  # PR_CAPBSET_DROP; without CAP_SETPCAP there is nothing to lose
    kept = before & keep
    header = struct.pack("<Ii", 0x20080522, 0)
    if libc.capset(header, struct.pack("<IIIIII", kept & 0xFFFFFFFF, kept & 0xFFFFFFFF, 0, 0, 0, 0)):
        return f"open (capset: {last_error()})"
    if not before:
        return "none"
    return "dropped" if not kept else "dropped, but for reading files of other users"


def held_capabilities() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapPrm:"):
            return int(line.split()[1], 16)
    return 0


# --- seccomp
CALL = {"x86_64": 317, "aarch64": 277}  # seccomp(2)
SET_MODE_FILTER, NEW_LISTENER = 1, 1 << 3


def filter_calls(
    libc: ctypes.CDLL, counting: bytes, program: bytes, drivers: bool, own_network: bool, channel: socket.socket
) -> dict[str, str]:
    """Loads the parent's filter for good: the one whose refusals the parent counts, or else the other."""
    why = "seccomp: no filter for this machine, or not wanted" if not program else ""
    uncounted = ""
    if program and (uncounted := load_counting(libc, counting, channel)):
        header, _kept = filter_header(program)
        if libc.prctl(22, 2, header, 0, 0):  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
            why = f"seccomp: {last_error()}"
    if why:
        state = dict.fromkeys(("system_calls", "network", "processes"), f"open ({why})")
        return state | ({"network": "none (bubblewrap)"} if own_network else {})
    network = "refused (seccomp): no sockets"
    if drivers:
        network = "refused (seccomp): no sockets but the GPU drivers' local ones"
    calls = "filtered (seccomp): an allow list" + (", wider for GPU drivers" if drivers else "")
    return {
        "system_calls": calls + (f"; what it refuses is not counted ({uncounted})" if uncounted else ""),
        "network": network,
        "processes": "refused (seccomp): threads only, no new programs",
    }


def filter_header(program: bytes) -> tuple[bytes, object]:
    """A struct sock_fprog, and the memory that it points to."""
    buffer = ctypes.create_string_buffer(program, len(program))
    return struct.pack("<HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer)), buffer


def load_counting(libc: ctypes.CDLL, program: bytes, channel: socket.socket) -> str:
    """Loads a filter with a listener and gives that to the parent, all of it; returns why this cannot be, or nothing.

    Whoever holds the listener decides what is refused: no copy may be left here. The filter lets nothing be sent, so
    a thread sends that is older than it; a filter binds the thread that loads it and those it starts.
    """
    threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208
    listeners: queue.SimpleQueue[int] = queue.SimpleQueue()
    sender = threading.Thread(target=give_away, args=(listeners, channel))
    sender.start()
    header, _kept = filter_header(program)
    number = ctypes.c_long(CALL[os.uname().machine])
    listener = libc.syscall(number, ctypes.c_ulong(SET_MODE_FILTER), ctypes.c_ulong(NEW_LISTENER), header)
    why = last_error() if listener < 0 else ""
    listeners.put(listener)
    sender.join()
    while len(os.listdir("/proc/self/task")) > threads:  # noqa: PTH208 - until it is gone, not only done
        time.sleep(0.001)
    return why


def give_away(listeners: "queue.SimpleQueue[int]", channel: socket.socket) -> None:
    listener = listeners.get()
    if listener >= 0:
        try:
            socket.send_fds(channel, [b"x"], [listener])
        finally:
            os.close(listener)
