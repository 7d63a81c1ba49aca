"""What code inside a Blender process can reach: nothing beyond its own folder, its own threads and its own time."""

import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from dataengine.corpus.config import Limits
from dataengine.errors import AssetFailure, DataengineError, ErrorCode
from dataengine.render import confinement, seccomp
from dataengine.render.asset import complaints_in
from dataengine.render.blender.protocol import RenderRequest
from dataengine.render.confinement import Sandbox, choose_sandbox, in_force, why_no_bubblewrap
from dataengine.render.pool import BlenderPool
from dataengine.render.syscall_names import names
from tests.render.models import request
from tests.render.taken_over import linux_only, run, taken_over

pytestmark = linux_only

PROBE = """
import ctypes, errno, fcntl, mmap, os, resource, signal, socket
libc = ctypes.CDLL(None, use_errno=True)
result = {}

def of(name, tried):
    try:
        value = tried()
    except OSError as error:
        result[name] = errno.errorcode.get(error.errno, str(error.errno))
    else:
        result[name] = "allowed" if value != -1 else errno.errorcode[ctypes.get_errno()]

def call(number, *arguments):
    return libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])

def legacy(number, a=0, b=0, c=0):
    "A call of the i386 ABI from 64-bit code."
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(bytes.fromhex("5389f889f387d1cd805b4898c3"))
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    value = ctypes.CFUNCTYPE(ctypes.c_long, *[ctypes.c_long] * 4)(address)(number, a, b, c)
    if value < 0:
        raise OSError(-value, "")
    return value

outside, own = outside.encode(), os.path.join(request.out, "own")
for name, family, kind, protocol in [
    ("AF_INET", 2, 2, 0), ("AF_INET6", 10, 1, 0), ("MPTCP", 2, 1, 262), ("raw ICMP", 2, 3, 1), ("AF_UNIX", 1, 1, 0),
    ("AF_NETLINK", 16, 3, 0), ("AF_PACKET", 17, 3, 768), ("AF_VSOCK", 40, 1, 0), ("AF_XDP", 44, 3, 0),
    ("AF_ALG", 38, 5, 0), ("AF_BLUETOOTH", 31, 3, 0),
]:
    of(name, lambda: libc.socket(family, kind, protocol))
of("socketpair", lambda: socket.socketpair())
of("chmod", lambda: os.chmod(outside, 0o777))
of("chown", lambda: os.chown(outside, os.getuid(), os.getgid()))
of("utime", lambda: os.utime(outside))
of("setxattr", lambda: os.setxattr(outside, "user.x", b"1"))
of("flock", lambda: fcntl.flock(os.open(request.path, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB))
of("lock", lambda: fcntl.lockf(os.open(request.path, os.O_RDONLY), fcntl.LOCK_SH | fcntl.LOCK_NB))
of("lease", lambda: fcntl.fcntl(os.open(request.path, os.O_RDONLY), fcntl.F_SETLEASE, fcntl.F_RDLCK))
of("symlink", lambda: os.symlink(outside, own + ".link"))
of("link", lambda: os.link(request.path, own + ".hard"))
of("fifo", lambda: os.mkfifo(own + ".fifo"))
of("mknod", lambda: os.mknod(own + ".node", 0o20666, os.makedev(1, 3)))
of("set-user-id file", lambda: os.open(own + ".suid", os.O_CREAT | os.O_WRONLY, 0o4755))
of("signal 0 to the parent", lambda: os.kill(parent, 0))
of("signal to a sibling", lambda: os.kill(sibling, signal.SIGCONT))
of("tgkill of a sibling", lambda: call(tgkill, sibling, sibling, signal.SIGCONT))
of("pidfd_open of a sibling", lambda: call(434, sibling, 0))
of("prlimit of a sibling", lambda: resource.prlimit(sibling, resource.RLIMIT_CORE, (0, 0)))
of("priority of a sibling", lambda: os.setpriority(os.PRIO_PROCESS, sibling, 10))
of("affinity of a sibling", lambda: os.sched_setaffinity(sibling, [0]))
of("scheduler of a sibling", lambda: os.sched_setscheduler(sibling, os.SCHED_BATCH, os.sched_param(0)))
of("fork", os.fork)
of("vfork", lambda: os.posix_spawn("/bin/true", ["true"], {}))
of("execve", lambda: os.execv("/bin/true", ["true"]))
of("setsid", os.setsid)
of("io_uring", lambda: call(425, 8, ctypes.create_string_buffer(120)))
of("unshare user", lambda: libc.unshare(0x10000000))
of("unshare net", lambda: libc.unshare(0x40000000))
of("unshare mount", lambda: libc.unshare(0x00020000))
of("setns", lambda: libc.setns(os.open("/proc/self/ns/net", os.O_RDONLY), 0))
of("clone into a namespace", lambda: call(clone, 0x10000000 | 17, 0, 0, 0, 0))
of("clone3", lambda: call(435, ctypes.create_string_buffer(88), 88))
of("ptrace of the parent", lambda: libc.ptrace(16, parent, 0, 0))
of("process_vm_readv", lambda: libc.process_vm_readv(parent, None, 0, None, 0, 0))
of("mount", lambda: libc.mount(b"none", request.out.encode(), b"tmpfs", 0, None))
of("chroot", lambda: os.chroot(request.out))
of("sethostname", lambda: libc.sethostname(b"pwned", 5))
of("personality", lambda: libc.personality(0x0040000))
of("setuid", lambda: os.setuid(os.getuid()))
of("setgroups", lambda: os.setgroups([]))
of("memfd", lambda: os.memfd_create("x"))
of("shmget", lambda: libc.shmget(0, 4096, 0o1600))
for name, number in numbers.items():
    of(name, lambda: call(number, 0, 0, 0, 0, 0))
if x86:
    of("int 0x80 getpid", lambda: legacy(20))
    of("int 0x80 socket", lambda: legacy(359, 2, 2, 0))
    of("int 0x80 execve", lambda: legacy(11))
    of("x32 getpid", lambda: call(0x40000000 | 39))
    of("x32 socket", lambda: call(0x40000000 | 41, 2, 2, 0))
try:
    with open(own, "wb") as file:
        file.seek(file_size)
        file.write(b"x")
    result["large file"] = "allowed"
except OSError as error:
    result["large file"] = errno.errorcode[error.errno]
os.kill(os.getpid(), 0)
result["capabilities"] = [l.split()[1] for l in open("/proc/self/status") if l.startswith(("CapEff", "CapPrm"))]
"""
X86 = platform.machine() == "x86_64"
OTHERS = {  # name: number on x86-64, on aarch64
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "bpf": (321, 280),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "quotactl": (179, 60),
    "syslog": (103, 116),
    "reboot": (169, 142),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "kcmp": (312, 272),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "init_module": (175, 105),
    "swapon": (167, 224),
}
UNKNOWN = {"clone3"}  # ENOSYS, so that the C library takes the older call
PRETENDED = {"chmod"}  # said to be done, and not done


