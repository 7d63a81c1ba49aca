"""One asset from request to reply: the order of the steps."""

import time
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
    if request.format not in (*KNOW_SIDES, "blend"):  # glTF's OPAQUE says so, and a .blend is as its author saw it
        complaints += alpha.unused_cutouts()
    lap(seconds, "textures", start)

    start = time.perf_counter()
    geometry.pose(request.frame)
    shape = geometry.normalise(request.normalisation, turn, complaints)
    lap(seconds, "normalise", start)

    start = time.perf_counter()
    lighting.apply(request)
    cycles, knows = request.engine == "CYCLES", request.format in KNOW_SIDES
    if request.look["cull_back_faces"]:
        backfaces.cull(watch=cycles and knows)
    if cycles and not knows:
        backfaces.count()
    exr, render_seconds = cameras.render(request)
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
        unsure_images=len(textures.left_to_cycles()),
        missing_textures=missing,
        complaints=complaints,
        seconds=seconds,
    )


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
