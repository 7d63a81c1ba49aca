"""Blender processes kept alive: one request in, one reply or one typed failure out, whatever the asset does."""

import contextlib
import dataclasses
import itertools
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from dataengine.corpus.config import Limits
from dataengine.errors import AssetFailure, DataengineError, ErrorCode
from dataengine.render.blender.protocol import RenderReply, RenderRequest
from dataengine.render.confinement import Sandbox
from dataengine.render.process import Allowance, BlenderProcess, CannotStart, Died
from dataengine.render.scratch import Scratch

STOPPED = "rendering was stopped"
RECYCLE_ASSETS = 500
RECYCLE_BYTES = 2 << 30
CODES = {
    "crash": ErrorCode.CRASH,
    "cpu": ErrorCode.TIMEOUT,
    "wall": ErrorCode.TIMEOUT,
    "memory": ErrorCode.OUT_OF_MEMORY,
    "broken": ErrorCode.CRASH,
}


class BlenderWorker:
    """One Blender process at a time, replaced when it dies, leaks or has done enough. For one thread at a time.

    Args:
        scratch: folder for its files, on tmpfs.
        limits: what one asset may use.
        readable: folders that assets lie in, all the process may read beside the system's (where Landlock is). An
            asset from elsewhere is rendered too, but a fresh process must be started that may read its folder.
        threads: that requests will ask for at most; 0: as many as there are cores.
        drivers: whether GPU drivers (or EEVEE's OpenGL) work in it: they reserve address space without end.
        sandbox: `bwrap` or `kernel`, see confinement.choose_sandbox.
        on_start: called with each process as it stands ready.
    """

    def __init__(
        self,
        scratch: Path,
        limits: Limits,
        readable: Sequence[Path] | None = None,
        drivers: bool = False,
        threads: int = 0,
        sandbox: Sandbox = "kernel",
        on_start: Callable[[BlenderProcess], None] = lambda process: None,
    ) -> None:
        self.scratch = scratch
        self._threads = threads
        self._limits = limits
        self._readable = [path.resolve() for path in readable or ()]
        self._drivers = drivers
        self._sandbox = sandbox
        self._on_start = on_start
        self._process: BlenderProcess | None = None
        self._served = 0
        self._numbers = itertools.count()
        self._stopped = False

    @property
    def pid(self) -> int | None:
        """Of the Blender process that stands ready, if one does."""
        return self._process.pid if self._process else None

    def render(self, request: RenderRequest) -> RenderReply:
        """Renders one asset; `request.out` is replaced by a folder of the worker's own.

        The EXR files belong to the caller, who deletes them when they are read (`discard`). Raises AssetFailure, and
        DataengineError when Blender itself does not work here. A crash, timeout or lack of memory is tried once more
        in a fresh process: somebody may have killed it, or earlier assets may have filled it.
        """
        for attempt in (1, 2):
            try:
                return self._render_once(request)
            except Died as died:
                self.close()
                if self._stopped:
                    raise DataengineError(STOPPED) from died
                if attempt == 2:
                    raise AssetFailure(CODES[died.reason], died.message, died.log) from died
            except OSError as error:
                if self._stopped:  # the folder went while a process was starting
                    raise DataengineError(STOPPED) from error
                raise
        raise AssertionError("unreachable")

    def _render_once(self, request: RenderRequest) -> RenderReply:
        self._allow(Path(request.path))
        process = self._ready()
        out = self.scratch / f"{next(self._numbers):06d}"
        out.mkdir()
        message = {"op": "render", "request": dataclasses.replace(request, out=str(out)).to_json()}
        limits = self._limits
        try:
            answer = process.ask(message, Allowance(limits.cpu_seconds, limits.wall_seconds, limits.memory_bytes))
        except Died:
            empty(out)
            raise
        self._served += 1
        log = process.log()
        if self._served >= RECYCLE_ASSETS or process.memory_bytes() > RECYCLE_BYTES:
            self.close()
        if "fatal" in answer:
            empty(out)
            raise DataengineError(answer["fatal"])
        reply = RenderReply.from_json({**answer, "log": log})
        if reply.error:
            empty(out)
            raise AssetFailure(ErrorCode(reply.error), reply.message, log)
        return reply

    def ask(self, op: str) -> dict[str, Any]:
        """Asks for something other than a render: 'devices' or 'sandbox'."""
        return self._ready().ask({"op": op}, Allowance(60.0, 120.0, self._limits.memory_bytes))

    def close(self) -> None:
        """Ends the process. The worker may be used again."""
        if self._process:
            self._process.kill()
            self._process = None
        self._served = 0

    def stop(self) -> None:
        """Ends the process from another thread: a render in progress raises DataengineError, and so does the next."""
        self._stopped = True
        if process := self._process:
            process.interrupt()

    def _allow(self, asset: Path) -> None:
        for folder in {asset.parent.resolve(), asset.resolve().parent}:  # caches link names to blobs elsewhere
            if not any(folder.is_relative_to(known) for known in self._readable):
                self._readable.append(folder)
                self.close()

    def _ready(self) -> BlenderProcess:
        if self._stopped:
            raise DataengineError(STOPPED)
        if self._process is None:
            try:
                self._process = self._start()
            except CannotStart as error:
                if self._stopped or not error.killed:
                    raise
                self._process = self._start()  # somebody killed it while it started
            self._on_start(self._process)
        return self._process

    def _start(self) -> BlenderProcess:
        memory = self._limits.memory_bytes
        return BlenderProcess(self.scratch, memory, self._readable, self._drivers, self._threads, self._sandbox)


