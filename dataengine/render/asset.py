"""One asset: from a file on disk to its row and the members of its shard."""

import dataclasses
import platform
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from dataengine._version import __version__
from dataengine.corpus.config import ViewSet
from dataengine.corpus.result import Result
from dataengine.errors import AssetFailure, DataengineError, ErrorCode
from dataengine.render.blender.protocol import RenderReply, RenderRequest
from dataengine.render.chance import Chance, asset_seed
from dataengine.render.channel_checks import check_channels
from dataengine.render.channels import most_bytes_of
from dataengine.render.checks import check_views
from dataengine.render.complaints import complaints_of, nothing_to_see
from dataengine.render.confinement import choose_sandbox, in_force
from dataengine.render.devices import choose_device
from dataengine.render.drawn import DrawnLook, draw_looks, draws_told
from dataengine.render.exr import NotOurs
from dataengine.render.passes import Passes, read_passes
from dataengine.render.pool import BlenderPool, discard
from dataengine.render.scratch import ScratchFull
from dataengine.render.settings import RenderPlan, resolve
from dataengine.render.views import Views, ViewsHeader, look_members, to_members, views_of
from dataengine.render.worker import LoadFailed

_CLOCK = re.compile(r"^\d\d:\d\d:\d\d[ |.\d]*")
_TROUBLE = re.compile(
    r"\b(warn(ing)?|error|cannot|could not|unable|failed|missing|not found|corrupt|premature|truncated|refused)\b",
    re.IGNORECASE,
)

TEXELS_PER_PIXEL = 4  # an atlas spreads its texels over the whole surface; a view shows a part of it


class Renderer:
    """Renders assets of one corpus; any number of threads may call `render`, `workers` of them at a time.

    Args:
        sets: the view sets that it can be asked for.
        workers: Blender processes.
        threads: render threads of each. They change the speed, not the bytes.
        device: `auto`, `cpu`, or a GPU API that Cycles knows.
        readable: folders that the assets lie in: where the sandbox works, Blender sees no others.
        sandbox: `auto`, `bwrap` or `kernel`.
        on_sandbox: called once, with a line that says what of the sandbox is in force.
        view_set: the name of the set that the views are of.
        lights: folder of the looks' environment maps, named as in the corpus.
    """

    def __init__(
        self,
        sets: Sequence[ViewSet],
        *,
        workers: int,
        threads: int = 1,
        device: str = "auto",
        readable: Sequence[Path] = (),
        sandbox: str = "auto",
        on_sandbox: Callable[[str], None] = lambda line: None,
        lights: Path = Path(),
    ) -> None:
        self.limits = sets[0].render.limits
        self._lights = lights
        self._configs = {s.name: s.render for s in sets}
        self._plans = {s.name: resolve(s.render) for s in sets}
        self._threads = threads
        chosen = choose_sandbox(sandbox)
        self._device = choose_device(device, self.limits, chosen, on_sandbox)
        gpu = self._device != "CPU"
        drivers = gpu or any(plan.engine == "eevee" for plan in self._plans.values())
        self._pool = BlenderPool(
            self.limits,
            workers,
            readable,
            drivers,
            0 if gpu else threads,
            chosen,
            lambda state: on_sandbox(in_force(state, chosen)),
        )

    def __enter__(self) -> "Renderer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._pool.close()

    def settings(self, name: str) -> dict[str, Any]:
        """What a fragment's metadata says of how the views of a set were made."""
        plan = self._plans[name]
        return {
            "dataengine": __version__,
            "machine": platform.machine(),
            "device": self._device,
            "render": self._configs[name].model_dump(mode="json"),
            **_looks_told(plan),
        }

    def kill(self) -> None:
        """Ends all Blender processes now; renders in progress fail."""
        self._pool.close()

    def render(
        self, row: Mapping[str, Any], path: Path, dependencies: Sequence[Path], sets: Sequence[str]
    ) -> Iterator[tuple[str, Result | AssetFailure]]:
        """Imports one asset, and renders, checks and encodes it in one view set after the other, in any order.

        Args:
            row: of the plan.
            path: the main file on local disk.
            dependencies: files that it refers to: where Blender finds textures that are not where the file says.
            sets: names. What comes of one does not depend on the others.

        Yields:
            Each set and what came of it. A set that fails costs no other; if the import fails, all have.

        Raises:
            DataengineError: if Blender does not work here.
        """
        textures = [str(d) for d in dependencies]
        chances = {name: Chance(asset_seed(self._configs[name].seed, row["uid"]), name) for name in sets}
        looks = {name: draw_looks(self._plans[name].looks, chances[name], self._lights) for name in sets}
        requests = {name: self._request(name, row, path, textures, chances[name], looks[name]) for name in sets}
        # Sets that want the asset made ready alike follow each other: they go on from there.
        order = sorted(sets, key=lambda name: _made_ready(requests[name]))
        with self._pool.worker() as worker:
            for number, name in enumerate(order, start=1):
                started = time.thread_time()
                request = requests[name]
                try:
                    reply = worker.render(request, more=number < len(order))
                    yield name, self._result(name, reply, request, looks[name], started)
                except LoadFailed as failure:
                    yield from ((left, failure) for left in order[number - 1 :])
                    return
                except AssetFailure as failure:
                    yield name, failure

    def _result(
        self, name: str, reply: RenderReply, request: RenderRequest, looks: Sequence[DrawnLook], started: float
    ) -> Result:
        try:
            views, passes = self._views(reply, request)
        finally:
            discard(reply)
        read = time.monotonic()
        if reason := nothing_to_see(views, passes):
            raise AssetFailure(ErrorCode.BLANK, reason, reply.log)
        plan = self._plans[name]
        checks, channel_checks = check_views(views, reply.radius), check_channels(views)
        complaints = complaints_of(views, passes, looks[0].name, reply.unsure_images)
        checked = time.monotonic()
        members = to_members(views, _header(plan, reply, request, looks))
        if request.colour:
            members |= look_members(passes, {f"look{i}": look.word for i, look in enumerate(looks[1:], 1)})
        done = time.monotonic()
        finished = {
            **_reply_columns(reply, complaints),
            **dataclasses.asdict(checks),
            **dataclasses.asdict(channel_checks),
            "azimuth": [camera.azimuth for camera in request.cameras],
            "elevation": [camera.elevation for camera in request.cameras],
            "looks": [look.name for look in looks],
            "num_views": len(request.cameras),
            "resolution": plan.resolution,
            "check_seconds": checked - read,
            "encode_seconds": done - checked,
            "cpu_seconds": reply.cpu_seconds + time.thread_time() - started,
        }
        return Result(finished, members)

    def _views(self, reply: RenderReply, request: RenderRequest) -> tuple[Views, Passes]:
        try:
            passes = read_passes(reply.exr)
            views = views_of(passes, request.cameras, request.channels, colour=request.colour)
            if views.depth.shape[1:] != (request.height, request.width):
                raise DataengineError(f"Blender left views of {views.depth.shape[2]}×{views.depth.shape[1]} pixels")
        except (DataengineError, NotOurs) as error:  # a full scratch folder cuts files short, and so may the asset
            ScratchFull.check(Path(reply.exr[0]), most_bytes_of(request))
            raise AssetFailure(ErrorCode.CRASH, f"Blender's picture cannot be read: {error}", reply.log) from error
        return views, passes

    def _request(
        self,
        name: str,
        row: Mapping[str, Any],
        path: Path,
        textures: list[str],
        chance: Chance,
        looks: Sequence[DrawnLook],
    ) -> RenderRequest:
        plan, config = self._plans[name], self._configs[name]
        settings = [look.settings | {"samples": plan.samples or look.samples} for look in looks]
        return RenderRequest(
            uid=row["uid"],
            path=str(path),
            format=row["format"],
            up=row["up"],
            frame=config.frame,
            width=plan.resolution,
            height=plan.resolution,
            normalisation=plan.rig.normalisation,
            look=settings[0],
            samples=settings[0]["samples"],
            engine="BLENDER_EEVEE_NEXT" if plan.engine == "eevee" else "CYCLES",
            device=self._device,
            threads=self._threads,
            seed=chance.seed,
            max_texture=TEXELS_PER_PIXEL * plan.resolution,
            cameras=plan.rig.cameras(plan.resolution, chance.seed, chance.view_set),
            textures=textures,
            channels=list(config.channels),
            colour=config.colour,
            more_looks=settings[1:],
        )