@pytest.mark.parametrize("sandbox", ["kernel", "bwrap"])
def test_everything_beyond_its_own_work_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox
) -> None:
    if sandbox == "bwrap" and (missing := why_no_bubblewrap()):
        pytest.skip(missing)
    outside = tmp_path / "outside"
    outside.write_text("mine")
    limits = Limits(memory_bytes=1 << 30, wall_seconds=60)
    with taken_over(tmp_path, monkeypatch, limits, sandbox) as pool, psutil.Popen(["sleep", "60"]) as sibling:
        try:
            with pool.worker() as worker:
                state = worker.ask("sandbox")["sandbox"]
            if state["system_calls"].startswith("open"):
                pytest.skip(state["system_calls"])
            found = run(
                pool,
                tmp_path,
                PROBE,
                outside=str(outside),
                parent=os.getpid(),
                sibling=sibling.pid,
                x86=X86,
                clone=56 if X86 else 220,
                tgkill=234 if X86 else 131,
                numbers={name: pair[0 if X86 else 1] for name, pair in OTHERS.items()},
                file_size=limits.memory_bytes,
            )
        finally:
            sibling.kill()
    capabilities = found.pop("capabilities")
    assert found.pop("large file") == "EFBIG"
    assert len(found) > 60
    ends = dict.fromkeys(found, "EPERM") | dict.fromkeys(UNKNOWN, "ENOSYS") | dict.fromkeys(PRETENDED, "allowed")
    assert found == ends
    assert all(int(held, 16) & ~(1 << 2) == 0 for held in capabilities)
    assert outside.stat().st_mode & 0o777 != 0o777