class BlenderPool:
    """Several workers behind one `render` that any thread may call; as many render at once as there are workers.

    `on_sandbox` is called once, by the thread that starts the first process, with what that says is in force.
    Tell it the `threads` that requests will ask for: `main.few_threads` says what a Blender costs that may have more.
    """

    def __init__(
        self,
        limits: Limits,
        workers: int = 1,
        readable: Sequence[Path] | None = None,
        drivers: bool = False,
        threads: int = 0,
        sandbox: Sandbox = "kernel",
        on_sandbox: Callable[[Mapping[str, str]], None] = lambda state: None,
    ) -> None:
        self._scratch = Scratch()
        self._on_sandbox = on_sandbox
        self._told = threading.Lock()
        self._idle: queue.SimpleQueue[BlenderWorker] = queue.SimpleQueue()
        self._workers = []
        for i in range(workers):
            folder = self._scratch.path / f"worker{i}"
            folder.mkdir()
            self._workers.append(BlenderWorker(folder, limits, readable, drivers, threads, sandbox, self._started))
            self._idle.put(self._workers[-1])
        self._closed = False

    def _started(self, process: BlenderProcess) -> None:
        if self._told.acquire(blocking=False):  # once: what holds for the first process holds for all
            self._on_sandbox(process.sandbox)

    @contextlib.contextmanager
    def worker(self) -> Iterator[BlenderWorker]:
        """Lends a worker; waits until one is idle."""
        lent = self._idle.get()
        try:
            yield lent
        finally:
            self._idle.put(lent)
            if self._closed:
                self._close_idle()

    def render(self, request: RenderRequest) -> RenderReply:
        """See BlenderWorker.render."""
        with self.worker() as worker:
            return worker.render(request)

    def close(self) -> None:
        """Ends every process and removes every file; renders in progress raise DataengineError. Idempotent."""
        self._closed = True
        for worker in self._workers:
            worker.stop()
        self._close_idle()
        self._scratch.close()

    def _close_idle(self) -> None:
        """A worker that renders is closed by its own thread when that puts it back."""
        idle = []
        with contextlib.suppress(queue.Empty):
            while True:
                idle.append(self._idle.get_nowait())
        for worker in idle:
            worker.close()
            self._idle.put(worker)  # whoever waits for one learns from it that the pool is closed

    def __enter__(self) -> "BlenderPool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def discard(reply: RenderReply) -> None:
    """Deletes the files of a reply once they are read."""
    for name in reply.exr:
        Path(name).unlink(missing_ok=True)
    for folder in {Path(name).parent for name in reply.exr}:
        with contextlib.suppress(OSError):
            folder.rmdir()


def empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink(missing_ok=True)
    folder.rmdir()
