"""Functions of ours that read strangers' bytes, called in processes that can be killed.

A reader that never ends, that takes all memory, or whose C library falls over costs its asset and a process, not the
run. The processes are kept and used again; the bound is CPU time, which the kernel itself enforces, with a wall-clock
backstop. Started as `python -m dataengine.isolated REQUESTS REPLIES LIFE`, three file descriptors.
"""

import atexit
import contextlib
import importlib
import json
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dataengine.corpus.os_errors import explain, is_machine_fault
from dataengine.errors import AssetFailure, DataengineError, ErrorCode

ANSWER_BYTES = 64 << 20
CALLS = 5000  # of one process: what it may have leaked goes with it
KEPT_BYTES = 1 << 30  # of memory that it has held; a process that needed more is not kept
OWN_BYTES = 1 << 30  # of address space, which the interpreter and its libraries take
STOPPED = "reading was stopped"


def call(
    function: str, arguments: Mapping[str, Any], *, cpu_seconds: float, wall_seconds: float, memory_bytes: int
) -> Any:
    """Calls `module:function(**arguments)` in a process of its own; arguments and result are what JSON knows.

    Raises:
        AssetFailure: as the function does; TIMEOUT if it is over its time, OUT_OF_MEMORY if over its memory; MALFORMED
            for any other exception, and if the process dies of it twice: the bytes that it reads are to blame.
        DataengineError: for a fault of this machine (no memory, no file descriptors, a disk that fails).
    """
    request = json.dumps([function, arguments, cpu_seconds, memory_bytes]).encode()
    for attempt in (1, 2):
        with _POOL.process() as process:
            answer = process.ask(request, wall_seconds)
        if answer is not None:
            return _opened(answer)
        if process.stopped:
            raise DataengineError(STOPPED)
        if process.timed_out:
            raise AssetFailure(ErrorCode.TIMEOUT, f"reading it took more than {cpu_seconds:g} CPU seconds")
        if attempt == 2:
            raise AssetFailure(ErrorCode.MALFORMED, f"reading it ended the process that read it ({process.ended})")
    raise AssertionError("unreachable")


def stop() -> None:
    """Ends every process from any thread; calls in progress raise DataengineError, later ones start anew."""
    _POOL.stop()


def _opened(answer: bytes) -> Any:
    try:
        data = json.loads(answer)
        kind, value = data
    except (ValueError, TypeError, RecursionError) as error:
        raise AssetFailure(ErrorCode.MALFORMED, "reading it gave nonsense") from error
    if kind == "failure":
        raise AssetFailure(ErrorCode(value[0]), value[1])
    if kind == "machine":
        raise DataengineError(value)
    return value