ATTACK = """
import os, socket
for _ in range(3):
    try:
        socket.socket()
    except PermissionError:
        pass
for path in ("/bin/true", "/bin/false"):
    try:
        os.execv(path, [path])
    except PermissionError:
        pass
if flood:
    while True:
        try:
            os.setsid()
        except PermissionError:
            pass
os.chmod(request.out, 0o700)
print("an error of its own")
"""


def attack(pool: BlenderPool, folder: Path, flood: bool) -> AssetFailure:
    script = folder / "assets" / "attack.glb"
    script.write_text(f"flood = {flood}\n{ATTACK}\nreply = RenderReply(error='EMPTY_SCENE', message='attacked')")
    with pytest.raises(AssetFailure) as failure:
        pool.render(request(script))
    return failure.value


@pytest.mark.parametrize("sandbox", ["kernel", "bwrap"])
def test_refused_calls_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    if sandbox == "bwrap" and (missing := why_no_bubblewrap()):
        pytest.skip(missing)
    with taken_over(tmp_path, monkeypatch, sandbox=sandbox) as pool:
        with pool.worker() as worker:
            if "not counted" in (state := worker.ask("sandbox")["sandbox"]["system_calls"]):
                pytest.skip(state)
            before = worker.pid
        failed = attack(pool, tmp_path, flood=False)
        assert (failed.code, failed.message) == (ErrorCode.EMPTY_SCENE, "attacked")
        said = "Blender was refused 3 × socket, 2 × execve"
        assert complaints_in(failed.log or "") == ["an error of its own", said]
        with pool.worker() as worker:
            worker.ask("sandbox")
            assert worker.pid != before, "what has tried such things serves no other asset"
        run(pool, tmp_path, "import os; os.chmod(request.out, 0o755)")


def test_a_flood_of_refused_calls_ends_the_asset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with taken_over(tmp_path, monkeypatch) as pool:
        with pool.worker() as worker:
            if "not counted" in (state := worker.ask("sandbox")["sandbox"]["system_calls"]):
                pytest.skip(state)
        failed = attack(pool, tmp_path, flood=True)
        assert failed.code == ErrorCode.CRASH
        assert "996 × setsid, 3 × socket, 2 × execve" in failed.message


LISTENER = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
result = [os.readlink(link) for link in links if os.path.lexists(link)]
again = libc.syscall(seccomp, 1, 8, (ctypes.c_char * 16)())
result += [errno.errorcode[ctypes.get_errno()], len(os.listdir("/proc/self/task"))]
"""


def test_the_child_keeps_no_say_in_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever holds the listener could allow every call, and so could a thread from before the filter."""
    with taken_over(tmp_path, monkeypatch) as pool:
        *held, again, threads = run(pool, tmp_path, LISTENER, seccomp=317 if X86 else 277)
    assert threads == 1
    assert again == "EPERM"
    assert not [name for name in held if "seccomp" in name or "socket" in name]


