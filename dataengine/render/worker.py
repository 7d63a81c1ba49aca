"""A Blender process kept alive: one request in, one reply or one typed failure out, whatever the asset does."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dataengine.corpus.config import Limits
from dataengine.corpus.os_errors import explain
from dataengine.errors import AssetFailure, DataengineError, ErrorCode
from dataengine.render.allowance import Allowance, allowance, share_of_limits
from dataengine.render.answer import Nonsense, checked, checked_load, fatal
from dataengine.render.blender.protocol import LoadRequest, RenderReply, RenderRequest
from dataengine.render.channels import most_bytes_of
from dataengine.render.confinement import Sandbox
from dataengine.render.died import Died
from dataengine.render.exr import PASSES
from dataengine.render.handover import Refused, clear, remove, take
from dataengine.render.process import BlenderProcess, CannotStart
from dataengine.render.scratch import ScratchFull

STOPPED = "rendering was stopped"
RECYCLE_ASSETS = 500
RECYCLE_BYTES = 2 << 30
CUBE = "".join(f"v {x} {y} {z}\n" for x in (0, 1) for y in (0, 1) for z in (0, 1)) + (
    "f 1 2 4 3\nf 5 7 8 6\nf 1 5 6 2\nf 3 4 8 7\nf 1 3 7 5\nf 2 6 8 4\n"
)
CODES = {
    "crash": ErrorCode.CRASH,
    "cpu": ErrorCode.TIMEOUT,
    "wall": ErrorCode.TIMEOUT,
    "memory": ErrorCode.OUT_OF_MEMORY,
    "broken": ErrorCode.CRASH,
}


class LoadFailed(AssetFailure):
    """The asset cannot be imported: there is nothing that any view set could show."""


@dataclasses.dataclass(frozen=True)
class _Loaded:
    """The asset that a process has in its scene: what was asked for, in which folder, and what that said and used.

    `used` is CPU time as we have seen it, `cpu_seconds` as the process says.
    """

    request: LoadRequest
    folder: str
    log: str
    used: float
    cpu_seconds: float
    peak_memory: int


class BlenderWorker:
    """One Blender process at a time, replaced when it dies, leaks or has done enough. For one thread at a time.

    Args:
        scratch: an empty folder for its files, on tmpfs: the process writes to `own`, the parent moves to `taken`.
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
        self.scratch = scratch / "own"
        self._taken = scratch / "taken"
        for folder in (self.scratch, self._taken):
            folder.mkdir()
        self._threads = threads
        self._limits = limits
        self._readable = [path.resolve() for path in readable or ()]
        self._drivers = drivers
        self._sandbox = sandbox
        self._on_start = on_start
        self._process: BlenderProcess | None = None
        self._served = 0
        self._loaded: _Loaded | None = None
        self._loading = False
        self._numbers = itertools.count()
        self._stopped = False

    @property
    def pid(self) -> int | None:
        """Of the Blender process that stands ready, if one does."""
        return self._process.pid if self._process else None

    def render(self, request: RenderRequest, *, more: bool = False) -> RenderReply:
        """Renders one view set of an asset; `request.out` is replaced by a folder of the worker's own.

        The EXR files belong to the caller, who deletes them when they are read (`discard`). Raises LoadFailed where the
        import fails, AssetFailure where the render does, and DataengineError when Blender itself does not work here,
        or scratch is full. A crash, timeout or lack of memory is tried once more in a fresh process: somebody may have
        killed it, or earlier assets, or what is kept for further sets, may have filled it.

        Args:
            more: whether the next request is for another set of the same asset, so that it stays imported. What is
                rendered is the same.
        """
        for attempt in (1, 2):
            try:
                return self._render_once(request, more and attempt == 1)
            except Died as died:
                loading = self._loading
                self.close()
                if self._stopped:
                    raise DataengineError(STOPPED) from died
                if attempt == 2:
                    kind = LoadFailed if loading else AssetFailure
                    raise kind(CODES[died.reason], died.message, died.log) from died
            except AssetFailure as failure:
                kept = self._loaded is not None and self._loaded.request.keep
                if attempt == 2 or not kept or failure.code is not ErrorCode.OUT_OF_MEMORY:
                    raise
                self.close()
            except ScratchFull as error:
                self.close()
                if attempt == 2:
                    raise
                error.wait()
            except OSError as error:
                if self._stopped:  # the folder went while a process was starting
                    raise DataengineError(STOPPED) from error
                raise DataengineError(explain(error, str(self.scratch))) from error
            finally:
                if not more:
                    self._unload()
        raise AssertionError("unreachable")

    def _render_once(self, request: RenderRequest, keep: bool) -> RenderReply:
        self._allow(Path(request.path))
        loaded, new = self._load(request.load(keep))
        process = self._ready()
        folder = self._folder()
        views = len(request.cameras) * (1 + len(request.more_looks))
        most = most_bytes_of(request)
        spent = loaded.cpu_seconds if new else 0.0  # of the row, where no other set's row has it
        try:
            answer = process.ask(
                _message("render", request, self.scratch / folder),
                allowance(self._limits, loaded.used, share_of_limits(request)),
            )
            if said := fatal(answer):
                self._confirm(request, said)
                raise AssetFailure(ErrorCode.CRASH, f"Blender said that it cannot work, which is not so: {said}")
            reply = checked(answer, _joined(loaded.log, process.log()), PASSES * views)
            if reply.error:
                raise AssetFailure(ErrorCode(reply.error), reply.message, reply.log)
            taken = take(self.scratch, folder, reply.exr, self._taken, most)
            return dataclasses.replace(
                reply,
                exr=[str(path) for path in taken],
                cpu_seconds=reply.cpu_seconds + spent,
                peak_memory=max(reply.peak_memory, loaded.peak_memory),
            )
        except (Refused, Nonsense) as error:
            raise process.broken(str(error)) from error
        except (Died, AssetFailure) as error:
            code = CODES[error.reason] if isinstance(error, Died) else error.code
            if code in (ErrorCode.CRASH, ErrorCode.MALFORMED):
                ScratchFull.check(self.scratch / folder, most)
            raise
        finally:
            self._tidy(folder)

    def _load(self, wanted: LoadRequest) -> tuple[_Loaded, bool]:
        """(the asset that is in the process's scene, whether it was imported now)."""
        if self._loaded is not None and dataclasses.replace(self._loaded.request, keep=wanted.keep) == wanted:
            return self._loaded, False
        self._unload()
        process = self._ready()
        folder = self._folder()
        self._loading, before = True, process.cpu_seconds()
        try:
            answer = process.ask(_message("load", wanted, self.scratch / folder), allowance(self._limits))
            reply = checked_load(answer)
            if reply.error:
                raise LoadFailed(ErrorCode(reply.error), reply.message, process.log())
        except Nonsense as error:
            raise process.broken(str(error)) from error
        except (Died, LoadFailed) as error:
            code = CODES[error.reason] if isinstance(error, Died) else error.code
            if code in (ErrorCode.CRASH, ErrorCode.MALFORMED):
                ScratchFull.check(self.scratch / folder, 0)
            self._tidy(folder)
            raise
        used = process.cpu_seconds() - before
        self._loading = False
        self._loaded = _Loaded(wanted, folder, process.log(), used, reply.cpu_seconds, reply.peak_memory)
        return self._loaded, True

    def _folder(self) -> str:
        folder = f"{next(self._numbers):06d}"
        (self.scratch / folder).mkdir()
        return folder

    def _unload(self) -> None:
        """Forgets the asset that is loaded; a process that tried what it may not, has done enough or holds too much is
        replaced."""
        if self._loaded is not None:
            loaded, self._loaded = self._loaded, None
            self._served += 1
            self._tidy(loaded.folder)
        process = self._process
        if process and (
            process.was_refused or self._served >= RECYCLE_ASSETS or process.memory_bytes() > RECYCLE_BYTES
        ):
            self.close()

    def _tidy(self, folder: str) -> None:
        """Removes what is left in a folder; a process that left more than files is replaced."""
        if not remove(self.scratch, folder) and self._process:
            self.close()

    def _confirm(self, request: RenderRequest, said: str) -> None:
        """Raises DataengineError if a fresh process, which has opened no stranger's file, cannot work either."""
        self.close()
        cube = self.scratch / "cube.obj"
        cube.write_text(CUBE)
        process = self._ready()
        folder = self.scratch / "cube"
        folder.mkdir()
        ours = dataclasses.replace(
            request, path=str(cube), format="obj", textures=[], cameras=request.cameras[:1], up=None, frame=None
        )
        try:
            process.ask(_message("load", ours.load(keep=False), folder), allowance(self._limits))
            answer = process.ask(_message("render", ours, folder), allowance(self._limits))
        except Died as died:
            raise DataengineError(f"{said} ({died.message})") from died
        if again := fatal(answer):
            raise DataengineError(again)
        self.close()

    def ask(self, op: str, **more: str) -> dict[str, Any]:
        """Asks for something other than a render: 'devices', 'sandbox', or the 'light' of an environment map."""
        return self._ready().ask({"op": op, **more}, Allowance(60.0, 120.0, self._limits.memory_bytes))

    def close(self) -> None:
        """Ends the process. The worker may be used again."""
        self._loaded = None
        if self._process:
            self._process.kill()
            self._process = None
            clear(self.scratch)
            if not self._stopped and (not self.scratch.is_dir() or any(self.scratch.iterdir())):  # was not confined
                raise DataengineError(f"cannot empty the scratch folder {self.scratch}; remove it, and run this again")
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


def _message(op: str, request: LoadRequest | RenderRequest, out: Path) -> dict[str, Any]:
    return {"op": op, "request": dataclasses.replace(request, out=str(out)).to_json()}


def _joined(*logs: str) -> str:
    return "\n".join(log for log in logs if log)
