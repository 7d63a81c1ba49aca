"""One Blender process, seen from the parent: start it, ask it, watch it, kill it."""

import base64
import contextlib
import json
import os
import platform
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from dataengine.errors import DataengineError
from dataengine.render import seccomp
from dataengine.render.allowance import Allowance
from dataengine.render.confinement import Sandbox
from dataengine.render.died import Died, ended
from dataengine.render.launch import blender_python, cannot_start, child_environment, command
from dataengine.render.printed import Printed
from dataengine.render.process_tree import ProcessTree
from dataengine.render.refusals import Refusals

START_SECONDS = 180.0  # wall; a cold disk reads 800 MB of libraries
POLL_SECONDS = 0.05
END_SECONDS = 10.0  # for the keeper to end what it keeps
THREADS = 1024 + 8 * (os.cpu_count() or 1)  # of an asset; honest ones have a few for each core
ANSWER_BYTES = 4 << 20  # an honest answer is a few kilobytes


class CannotStart(DataengineError):
    """Blender did not start. `killed`: because somebody killed it, so that it is worth another try."""

    def __init__(self, message: str, killed: bool = False) -> None:
        super().__init__(message)
        self.killed = killed


class BlenderProcess:
    """A started, ready Blender. Raises DataengineError when it cannot be started.

    Args:
        out: the folder that it may write in, and is watched in.
        memory_bytes: what one request may use; limits of the address space and of a file's size follow from it.
        readable: folders that it may read beside the system's.
        drivers: whether GPU drivers, or EEVEE's, work in it: they need more address space and system calls.
        threads: the most that a request may ask for; 0: as many as there are cores.
        sandbox: `bwrap` or `kernel`, see confinement.choose_sandbox.
    """

    def __init__(
        self,
        out: Path,
        memory_bytes: int,
        readable: Sequence[Path],
        drivers: bool,
        threads: int = 0,
        sandbox: Sandbox = "kernel",
    ) -> None:
        python = blender_python()
        if not shutil.which(python):
            raise CannotStart(f"cannot start {python}: there is no such program; check DATAENGINE_BLENDER_PYTHON")
        self._refusals = Refusals(-1)
        channel = self._start(python, out, readable, drivers, sandbox)
        settings = {
            "out": str(out),
            "readable": [str(p) for p in readable],
            "drivers": drivers,
            "threads": threads,
            "address_space": 0 if drivers else memory_bytes + (2 << 30) + (128 << 20) * (os.cpu_count() or 1),
            "file_size": memory_bytes,
            "namespaces": sandbox == "bwrap",
        }
        self._tree = ProcessTree(self._process.pid, grows=True, scratch=out)
        start = Allowance(START_SECONDS, START_SECONDS, 1 << 62)
        try:
            # Nobody's file has been opened yet: what the child says of itself up to `ready` is true.
            told = int(self._receive(start)["pid"])
            filtered = sys.platform == "linux" and sandbox != "landlock"
            filters = {}
            for name, refuse in (("filter", seccomp.REFUSE), ("counting", seccomp.COUNT)):
                program = seccomp.program(platform.machine(), told, drivers, refuse) if filtered else None
                filters[name] = base64.b64encode(program or b"").decode()
            write_all(self._requests, framed(settings | filters))
            os.set_blocking(self._requests, False)  # from here on it may not want to read
            self._refusals = Refusals.received(channel, START_SECONDS)
            hello = self._receive(start)
        except Died as died:
            raise CannotStart(cannot_start(python, died.log), died.killed) from died
        finally:
            channel.close()
        if not hello["ready"]:
            self.kill()
            raise CannotStart(cannot_start(python, hello["error"]))
        self.blender: str = hello["blender"]
        self.sandbox: dict[str, str] = hello["sandbox"]
        self._may_start_others = self.sandbox["processes"].startswith("open")
        self._tree = ProcessTree(self._process.pid, self._may_start_others, out)
        self._others = len(self._tree.scan())
        self.pid = self._tree.pid_of(told)

    def _start(
        self, python: str, out: Path, readable: Sequence[Path], drivers: bool, sandbox: Sandbox
    ) -> socket.socket:
        """Starts it; returns the socket on which it will hand over what counts refused calls."""
        to_child, self._requests = os.pipe()
        self._replies, from_child = os.pipe()
        life, self._life = os.pipe()
        channel, given = socket.socketpair()
        log, log_end = os.pipe()
        self._printed = Printed(log)
        ends = (to_child, from_child, life, given.fileno())
        try:
            self._process = subprocess.Popen(
                command(python, ends, out, readable, drivers, sandbox == "bwrap"),
                stdin=subprocess.DEVNULL,
                stdout=log_end,
                stderr=log_end,
                pass_fds=ends,
                start_new_session=True,
                env=child_environment(out),
            )
        except OSError as error:
            self._close_pipes()
            channel.close()
            raise CannotStart(f"cannot start {python}: {error.strerror}; check DATAENGINE_BLENDER_PYTHON") from error
        finally:
            given.close()
            for fd in (to_child, from_child, life, log_end):
                os.close(fd)
        return channel

    def ask(self, message: dict[str, Any], allowance: Allowance) -> dict[str, Any]:
        """Sends one message and waits for its answer. Raises Died, the process then being gone, and reaped.

        The answer may have been written by a stranger's code: it is a JSON object of bounded size and no more.
        """
        self._printed.clear()
        self._refusals.clear()
        answer = self._receive(allowance, framed(message))
        if self._may_start_others and len(self._tree.scan()) > self._others:
            raise self._bury("broken", "the file made Blender start another program")
        return answer

    def log(self) -> str:
        """The last lines that it printed since it was asked, and what it was refused."""
        told = self._printed.lines()
        return "\n".join([*told, f"Blender was refused {self._refusals}"] if self._refusals else told)

    @property
    def was_refused(self) -> bool:
        """Whether it has made system calls that it may not make, since it was asked."""
        return bool(self._refusals)

    def cpu_seconds(self) -> float:
        """Used since it was started, with all that it has started."""
        return self._tree.cpu_seconds()

    def memory_bytes(self) -> int:
        """Resident, and what it has in its scratch folder."""
        return self._tree.memory_bytes()

    def kill(self) -> None:
        """Kills the process and all that it started, and reaps it. Idempotent."""
        self.interrupt()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:  # somebody has stopped or blinded the keeper
            with contextlib.suppress(psutil.Error):
                for member in self._tree.scan():
                    member.kill()
            self._process.kill()
            self._process.wait()
        self._close_pipes()

    def interrupt(self) -> None:
        """Has the keeper kill the process and all that it started; leaves the rest to the thread that waits for it."""
        if self._process.returncode is None:  # not yet reaped, so the number is still its own
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self._process.pid, signal.SIGTERM if sys.platform == "linux" else signal.SIGKILL)

    def _receive(self, allowance: Allowance, request: bytes = b"") -> dict[str, Any]:
        """Writes the request as fast as it is read, and waits for the answer."""
        unsent = memoryview(request)
        deadline = time.monotonic() + allowance.wall_seconds
        cpu_at_start = self._tree.cpu_seconds() - allowance.spent
        data = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(self._replies, selectors.EVENT_READ)
            selector.register(self._printed.fd, selectors.EVENT_READ)
            if unsent:
                selector.register(self._requests, selectors.EVENT_WRITE)
            if (listener := self._refusals.fd) >= 0:
                selector.register(listener, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in selector.select(POLL_SECONDS)}
                if self._printed.fd in ready and not self._printed.drain():
                    selector.unregister(self._printed.fd)
                if self._requests in ready:
                    try:
                        unsent = unsent[os.write(self._requests, unsent) :]
                    except BrokenPipeError:
                        raise self._bury("crash") from None
                    if not unsent:
                        selector.unregister(self._requests)
                if listener in ready:
                    self._refusals.answer()
                    if self._refusals.too_many():
                        raise self._bury("broken", f"the file made Blender try what it may not: {self._refusals}")
                    if self._refusals.fd < 0:
                        selector.unregister(listener)
                if self._replies in ready:
                    piece = os.read(self._replies, 1 << 20)
                    if not piece:
                        raise self._bury("crash")
                    data += piece
                    if len(data) >= 4:
                        size = struct.unpack_from("<I", data)[0]
                        if size > ANSWER_BYTES or len(data) > 4 + size:
                            raise self._bury("broken", f"Blender gave an answer of more than {ANSWER_BYTES} bytes")
                        if len(data) == 4 + size:
                            return self._object(data[4:])
                if self._tree.cpu_seconds() - cpu_at_start > allowance.cpu_seconds:
                    raise self._bury("cpu", f"used up its {allowance.cpu_seconds:g} CPU seconds")
                if time.monotonic() > deadline:
                    raise self._bury("wall", f"was not done after {allowance.wall_seconds:g} s of wall-clock time")
                if (used := self.memory_bytes()) > allowance.memory_bytes:
                    raise self._bury("memory", self._held(used, allowance.memory_bytes))
                if (threads := self._tree.threads()) > THREADS:
                    raise self._bury("broken", f"Blender had {threads} threads; the limit is {THREADS}")

    def _held(self, used: int, most: int) -> str:
        written = self._tree.scratch_bytes()
        if written > most // 2:
            return f"Blender wrote more temporary files than the limit of {most >> 20} MiB for its memory allows"
        return f"Blender held {used >> 20} MiB; the limit is {most >> 20} MiB"

    def broken(self, message: str) -> Died:
        """Ends a process that said or did what no honest one does; the Died to raise."""
        return self._bury("broken", message)

    def _object(self, body: bytes | bytearray) -> dict[str, Any]:
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise self._bury("broken", "Blender gave an answer that is no JSON object")
        return answer

    def _bury(self, reason: str, message: str = "") -> Died:
        """Kills what is left and says how it ended."""
        if reason == "crash":
            with contextlib.suppress(subprocess.TimeoutExpired):  # its pipe closes a moment before it is gone
                self._process.wait(5)
        code = self._process.poll()
        log = self.log()
        self.kill()
        return ended(reason, message, log, code)

    def _close_pipes(self) -> None:
        for name in ("_requests", "_replies", "_life"):
            if (fd := getattr(self, name)) >= 0:
                os.close(fd)
                setattr(self, name, -1)
        self._printed.close()
        self._refusals.close()


def check_blender() -> str:
    """Starts a Blender and ends it: its version. Raises DataengineError naming what is missing and what to install."""
    with tempfile.TemporaryDirectory() as folder:
        process = BlenderProcess(Path(folder), 4 << 30, [], drivers=False)
        process.kill()
    return process.blender


def framed(message: dict[str, Any]) -> bytes:
    body = json.dumps(message).encode()
    return struct.pack("<I", len(body)) + body


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