def test_a_kernel_that_cannot_count_refuses_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the kernel is older than 5.0, or a container has a listener of its own: seccomp(2) fails."""
    program = seccomp.program
    monkeypatch.setattr(
        seccomp, "program", lambda m, p, d, refuse: program(m, p, d, refuse) if refuse == seccomp.REFUSE else b"\0" * 8
    )
    with taken_over(tmp_path, monkeypatch) as pool:
        with pool.worker() as worker:
            state = worker.ask("sandbox")["sandbox"]
        assert (
            state["system_calls"].startswith("filtered") and "not counted (Invalid argument)" in state["system_calls"]
        )
        failed = attack(pool, tmp_path, flood=False)
        assert complaints_in(failed.log or "") == ["an error of its own"]


THREADS = """
import threading, time
threading.stack_size(1 << 16)
while True:
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
"""


def test_threads_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "many.glb"
    script.write_text(THREADS)
    with (
        taken_over(tmp_path, monkeypatch) as pool,
        pytest.raises(AssetFailure, match="threads; the limit is") as failure,
    ):
        pool.render(request(script))
    assert failure.value.code == ErrorCode.CRASH


def test_calls_have_the_names_of_the_kernels_headers() -> None:
    """asm/unistd_64.h and asm-generic/unistd.h."""
    assert {names("x86_64")[n] for n in (59, 101, 425, 41, 0)} == {
        "execve",
        "ptrace",
        "io_uring_setup",
        "socket",
        "read",
    }
    assert {names("aarch64")[n] for n in (221, 117, 425, 198, 63)} == {
        *("execve", "ptrace", "io_uring_setup", "socket", "read"),
    }


def test_each_architecture_has_its_table() -> None:
    """The numbers of a few calls, from the kernel's headers: asm/unistd_64.h and asm-generic/unistd.h."""
    from dataengine.render.syscalls import numbers

    assert {n: numbers("x86_64")[n] for n in ("read", "openat", "clone", "futex")} == {
        "read": 0,
        "openat": 257,
        "clone": 56,
        "futex": 202,
    }
    assert {n: numbers("aarch64")[n] for n in ("read", "openat", "clone", "futex")} == {
        "read": 63,
        "openat": 56,
        "clone": 220,
        "futex": 98,
    }
    for machine in ("x86_64", "aarch64"):
        program = seccomp.program(machine, 1, drivers=False)
        assert program and len(program) // 8 < 4096, "BPF_MAXINSNS"
        assert len(set(numbers(machine).values())) == len(numbers(machine))
    assert seccomp.program("riscv64", 1, drivers=False) is None


DAEMON = """
import ctypes, os, time
pid = os.fork()
if pid == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    ctypes.CDLL(None).prctl(15, name.encode(), 0, 0, 0)
    open(told, "w").write("x")
    held = bytearray(200 << 20)
    time.sleep(600)
os.waitpid(pid, 0)
while not os.path.exists(told) or not open(told).read():
    time.sleep(0.01)
"""


NAME = f"stray{os.getpid()}"


def daemon(pool: BlenderPool, folder: Path, then: str) -> RenderRequest:
    """An asset that detaches a process of 200 MiB, which it waits to see, and does `then`."""
    with pool.worker() as worker:
        told = worker.scratch / "told"
    script = folder / "assets" / "daemon.glb"
    script.write_text(f"told, name = {str(told)!r}, {NAME!r}\n{DAEMON}\n{then}\n")
    return request(script)


def still_there() -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["name"]) if p.info["name"] == NAME]


@pytest.mark.parametrize("end", ["", "os.abort()"], ids=["answers", "crashes"])
def test_a_daemon_is_gone_with_its_asset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    """Where the kernel has no seccomp, forking is possible; the keeper finds what has detached itself."""
    monkeypatch.setattr(seccomp, "program", lambda *_: None)
    with taken_over(tmp_path, monkeypatch) as pool:
        with pytest.raises(AssetFailure) as failure:
            pool.render(daemon(pool, tmp_path, end))
        assert failure.value.code == ErrorCode.CRASH
        assert not still_there()


def test_what_a_daemon_uses_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "program", lambda *_: None)
    with taken_over(tmp_path, monkeypatch, Limits(memory_bytes=160 << 20, wall_seconds=60)) as pool:
        with pytest.raises(AssetFailure) as failure:
            pool.render(daemon(pool, tmp_path, "time.sleep(600)"))
        assert failure.value.code == ErrorCode.OUT_OF_MEMORY
        assert not still_there()


FILL = """
import os, time
for n in range(60):
    file = os.open(os.path.join(request.out, str(n)), os.O_CREAT | os.O_RDWR)
    if deleted:
        os.unlink(os.path.join(request.out, str(n)))
    os.write(file, bytes(8 << 20))
    time.sleep(0.02)
time.sleep(600)
"""


