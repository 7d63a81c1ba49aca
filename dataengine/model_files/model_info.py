"""What can be known of a model file without Blender, and the failures that the format readers raise."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from dataengine.errors import AssetFailure, ErrorCode

EXTENSIONS = {
    "glb": "glb",
    "gltf": "gltf",
    "obj": "obj",
    "fbx": "fbx",
    "dae": "dae",
    "stl": "stl",
    "ply": "ply",
    "usd": "usd",
    "usda": "usd",
    "usdc": "usd",
    "usdz": "usd",
    "blend": "blend",
}
"""File extension (lower case) → the plan's `format`."""


@dataclass
class ModelInfo:
    """What a file declares of itself. None: it does not say, or saying it would cost more than reading a header.

    A reader fills these in as it goes, so that a file which is refused half-way still has what was seen before.

    Attributes:
        face_count: triangles or polygons, each mesh counted once however often it is instanced.
        vertex_count: likewise.
        dependencies: files that the main file refers to and that are there, absolute.
        missing: places inside the asset's root where a file that it refers to was looked for and is not there.
        guessed_up: the axis that seems to be up where the format has a habit and no rule; None: as the habit is.
        fingerprint: equal for files that hold the same geometry, whatever their materials; None: too small to tell.
    """

    face_count: int | None = None
    vertex_count: int | None = None
    material_count: int | None = None
    texture_count: int | None = None
    animation_count: int | None = None
    dependencies: set[Path] = field(default_factory=set)
    missing: set[Path] = field(default_factory=set)
    guessed_up: str | None = None
    fingerprint: str | None = None


def malformed(message: str) -> NoReturn:
    raise AssetFailure(ErrorCode.MALFORMED, message)


def too_large(message: str) -> NoReturn:
    raise AssetFailure(ErrorCode.TOO_LARGE, message)


def unsupported(message: str) -> NoReturn:
    raise AssetFailure(ErrorCode.UNSUPPORTED, message)


def unsafe(message: str) -> NoReturn:
    raise AssetFailure(ErrorCode.UNSAFE_PATH, message)


def not_finite() -> NoReturn:
    """Importers turn what is no number into 0, and a face with such a corner into a spike: it must be seen before."""
    raise AssetFailure(ErrorCode.BAD_GEOMETRY, "some vertices are not finite numbers")


def show(text: str, limit: int = 80) -> str:
    """A name from a file, fit for one line of a message."""
    text = text if len(text) <= limit else text[:limit] + "…"
    return repr(text.encode("utf-8", "backslashreplace").decode("utf-8"))
