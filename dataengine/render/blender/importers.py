"""From a file on disk to objects in the empty scene."""

from collections.abc import Callable
from pathlib import Path

import bpy
from mathutils import Matrix

from .failure import Failure

TURN_UP = {("Z", "Y"): Matrix.Rotation(1.5707963267948966, 4, "X"), ("Y", "Z"): Matrix.Rotation(-1.5707963267948966, 4, "X")}


def load(path: str, kind: str, up: str | None, complaints: list[str]) -> str:
    """Imports the file; returns the up axis ('Y' or 'Z') that its coordinates were read with.

    `up` overrides the format's own rule: the imported scene is then turned by a quarter about x.
    Raises Failure: UNSUPPORTED, MALFORMED, IMPORT_ERROR.
    """
    importer = IMPORTERS.get(kind)
    if importer is None:
        raise Failure("UNSUPPORTED", f"no importer for format {kind!r}")
    file = Path(path)
    if not file.is_file():
        raise Failure("IMPORT_ERROR", f"no regular file at {path}")
    try:
        return importer(file, up, complaints)
    except MemoryError:
        raise
    except Exception as error:  # the importers are other people's Python and raise everything
        raise as_failure(error) from error


def as_failure(error: Exception) -> Failure:
    """An importer's exception as a typed failure, told by what it says."""
    text = " ".join(str(error).removeprefix("Error: ").split())
    lower = text.lower()
    said = text[:300] or type(error).__name__
    if any(word in lower for word in UNSUPPORTED_WORDS):
        return Failure("UNSUPPORTED", said)
    if any(word in lower for word in MALFORMED_WORDS):
        return Failure("MALFORMED", said)
    return Failure("IMPORT_ERROR", f"the importer raised {type(error).__name__}: {said}")


UNSUPPORTED_WORDS = ("is not available on this addon", "version must be", "not supported", "unsupported")
MALFORMED_WORDS = ("bad gl", "missing resource", "parsing errors", "failed to read", "invalid", "ply importer", "could not open")


def gltf(file: Path, up: str | None, complaints: list[str]) -> str:
    bpy.ops.import_scene.gltf(filepath=str(file), import_shading="NORMALS")
    return turned("Y", up)


def obj(file: Path, up: str | None, complaints: list[str]) -> str:
    bpy.ops.wm.obj_import(filepath=str(file))
    return turned("Y", up)


def fbx(file: Path, up: str | None, complaints: list[str]) -> str:
    bpy.ops.import_scene.fbx(filepath=str(file), use_image_search=False)
    return turned("Y", up)


def dae(file: Path, up: str | None, complaints: list[str]) -> str:
    bpy.ops.wm.collada_import(filepath=str(file))
    return turned("Z", up)


def stl(file: Path, up: str | None, complaints: list[str]) -> str:
    bpy.ops.wm.stl_import(filepath=str(file))
    return turned("Z", up)


def ply(file: Path, up: str | None, complaints: list[str]) -> str:
    bpy.ops.wm.ply_import(filepath=str(file))
    return turned("Z", up)


def usd(file: Path, up: str | None, complaints: list[str]) -> str:
    bpy.ops.wm.usd_import(filepath=str(file))
    return turned("Z", up)


def blend(file: Path, up: str | None, complaints: list[str]) -> str:
    with bpy.data.libraries.load(str(file), link=False) as (there, here):
        here.scenes = there.scenes
    return turned("Z", up)


def turned(native: str, up: str | None) -> str:
    """Turns the imported roots when the asset's up axis is not what its importer assumed."""
    if up is None or up == native:
        return native
    turn = TURN_UP[(native, up)] if (native, up) in TURN_UP else Matrix()
    for root in [o for o in bpy.context.scene.objects if o.parent is None]:
        root.matrix_world = turn @ root.matrix_world
    return up


IMPORTERS: dict[str, Callable[[Path, str | None, list[str]], str]] = {
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
