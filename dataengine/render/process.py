"""One Blender process, seen from the parent: start it, ask it, watch it, kill it."""

import contextlib
import json
import os
import re
import selectors
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from dataengine.errors import DataengineError

PROGRAM = Path(__file__).parent / "blender" / "start.py"
START_SECONDS = 180.0  # wall; a cold disk reads 800 MB of libraries
POLL_SECONDS = 0.05
LOG_BYTES = 32 << 10
LOG_LINES = 30
PROGRESS = re.compile(r"Fra:\d+ Mem:|Saved: '|Time: \d\d:")
# What Blender and the GPU drivers may want to know; credentials and the like stay with the parent.
ENVIRONMENT = re.compile(
    r"^(PATH|LANG|LC_\w+|TZ|LD_LIBRARY_PATH|VIRTUAL_ENV|PYTHON(HOME|PATH|UNBUFFERED)|XDG_RUNTIME_DIR|DISPLAY"
    r"|(CUDA|NVIDIA|OPTIX|HIP|ROCR?|HSA|AMD|ONEAPI|SYCL|ZE|UR|EGL|LIBGL|MESA|GALLIUM|LP|VK|__EGL|__GLX|CYCLES)_\w+)$"
)
APT_PACKAGES = {
    "libX11.so.6": "libx11-6",
    "libXrender.so.1": "libxrender1",
    "libXfixes.so.3": "libxfixes3",
    "libXi.so.6": "libxi6",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libGL.so.1": "libgl1",
    "libSM.so.6": "libsm6",
    "libICE.so.6": "libice6",
    "libXext.so.6": "libxext6",
}


