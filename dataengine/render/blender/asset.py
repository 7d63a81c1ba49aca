"""One asset from request to reply: imported once, then rendered, a view set a request; and the order of the steps."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import bpy
from mathutils import Matrix

from . import alpha, backfaces, cameras, colours, geometry, importers, lighting, readable, steps, textures, twins
from .geometry import Shape
from .protocol import LoadRequest, RenderReply, RenderRequest

DROPPED = 0.01  # share of the declared faces: more are worth a word
KNOW_SIDES = ("glb", "gltf")  # formats that say of each material whether its back is seen


@dataclass
class Placed:
    """What a loaded asset was made ready for: a set of the same textures, frame and rule can go on from there.

    Attributes:
        shape, complaints: what came of it.
    """

    max_texture: int
    frame: int | None
    normalisation: str
    shape: Shape
    complaints: list[str]

    def fits(self, request: RenderRequest) -> bool:
        """Whether a set wants the same."""
        mine = (self.max_texture, self.frame, self.normalisation)
        return mine == (request.max_texture, request.frame, request.normalisation)


@dataclass
class Loaded:
    """The asset that is in the scene.

    Attributes:
        up: the axis that its coordinates were read with; `turn` stands it upright.
        missing, complaints: of the import.
        seconds: wall seconds since the last set, by phase: the import, or what it took to go back to it.
        placed: what it was made ready for last, if it was.
        kept: steps to come back to: as imported, and as placed.
        touched: whether the scene is any other than at the last of them.
    """

    request: LoadRequest
    up: str
    turn: Matrix
    missing: list[str]
    complaints: list[str]
    seconds: dict[str, float]
    placed: Placed | None = None
    kept: int = 1
    touched: bool = False


_scene: list[Loaded] = []
"""The asset in Blender's one scene, or none."""


def load_asset(request: LoadRequest) -> None:
    """Imports an asset. What is done here depends on its files alone. Raises Failure."""
    _scene.clear()
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
    lap(seconds, "textures", start)
    if request.keep:
        steps.keep()
    _scene.append(Loaded(request, up, turn.copy(), missing, complaints, seconds))


def render_asset(request: RenderRequest) -> RenderReply:
    """Makes ready, lights and renders the loaded asset. Raises Failure."""
    loaded, placed = make_ready(request)
    seconds, loaded.seconds = loaded.seconds, {}
    start = time.perf_counter()
    cycles, knows = request.engine == "CYCLES", request.format in KNOW_SIDES
    complaints: list[str] = []
    exr: list[str] = []
    render_seconds: dict[str, float] = {}
    for number, (layer, one) in enumerate(looks(request)):
        lighting.apply(one)
        if number == 0:
            if request.look["cull_back_faces"]:  # as all looks of a set say
                backfaces.cull(watch=cycles and knows)
            if cycles and not knows:
                backfaces.count()
        exr += cameras.colour(one, layer, render_seconds, complaints)
    if request.more_looks:
        lighting.settings(request)  # the depth of a set of looks is that of the first alone
    exr += cameras.depth(request, render_seconds, complaints)
    lap(seconds, "render", start)
    seconds |= render_seconds
    shape = placed.shape
    return RenderReply(
        exr=exr,
        scale=shape.scale,
        offset=shape.offset,
        radius=shape.radius,
        up=loaded.up,
        face_count=shape.faces,
        vertex_count=shape.vertices,
        object_count=shape.objects,
        unsure_images=len(textures.left_to_cycles()),
        missing_textures=loaded.missing,
        complaints=[*loaded.complaints, *placed.complaints, *complaints],
        seconds=seconds,
    )


def make_ready(request: RenderRequest) -> tuple[Loaded, Placed]:
    """Textures, pose and size as the set wants them, of the asset as it was imported: what another set has changed is
    taken back."""
    start = time.perf_counter()
    if _scene[0].touched:
        if taken_back(_scene[0], request):
            lap(_scene[0].seconds, "import", start)
        else:
            load_asset(_scene[0].request)
    loaded = _scene[0]
    loaded.touched = True
    if loaded.placed is not None:
        return loaded, loaded.placed

    start = time.perf_counter()
    complaints: list[str] = []
    textures.shrink(request.max_texture)
    if request.format not in (*KNOW_SIDES, "blend"):  # glTF's OPAQUE says so, and a .blend is as its author saw it
        complaints += alpha.unused_cutouts()
    lap(loaded.seconds, "textures", start)

    start = time.perf_counter()
    geometry.pose(request.frame)
    shape = geometry.normalise(request.normalisation, loaded.turn, complaints)
    loaded.placed = Placed(request.max_texture, request.frame, request.normalisation, shape, complaints)
    if loaded.request.keep:
        steps.keep()
        loaded.kept = 2
    lap(loaded.seconds, "normalise", start)
    return loaded, loaded.placed


def taken_back(loaded: Loaded, request: RenderRequest) -> bool:
    """Goes back to the last step that the set can begin from; False if there is none, and the file must be read."""
    if not loaded.request.keep:
        return False
    placed = loaded.placed
    ready = placed is not None and placed.fits(request)
    wanted = 2 if ready else 1
    steps.back(loaded.kept - wanted + 1)
    loaded.kept = wanted
    if ready:
        return True
    loaded.placed = None
    return placed is None or placed.max_texture == request.max_texture or textures.restore(placed.max_texture)


def looks(request: RenderRequest) -> list[tuple[str, RenderRequest]]:
    """The layer and the request of every look. Those without occlusion come last: what they change of the objects is
    not undone."""
    found = [(cameras.COLOUR, request)]
    for number, look in enumerate(request.more_looks, 1):
        found.append((f"look{number}", replace(request, look=look, samples=look["samples"])))
    return sorted(found, key=lambda one: not one[1].look["occlusion"])


def import_apart(request: LoadRequest, path: Path, up: str, turn: Matrix, complaints: list[str]) -> tuple[str, Matrix]:
    """Imports an OBJ of which faces were dropped once more, those that lie back to back kept apart, and says how many
    are still not there."""
    declared = twins.declared_faces(path)
    if request.apart and (copy := twins.apart(path, Path(request.out), request.textures)):
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
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start
