"""Before the import: a copy of the file that Blender's importer reads as its format means it, where it would not."""

from dataclasses import dataclass, field
from pathlib import Path

from . import collada, compressed, gltf_text, wavefront
from .protocol import RenderRequest


@dataclass
class Readable:
    """What to import.

    Attributes:
        path: the file itself, or a copy in the request's folder.
        missing: files that it declares and that are not there: textures and material libraries, by name.
    """

    path: Path
    missing: list[str] = field(default_factory=list)


def readable(request: RenderRequest, complaints: list[str]) -> Readable:
    """Raises Failure: UNSUPPORTED, MALFORMED."""
    file, out = Path(request.path), Path(request.out)
    match request.format:
        case "glb" | "gltf":
            return Readable(compressed.plain(gltf_text.readable(file, out, request.textures, complaints), out))
        case "obj":
            return Readable(*wavefront.readable(file, out, request.textures))
        case "dae":
            return Readable(*collada.readable(file, out, request.textures))
        case _:
            return Readable(file)


def discard(request: RenderRequest) -> None:
    """Deletes the copies once they are imported."""
    for copy in Path(request.out).glob("import.*"):
        copy.unlink()