class Died(Exception):
    """The process ended, or was killed for what it used.

    Attributes:
        reason: 'crash', 'cpu', 'wall' or 'memory'.
        message: one line for a person.
        log: what it printed last.
    """

    def __init__(self, reason: str, message: str, log: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.log = log


@dataclass(frozen=True)
class Allowance:
    """What one request may use: CPU seconds, wall seconds as a backstop, bytes resident."""

    cpu_seconds: float
    wall_seconds: float
    memory_bytes: int


class BlenderProcess:
    """A started, ready Blender. Raises DataengineError when it cannot be started.

    `threads` is the most that a request may ask for; 0: as many as there are cores.
    """

    def __init__(self, out: Path, memory_bytes: int, readable: Sequence[Path], gpu: bool, threads: int = 0) -> None:
        to_child, self._requests = os.pipe()
        self._replies, from_child = os.pipe()
        life, self._life = os.pipe()
        self._log_fd, log_end = os.pipe()
        os.set_blocking(self._log_fd, False)
        self._log = bytearray()
        ends = (to_child, from_child, life)
        settings = {
            "out": str(out),
            "readable": [str(p) for p in readable],
            "threads": threads,
            "address_space": 0 if gpu else memory_bytes + (2 << 30) + (128 << 20) * (os.cpu_count() or 1),
        }
        python = blender_python()
        try:
            self._process = subprocess.Popen(
                [python, str(PROGRAM), *map(str, ends), json.dumps(settings)],
                stdin=subprocess.DEVNULL,
                stdout=log_end,
                stderr=log_end,
                pass_fds=ends,
                start_new_session=True,
                env=child_environment(out),
            )
        except OSError as error:
            self._close_pipes()
            raise DataengineError(
                f"cannot start {python}: {error.strerror}; check DATAENGINE_BLENDER_PYTHON"
            ) from error
        finally:
            for fd in (*ends, log_end):
                os.close(fd)
        self.pid = self._process.pid
        self._watched = psutil.Process(self.pid)
        try:
            hello = self._receive(Allowance(START_SECONDS, START_SECONDS, 1 << 62))
        except Died as died:
            raise DataengineError(cannot_start(python, died.log)) from died
        if not hello["ready"]:
            self.kill()
            raise DataengineError(cannot_start(python, hello["error"]))
        self.blender: str = hello["blender"]
        self.sandbox: dict[str, str] = hello["sandbox"]

    def ask(self, message: dict[str, Any], allowance: Allowance) -> dict[str, Any]:
        """Sends one message and waits for its answer. Raises Died, the process then being gone, and reaped."""
        self._log.clear()
        body = json.dumps(message).encode()
        try:
            write_all(self._requests, struct.pack("<I", len(body)) + body)
        except BrokenPipeError:
            raise self._bury("crash") from None
        return self._receive(allowance)

    def log(self) -> str:
        """The last lines that it printed since it was asked."""
        self._drain_log()
        text = self._log.decode("utf-8", "replace").replace("\0", "")
        lines = [line for line in text.splitlines() if line.strip() and not PROGRESS.match(line)]
        return "\n".join(line.rstrip()[:500] for line in lines[-LOG_LINES:])

    def resident_bytes(self) -> int:
        try:
            return int(self._watched.memory_info().rss)
        except psutil.Error:
            return 0

    def kill(self) -> None:
        """Kills the process and its group, and reaps it. Idempotent."""
        self.interrupt()
        self._process.wait()
        self._close_pipes()

    def interrupt(self) -> None:
        """Kills the process and its group and leaves the rest to the thread that waits for it."""
        if self._process.returncode is None:  # not yet reaped, so the number is still its own
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def _receive(self, allowance: Allowance) -> dict[str, Any]:
        deadline = time.monotonic() + allowance.wall_seconds
        cpu_at_start = self._cpu_seconds()
        data = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(self._replies, selectors.EVENT_READ)
            selector.register(self._log_fd, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in selector.select(POLL_SECONDS)}
                if self._log_fd in ready and not self._drain_log():
                    selector.unregister(self._log_fd)
                if self._replies in ready:
                    piece = os.read(self._replies, 1 << 20)
                    if not piece:
                        raise self._bury("crash")
                    data += piece
                    if len(data) >= 4 and len(data) >= 4 + struct.unpack_from("<I", data)[0]:
                        return dict(json.loads(data[4:]))
                if self._cpu_seconds() - cpu_at_start > allowance.cpu_seconds:
                    raise self._bury("cpu", f"used up its {allowance.cpu_seconds:g} CPU seconds")
                if time.monotonic() > deadline:
                    raise self._bury("wall", f"was not done after {allowance.wall_seconds:g} s of wall-clock time")
                if (used := self.resident_bytes()) > allowance.memory_bytes:
                    limit = allowance.memory_bytes
                    raise self._bury("memory", f"Blender held {used >> 20} MiB; the limit is {limit >> 20} MiB")

    def _bury(self, reason: str, message: str = "") -> Died:
        """Kills what is left and says how it ended."""
        if reason == "crash":
            with contextlib.suppress(subprocess.TimeoutExpired):  # its pipe closes a moment before it is gone
                self._process.wait(5)
        code = self._process.poll()
        log = self.log()
        self.kill()
        if reason == "crash":
            message = f"Blender died: {how_it_ended(code)}"
            if any(word in log for word in OUT_OF_MEMORY_WORDS):
                reason, message = "memory", f"Blender ran out of the memory it may use ({how_it_ended(code)})"
        return Died(reason, message, log)

    def _cpu_seconds(self) -> float:
        try:
            times = self._watched.cpu_times()
        except psutil.Error:
            return 0.0  # gone; the closed pipe tells
        return float(times.user + times.system)

    def _drain_log(self) -> bool:
        """Takes what was printed; False at the end of the pipe."""
        with contextlib.suppress(BlockingIOError, OSError):
            while piece := os.read(self._log_fd, 1 << 16):
                self._log += piece
                del self._log[:-LOG_BYTES]
            return False
        return True

    def _close_pipes(self) -> None:
        for name in ("_requests", "_replies", "_life", "_log_fd"):
            if (fd := getattr(self, name)) >= 0:
                os.close(fd)
                setattr(self, name, -1)


OUT_OF_MEMORY_WORDS = ("bad_alloc", "Malloc returns null", "Calloc returns null", "Out of memory", "MemoryError")


def check_blender() -> str:
    """Starts a Blender and ends it: its version. Raises DataengineError naming what is missing and what to install."""
    with tempfile.TemporaryDirectory() as folder:
        process = BlenderProcess(Path(folder), 4 << 30, [], gpu=False)
        process.kill()
    return process.blender


def how_it_ended(code: int | None) -> str:
    if code is None:
        return "it closed its pipe"
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"


def blender_python() -> str:
    """The interpreter that has bpy: DATAENGINE_BLENDER_PYTHON, else our own."""
    return os.environ.get("DATAENGINE_BLENDER_PYTHON") or sys.executable


def child_environment(out: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if ENVIRONMENT.match(k)}
    home = str(out)
    return kept | {
        "HOME": home,
        "TMPDIR": home,
        "BLENDER_USER_RESOURCES": home,  # nobody's preferences or start-up file
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONIOENCODING": "utf-8:backslashreplace",
    }


def cannot_start(python: str, said: str) -> str:
    """One line: which library or module is missing and what to install."""
    if library := re.search(r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object file", said):
        package = APT_PACKAGES.get(library[1], "unknown")
        everything = " ".join(APT_PACKAGES.values())
        return (
            f"Blender cannot start: {library[1]} is missing (package {package}); "
            f"run: apt-get install -y --no-install-recommends {everything}"
        )
    if "No module named 'bpy'" in said:
        return (
            f"{python} has no Blender: install bpy 4.5 there (it needs Python 3.11), "
            "or name another interpreter in DATAENGINE_BLENDER_PYTHON"
        )
    last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "it printed nothing")
    return f"Blender cannot start under {python}: {last[:300]}"


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
