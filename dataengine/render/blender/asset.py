"""One asset from request to reply: the order of the steps."""

import time
from dataclasses import replace
from pathlib import Path

import bpy
from mathutils import Matrix

from . import alpha, backfaces, cameras, colours, geometry, importers, lighting, readable, textures, twins
from .protocol import RenderReply, RenderRequest

DROPPED = 0.01  # share of the declared faces: more are worth a word
KNOW_SIDES = ("glb", "gltf")  # formats that say of each material whether its back is seen


def render_asset(request: RenderRequest) -> RenderReply:
    """Imports, normalises, lights and renders one asset. Raises Failure."""
    seconds: dict[str, float] = {}
    complaints: list[str] = []
    start = time.perf_counter()

    empty_file()
    source = readable.readable(request, complaints)
    up, turn = importers.load(str(source.path), request.format, request.up, complaints)
    if request.format == "obj" and twins.imported_faces() < twins.declared_faces(source.path):
        up, turn = import_apart(request, source.path, up, turn, complaints)
    readable.discard(request)
    lap(seconds, "import", start)

    start = time.perf_counter()
    source.dress(complaints)
    colours.use(request.format, complaints)
    missing = textures.find(request.textures, source.missing, complaints)
    if request.format != "blend":
        alpha.settle()
    textures.shrink(request.max_texture)
    lap(seconds, "textures", start)

    start = time.perf_counter()
    geometry.pose(request.frame)
    shape = geometry.normalise(request.normalisation, turn, complaints)
    lap(seconds, "normalise", start)

    start = time.perf_counter()
    exr: list[str] = []
    render_seconds: dict[str, float] = {}
    for number, (layer, one) in enumerate(looks(request)):
        lighting.apply(one)
        if number == 0:
            if request.look["cull_back_faces"]:  # as all looks of a set say
                backfaces.cull()
            if request.format not in KNOW_SIDES and request.engine == "CYCLES":
                backfaces.count()
        exr += cameras.colour(one, layer, render_seconds)
    if request.more_looks:
        lighting.settings(request)  # the depth of a set of looks is that of the first alone
    exr += cameras.depth(request, render_seconds)
    lap(seconds, "render", start)
    seconds |= render_seconds
    return RenderReply(
        exr=exr,
        scale=shape.scale,
        offset=shape.offset,
        radius=shape.radius,
        up=up,
        face_count=shape.faces,
        vertex_count=shape.vertices,
        object_count=shape.objects,
        image_count=len(textures.used_images()),
        missing_textures=missing,
        complaints=complaints,
        seconds=seconds,
    )


def looks(request: RenderRequest) -> list[tuple[str, RenderRequest]]:
    """The layer and the request of every look. Those without occlusion come last: what they change of the objects is
    not undone."""
    found = [(cameras.COLOUR, request)]
    for number, look in enumerate(request.more_looks, 1):
        found.append((f"look{number}", replace(request, look=look, samples=look["samples"])))
    return sorted(found, key=lambda one: not one[1].look["occlusion"])


def import_apart(
    request: RenderRequest, path: Path, up: str, turn: Matrix, complaints: list[str]
) -> tuple[str, Matrix]:
    """Imports an OBJ of which faces were dropped once more, those that lie back to back kept apart, and says how many
    are still not there."""
    declared = twins.declared_faces(path)
    if request.look["cull_back_faces"] and (copy := twins.apart(path, Path(request.out), request.textures)):
        empty_file()
        up, turn = importers.load(str(copy), "obj", request.up, complaints)
        twins.cull()
    dropped = declared - twins.imported_faces()
    if dropped > DROPPED * declared:
        complaints.append(f"{dropped} of {declared} faces were dropped: they repeat others, or are no faces")
    return up, turn


def empty_file() -> None:
    """As clean as read_factory_settings (no data-block is left), at 14 ms instead of 79: preferences stay."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True, load_ui=False)


def lap(seconds: dict[str, float], name: str, start: float) -> None:
    seconds[name] = time.perf_counter() - start
