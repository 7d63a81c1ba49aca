"""What the Blender process does to itself before it reads a stranger's file.

Everything here is best effort: containers and other kernels lack this or that, and the report says what is active.
The limits (memory, no core dump) work everywhere. Landlock confines file access, a seccomp filter refuses Internet
sockets and new programs. All of it comes before bpy: Landlock binds the calling thread and those it starts.
"""

import ctypes
import fcntl
import importlib.util
import os
import platform
import resource
import select
import signal
import struct
import sys
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
DEVICES = ("/dev/null", "/dev/urandom", "/dev/random", "/dev/dri", "/dev/kfd", "/dev/nvidia-caps")


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
    name = "__stdoutp" if sys.platform == "darwin" else "stdout"
    libc = ctypes.CDLL(None)
    libc.setvbuf(ctypes.c_void_p.in_dll(libc, name), None, 1, 0)


def enter(settings: dict[str, Any]) -> dict[str, str]:
    """Applies the limits; returns what is active, a word and its state for each measure."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    state = {"core_dumps": "off", "address_space": "unlimited"}
    if settings["address_space"]:
        try:
            resource.setrlimit(resource.RLIMIT_AS, (settings["address_space"],) * 2)
            state["address_space"] = f"{settings['address_space'] >> 20} MiB"
        except (ValueError, OSError) as error:  # macOS knows no such limit
            state["address_space"] = f"unlimited ({error})"
    if sys.platform != "linux":
        return state | {"files": "open (Landlock is Linux's)", "network": "open (seccomp is Linux's)"}
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0):  # PR_SET_NO_NEW_PRIVS, which both need
        return state | {"files": "open (no_new_privs refused)", "network": "open (no_new_privs refused)"}
    state["files"] = confine_files(libc, settings["out"], settings["readable"])
    state["network"] = refuse_network(libc)
    return state


# --- Landlock: linux/landlock.h. Access rights grow with the ABI; a rule may only name rights that the ruleset handles.
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
TRUNCATE, IOCTL_DEV = 1 << 14, 1 << 15
ALL_V1 = (1 << 13) - 1
READ = EXECUTE | READ_FILE | READ_DIR
ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same number on every architecture


def confine_files(libc: ctypes.CDLL, out: str, readable: list[str]) -> str:
    """Lets this process write under `out` only, and read the system, Blender and `readable` only."""
    abi = libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if abi < 1:
        return f"open (Landlock: {os.strerror(ctypes.get_errno())})"
    handled = ALL_V1
    handled |= (1 << 13) if abi >= 2 else 0  # REFER: renames and links across folders
    handled |= TRUNCATE if abi >= 3 else 0
    handled |= IOCTL_DEV if abi >= 5 else 0
    attributes = struct.pack("<QQ", handled, 0b11 if abi >= 4 else 0)  # no TCP bind, no TCP connect
    attributes = attributes if abi >= 4 else attributes[:8]
    ruleset = libc.syscall(CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    if ruleset < 0:
        return f"open (Landlock: {os.strerror(ctypes.get_errno())})"
    rules = {out: handled, **dict.fromkeys(devices(), handled & (READ | WRITE_FILE | IOCTL_DEV | TRUNCATE))}
    rules["/proc/self/clear_refs"] = handled & (WRITE_FILE | TRUNCATE)  # how peak memory is counted an asset
    rules |= dict.fromkeys([*system_paths(), *readable], READ)
    for path, rights in rules.items():
        add_rule(libc, ruleset, path, rights)
    refused = libc.syscall(RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    os.close(ruleset)
    if refused:
        return f"open (Landlock: {os.strerror(ctypes.get_errno())})"
    return f"confined (Landlock {abi}): reads the assets' folders, writes its own"


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


def devices() -> list[str]:
    return [*DEVICES, *(str(p) for p in Path("/dev").glob("nvidia*"))]


# --- seccomp: a classic BPF program over struct seccomp_data {int nr; u32 arch; u64 ip; u64 args[6]}.
NUMBERS = {
    "x86_64": (0xC000003E, 41, 59, 322),
    "aarch64": (0xC00000B7, 198, 221, 281),
}  # arch, socket, execve, execveat
LOAD, IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | 1  # SECCOMP_RET_ERRNO with EPERM


def refuse_network(libc: ctypes.CDLL) -> str:
    """Refuses IPv4 and IPv6 sockets and the start of other programs, with EPERM; other sockets (X11, drivers) stay."""
    if platform.machine() not in NUMBERS:
        return f"open (no filter for {platform.machine()})"
    arch, socket, execve, execveat = NUMBERS[platform.machine()]
    program = b"".join(
        struct.pack("<HBBI", *instruction)
        for instruction in [
            (LOAD, 0, 0, 4),
            (IF_EQUAL, 0, 8, arch),
            (LOAD, 0, 0, 0),
            (IF_EQUAL, 5, 0, execve),
            (IF_EQUAL, 4, 0, execveat),
            (IF_EQUAL, 0, 4, socket),
            (LOAD, 0, 0, 16),  # the first argument: the address family
            (IF_EQUAL, 1, 0, 2),
            (IF_EQUAL, 0, 1, 10),
            (RETURN, 0, 0, REFUSE),
            (RETURN, 0, 0, ALLOW),
        ]
    )
    buffer = ctypes.create_string_buffer(program)
    header = struct.pack("<HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    if libc.prctl(22, 2, header, 0, 0):  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        return f"open (seccomp: {os.strerror(ctypes.get_errno())})"
    return "refused (seccomp): no Internet sockets, no new programs"
