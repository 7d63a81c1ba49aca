"""Several Blender processes kept alive, behind one call for any thread."""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from dataengine.corpus.config import Limits
from dataengine.render.blender.protocol import RenderReply, RenderRequest
from dataengine.render.confinement import Sandbox
from dataengine.render.process import BlenderProcess
from dataengine.render.scratch import Scratch
from dataengine.render.worker import BlenderWorker


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
        """Renders one view set of an asset, see BlenderWorker.render."""
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