@pytest.mark.parametrize("deleted", [False, True])
def test_scratch_counts_as_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deleted: bool) -> None:
    with taken_over(tmp_path, monkeypatch, Limits(memory_bytes=256 << 20, wall_seconds=60)) as pool:
        with pytest.raises(AssetFailure, match="temporary files") as failure:
            script = tmp_path / "assets" / "fill.glb"
            script.write_text(f"deleted = {deleted}\n{FILL}")
            pool.render(request(script))
        assert failure.value.code == ErrorCode.OUT_OF_MEMORY
        with pool.worker() as worker:
            assert not [p for p in worker.scratch.rglob("*") if p.is_file() and p.stat().st_size >= 8 << 20]


def test_a_start_that_somebody_kills_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with taken_over(tmp_path, monkeypatch) as pool:
        once = tmp_path / "assets" / "once"
        once.write_text("")
        bpy = tmp_path / "false" / "bpy.py"
        kill = f"import os\nif os.stat({str(once)!r}).st_size == 0: import time; time.sleep(600)\n"
        bpy.write_text(kill + bpy.read_text())

        others = {child.pid for child in psutil.Process().children(recursive=True)}  # Blenders of other tests

        def strike() -> None:
            started = time.monotonic()
            while time.monotonic() - started < 30:
                for child in psutil.Process().children(recursive=True):
                    if child.pid in others:
                        continue
                    with suppress(psutil.Error):  # it may end while it is looked at
                        words = str(child.cmdline())
                        if "start.py" in words and "keeper.py" not in words:
                            time.sleep(0.5)
                            once.write_text("x")
                            child.kill()
                            return
                time.sleep(0.05)

        thread = threading.Thread(target=strike)
        thread.start()
        assert run(pool, tmp_path, "result = 7") == 7
        thread.join()


def test_the_log_says_what_is_in_force_and_what_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "program", lambda *_: None)
    said: list[str] = []
    with taken_over(tmp_path, monkeypatch) as pool:
        pool._on_sandbox = lambda state: said.append(in_force(state, "kernel"))
        for _ in range(2):
            with pool.worker() as worker:
                worker.ask("sandbox")
                worker.close()
    assert len(said) == 1
    closed, opened = said[0].split("; NOT in force: ")
    assert "privileges" in closed and "system calls" not in closed
    assert "system calls: open (seccomp: no filter for this machine, or not wanted)" in opened


HALF_DEAD = """#!{python}
# As bubblewrap is when its outer process is killed while the inner one waits for it: nothing ends that by itself.
import os, time
if os.fork() == 0:
    os.setsid()
    os.close(1), os.close(2)
    open({told!r}, "w").write(str(os.getpid()))
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_engine_that_is_killed_leaves_no_bubblewrap(tmp_path: Path, number: signal.Signals) -> None:
    program, told = tmp_path / "bwrap", tmp_path / "told"
    program.write_text(HALF_DEAD.format(python=sys.executable, told=str(told)))
    program.chmod(0o755)
    code = "from dataengine.render.confinement import why_no_bubblewrap; why_no_bubblewrap()"
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with psutil.Popen([sys.executable, "-c", code], env=environment) as engine:
        assert wait_for(lambda: told.exists() and told.read_text())
        inner = psutil.Process(int(told.read_text()))
        engine.send_signal(number)
        engine.wait()
    assert wait_for(lambda: not inner.is_running())


def wait_for(happened: Callable[[], object]) -> bool:
    deadline = time.monotonic() + 30
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(happened())


def test_bubblewrap_that_is_wanted_and_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement.shutil, "which", lambda name: None)
    why_no_bubblewrap.cache_clear()
    try:
        with pytest.raises(DataengineError, match="apt-get install .* bubblewrap"):
            choose_sandbox("bwrap")
        assert choose_sandbox("auto") == "kernel"
    finally:
        why_no_bubblewrap.cache_clear()
    with pytest.raises(DataengineError, match="unknown sandbox 'x'"):
        choose_sandbox("x")