def _made_ready(request: RenderRequest) -> tuple[bool, str, int, int]:
    """What of a request decides how the imported asset is made ready."""
    return request.load(keep=False).apart, request.normalisation, request.frame or 0, -request.max_texture


def _header(plan: RenderPlan, reply: RenderReply, request: RenderRequest, looks: Sequence[DrawnLook]) -> ViewsHeader:
    return ViewsHeader(
        rig=plan.rig.name,
        look=looks[0].name,
        normalisation=plan.rig.normalisation,
        scale=reply.scale,
        offset=tuple(reply.offset),
        drawn=draws_told(looks, plan.rig.ranges, request.cameras),
    )


def _looks_told(plan: RenderPlan) -> dict[str, Any]:
    looks = plan.looks.looks
    if len(looks) == 1:
        return {"look": looks[0].to_json(), "samples": plan.samples or looks[0].samples}
    return {"looks": [look.to_json() for look in looks], "every": plan.looks.every, "samples": plan.samples}


def complaints_in(log: str) -> list[str]:
    """The lines of Blender's log that tell of trouble, without their time, each once."""
    lines = (_CLOCK.sub("", line).strip() for line in log.splitlines())
    return list(dict.fromkeys(line[:300] for line in lines if _TROUBLE.search(line)))


def _reply_columns(reply: RenderReply, complaints: Sequence[str]) -> dict[str, Any]:
    return {
        "log": reply.log or None,
        "imported_face_count": reply.face_count,
        "imported_vertex_count": reply.vertex_count,
        "object_count": reply.object_count,
        "up": reply.up,
        "scale": reply.scale,
        "offset": reply.offset,
        "radius": reply.radius,
        "missing_textures": reply.missing_textures,
        "complaints": [*reply.complaints, *complaints, *complaints_in(reply.log)],
        "import_seconds": reply.seconds.get("import", 0.0),
        "render_seconds": reply.seconds.get("render", 0.0),
        "peak_memory": reply.peak_memory,
    }
