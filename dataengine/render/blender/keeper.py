"""Stands between the engine and Blender on Linux, and ends with Blender whatever Blender has started.

Started by path: `python -I -S keeper.py LIFE COMMAND …`. It runs the command and leaves as that does, with the same
exit code or by the same signal. Processes that detach themselves (`setsid`, a double fork) become this process's
children, not init's, because it is a subreaper. All are killed when the command ends, when the engine asks
(SIGTERM), and when the engine is gone: the pipe `LIFE` closes then, and the kernel sends SIGIO.

PR_SET_PDEATHSIG alone would not do: it goes with the *thread* that started a process, and the engine has a pool of
them. This process has one thread only.
"""

import ctypes
import fcntl
import os
import resource
import select
import signal
import sys
import time

SET_PDEATHSIG, SET_CHILD_SUBREAPER = 1, 36
PATIENCE = 5.0  # seconds for the kernel to end what was killed


def main(life: int, command: list[str]) -> None:
    libc = ctypes.CDLL(None)
    libc.prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    stops = {signal.SIGTERM, signal.SIGIO}
    for number in stops:
        signal.signal(number, lambda *_: leave())
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([life], [], [], 0)[0]:  # the engine was gone before we listened
        os._exit(4)
    keeper = os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    child = os.fork()
    if child == 0:
        for number in stops:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, stops)
        libc.prctl(SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != keeper:
            os._exit(4)
        try:
            os.execv(command[0], command)
        except OSError as error:
            os.write(2, f"{command[0]}: {error.strerror}\n".encode())
            os._exit(127)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, stops)
    os.closerange(3, life)  # the engine waits for the pipes to close
    os.closerange(life + 1, 1 << 20)
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            break
    end_descendants()
    leave_like(status)


def leave() -> None:
    end_descendants()
    os._exit(4)


def leave_like(status: int) -> None:
    if os.WIFSIGNALED(status):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def end_descendants() -> None:
    """Kills and reaps every descendant: a killed one's children become ours, until we have none."""
    deadline = time.monotonic() + PATIENCE
    while not all_reaped() and time.monotonic() < deadline:
        for pid in descendants(os.getpid()):
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue
        time.sleep(0.002)


def all_reaped() -> bool:
    """Reaps what has ended; whether no child is left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
    except ChildProcessError:
        return True
    return False


def descendants(root: int) -> list[int]:
    """Process ids of the living descendants of `root`, from /proc. Zombies are left out."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - thousands of entries, and no pathlib in this process
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                    state, parent = file.read().rpartition(b") ")[2].split()[:2]
            except (OSError, ValueError):
                continue  # it has ended meanwhile
            children.setdefault(int(parent), []).append(int(name) if state != b"Z" else -int(name))
    found: list[int] = []
    waiting = [root]
    while waiting:
        for pid in children.get(waiting.pop(), []):
            waiting.append(abs(pid))
            if pid > 0:
                found.append(pid)
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