class _Process:
    """One process, for one thread at a time."""

    def __init__(self) -> None:
        to_child, self._requests = os.pipe()
        self._replies, from_child = os.pipe()
        life, self._life = os.pipe()
        ends = (to_child, from_child, life)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dataengine.isolated", *map(str, ends)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=ends,
                start_new_session=True,  # Ctrl-C is for the engine, which ends us
                env={**os.environ, "PYTHONPATH": os.pathsep.join(p or str(Path.cwd()) for p in sys.path)},
            )
        except OSError:
            for fd in (self._requests, self._replies, self._life):
                os.close(fd)
            raise
        finally:
            for fd in ends:
                os.close(fd)
        self.calls = 0
        self.stopped = self.timed_out = self.worn = False
        self.ended = ""

    def ask(self, request: bytes, wall_seconds: float) -> bytes | None:
        """The answer, or None when the process is gone, reaped, and says why by its attributes."""
        self.calls += 1
        deadline = time.monotonic() + wall_seconds
        try:
            _write(self._requests, struct.pack("<I", len(request)) + request)
            answer = self._receive(deadline)
        except (BrokenPipeError, EOFError):
            self.end()
            return None
        except TimeoutError:
            self.timed_out = True
            self.end()
            return None
        self.worn = self.calls >= CALLS or struct.unpack_from("<Q", answer)[0] > KEPT_BYTES
        return answer[8:]

    def _receive(self, deadline: float) -> bytes:
        data = bytearray()
        while len(data) < 12 or len(data) < 12 + struct.unpack_from("<I", data)[0]:
            if not select.select([self._replies], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise TimeoutError
            piece = os.read(self._replies, 1 << 20)
            if not piece or len(data) > ANSWER_BYTES:
                raise EOFError
            data += piece
        return bytes(data[4:])

    def interrupt(self) -> None:
        """Kills it from another thread; the one that waits for it does the rest."""
        self.stopped = True
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def end(self) -> None:
        """Kills and reaps it. Idempotent."""
        if self._requests >= 0:
            for fd in (self._requests, self._replies, self._life):
                os.close(fd)
            self._requests = -1
        with contextlib.suppress(subprocess.TimeoutExpired):  # it may be ending by itself, and has something to say
            self._process.wait(1.0 if not self.timed_out else 0)
        self._process.kill()
        code = self._process.wait()
        self.timed_out |= code == -signal.SIGPROF
        self.ended = f"exit code {code}" if code >= 0 else signal.Signals(-code).name


class _Pool:
    """Processes that are idle, and those that are lent."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Process] = []
        self._lent: set[_Process] = set()

    @contextlib.contextmanager
    def process(self) -> Iterator[_Process]:
        with self._lock:
            process = self._idle.pop() if self._idle else None
        try:
            process = process or _Process()
        except OSError as error:
            raise DataengineError(explain(error, f"cannot start {sys.executable}")) from error
        with self._lock:
            self._lent.add(process)
        try:
            yield process
        except BaseException:
            process.worn = True
            raise
        finally:
            with self._lock:
                self._lent.discard(process)
                keep = not process.ended and not process.worn and not process.stopped
                if keep:
                    self._idle.append(process)
            if not keep:
                process.end()

    def stop(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
            for process in self._lent:
                process.interrupt()
        for process in idle:
            process.end()


_POOL = _Pool()
atexit.register(_POOL.stop)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


# --- in the child
def serve(requests: int, replies: int, life: int) -> None:
    """Answers calls until the parent closes the pipe."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_leave_with_parent, args=(life,), daemon=True).start()
    while (head := _read(requests, 4)) and (body := _read(requests, struct.unpack("<I", head)[0])):
        function, arguments, cpu_seconds, memory_bytes = json.loads(body)
        with contextlib.suppress(ValueError, OSError):  # macOS has no such limit
            most = resource.getrlimit(resource.RLIMIT_AS)[1]
            resource.setrlimit(resource.RLIMIT_AS, (memory_bytes + OWN_BYTES, most))
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)  # the signal's default action ends the process
        answer = json.dumps(_answer(function, arguments, memory_bytes)).encode()
        signal.setitimer(signal.ITIMER_PROF, 0)
        _write(replies, struct.pack("<IQ", len(answer), _peak_bytes()) + answer)


def _answer(function: str, arguments: Mapping[str, Any], memory_bytes: int) -> list[Any]:
    module, _, name = function.partition(":")
    target: Callable[..., Any] = getattr(importlib.import_module(module), name)
    try:
        return ["result", target(**arguments)]
    except AssetFailure as failure:
        return ["failure", [failure.code.value, failure.message]]
    except DataengineError as error:
        return ["machine", str(error)]
    except MemoryError:
        message = f"reading it takes more than {memory_bytes >> 20} MiB of memory"
        return ["failure", [ErrorCode.OUT_OF_MEMORY.value, message]]
    except OSError as error:
        if is_machine_fault(error):
            return ["machine", explain(error, str(error.filename or "a model's file"))]
        return ["failure", [ErrorCode.MALFORMED.value, f"cannot be read: {error}"]]
    except RecursionError:
        return ["failure", [ErrorCode.MALFORMED.value, "nested too deeply"]]
    except Exception as error:  # noqa: BLE001 - a reader that trips over a stranger's bytes
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return ["failure", [ErrorCode.MALFORMED.value, f"breaks its format's rules in a way of its own ({said})"]]


def _peak_bytes() -> int:
    """The most memory that this program has held. On Linux not `ru_maxrss`: a child begins with its parent's."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _read(fd: int, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := os.read(fd, size - len(data))):
        data += piece
    return data if len(data) == size else b""


def _leave_with_parent(life: int) -> None:
    os.read(life, 1)
    os._exit(4)


if __name__ == "__main__":
    serve(*map(int, sys.argv[1:4]))
