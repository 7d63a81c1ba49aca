"""From a file on disk to objects in the empty scene."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import bpy
from mathutils import Matrix

from .failure import Failure


def load(path: str, kind: str, up: str | None, complaints: list[str]) -> tuple[str, Matrix]:
    """Imports the file; returns the up axis ('Y' or 'Z') that its coordinates were read with, and a turn still to make.

    `up` overrides the format's own rule: the imported scene has then to be turned by a quarter about x.
    Raises Failure: UNSUPPORTED, MALFORMED, IMPORT_ERROR.
    """
    importer = IMPORTERS.get(kind)
    if importer is None:
        raise Failure("UNSUPPORTED", f"no importer for format {kind!r}")
    file = Path(path)
    try:
        if not file.is_file():
            raise Failure("UNSAFE_PATH", f"no regular file at {path}")
        return importer(file, up, complaints)
    except Failure:
        raise
    except MemoryError:
        raise
    except Exception as error:  # the importers are other people's Python and raise everything
        raise as_failure(error) from error


def as_failure(error: Exception) -> Failure:
    """An importer's exception as a typed failure, told by what it says.

    Operators wrap a Python importer's exception into a RuntimeError that quotes the whole traceback.
    """
    text = str(error)
    raised = re.findall(r"^(?:[\w.]*\.)?(\w*(?:Error|Exception|Warning)\b.*)$", text, re.MULTILINE)
    said = " ".join((raised[-1] if "Traceback" in text and raised else text).removeprefix("Error: ").split())
    said = said[:300] or type(error).__name__
    lower = said.lower()
    if "memoryerror" in lower:
        return Failure("OUT_OF_MEMORY", f"the file asks for more memory than an asset may use: {said}")
    if any(word in lower for word in UNSUPPORTED_WORDS):
        return Failure("UNSUPPORTED", said)
    if any(word in lower for word in MALFORMED_WORDS):
        return Failure("MALFORMED", said)
    return Failure("IMPORT_ERROR", f"Blender's importer raised {said}")


UNSUPPORTED_WORDS = (
    "is not available on this addon",
    "version must be",
    "not supported",
    "unsupported",
    "higher version",
)
MALFORMED_WORDS = (
    "bad gl",
    "parsing errors",
    "failed to read",
    "invalid",
    "ply importer",
    "could not open",
    "missing dna",
)


def gltf(file: Path, up: str | None, _: list[str]) -> tuple[str, Matrix]:
    bpy.ops.import_scene.gltf(filepath=str(file), import_shading="NORMALS")
    return turned("Y", up)


def obj(file: Path, up: str | None, _: list[str]) -> tuple[str, Matrix]:
    bpy.ops.wm.obj_import(filepath=str(file))
    return turned("Y", up)


def fbx(file: Path, up: str | None, _: list[str]) -> tuple[str, Matrix]:
    """The file declares its axes, so an override is told to the importer, which then ignores them."""
    forward = {"Y": "-Z", "Z": "Y", None: "-Z"}[up]
    bpy.ops.import_scene.fbx(
        filepath=str(file),
        use_image_search=False,
        use_manual_orientation=up is not None,
        axis_forward=forward,
        axis_up=up or "Y",
    )
    return up or "Y", Matrix.Identity(4)


def dae(file: Path, up: str | None, _: list[str]) -> tuple[str, Matrix]:
    bpy.ops.wm.collada_import(filepath=str(file))
    declared = re.search(rb"<up_axis>\s*([XYZ])_UP", head(file))
    return turned(declared[1].decode().replace("X", "Y") if declared else "Y", up)


def stl(file: Path, up: str | None, _: list[str]) -> tuple[str, Matrix]:
    bpy.ops.wm.stl_import(filepath=str(file))
    return turned("Z", up)


def ply(file: Path, up: str | None, _: list[str]) -> tuple[str, Matrix]:
    bpy.ops.wm.ply_import(filepath=str(file))
    return turned("Z", up)


def usd(file: Path, up: str | None, _: list[str]) -> tuple[str, Matrix]:
    """A stage without upAxis is Y-up. In a binary crate the axis cannot be read without USD's own library, but the
    importer stands a Y-up stage upright by turning every root by a quarter about x, and that can be seen."""
    bpy.ops.wm.usd_import(filepath=str(file))
    start = head(file)
    if start.startswith(b"#usda"):
        declared = re.search(rb"upAxis\s*=\s*\"([YZ])\"", start)
        native = declared[1].decode() if declared else "Y"
    else:
        roots = [o for o in bpy.context.scene.objects if o.parent is None]
        native = "Y" if roots and all(abs(o.matrix_world[2][2]) < 1e-4 for o in roots) else "Z"
    return turned(native, up)


def blend(file: Path, up: str | None, complaints: list[str]) -> tuple[str, Matrix]:
    """Appends, which unlike opening takes over no settings and runs nothing. Of several scenes the one with the most
    meshes is the asset: the file's active scene is not known to an append, and two scenes at once would overlap."""
    with bpy.data.libraries.load(str(file), link=False) as (there, here):
        here.scenes = list(there.scenes)
    scenes = [scene for scene in here.scenes if scene is not None]
    if not scenes:
        return "Z", Matrix.Identity(4)
    chosen = max(scenes, key=lambda scene: sum(o.type == "MESH" for o in scene.objects))
    if len(scenes) > 1:
        complaints.append(f"{len(scenes)} scenes in the file; {chosen.name!r} was rendered")
    ours = bpy.context.scene
    for thing in chosen.collection.objects:
        ours.collection.objects.link(thing)
    for collection in chosen.collection.children:
        ours.collection.children.link(collection)
    copy_view(chosen.view_layers[0].layer_collection, bpy.context.view_layer.layer_collection)
    for thing in [thing for thing in chosen.objects if thing.hide_get(view_layer=chosen.view_layers[0])]:
        if thing.name in bpy.context.view_layer.objects:
            thing.hide_set(True)
    ours.frame_set(chosen.frame_current)
    for scene in scenes:
        bpy.data.scenes.remove(scene)
    return turned("Z", up)


def copy_view(theirs: bpy.types.LayerCollection, ours: bpy.types.LayerCollection) -> None:
    """What their view layer excludes or hides; objects and collections themselves do not know it."""
    for layer in theirs.children:
        if twin := ours.children.get(layer.name):
            twin.exclude, twin.hide_viewport = layer.exclude, layer.hide_viewport
            copy_view(layer, twin)


def head(file: Path) -> bytes:
    with file.open("rb") as f:
        return f.read(1 << 16)


def turned(native: str, up: str | None) -> tuple[str, Matrix]:
    """The up axis that counts, and the turn that makes it so where the importer assumed another."""
    if up is None or up == native:
        return native, Matrix.Identity(4)
    return up, Matrix.Rotation(math.radians(-90 if native == "Y" else 90), 4, "X")


IMPORTERS: dict[str, Callable[[Path, str | None, list[str]], tuple[str, Matrix]]] = {
    "glb": gltf,
    "gltf": gltf,
    "obj": obj,
    "fbx": fbx,
    "dae": dae,
    "stl": stl,
    "ply": ply,
    "usd": usd,
    "usda": usd,
    "usdc": usd,
    "usdz": usd,
    "blend": blend,
}
