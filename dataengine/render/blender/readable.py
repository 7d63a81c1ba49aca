"""Before the import: a copy of the file that Blender's importer reads as its format means it, where it would not."""

from dataclasses import dataclass, field
from pathlib import Path

from . import collada, compressed, gltf_text, ply, usd_text, wavefront
from .ply import Ply
from .protocol import LoadRequest


@dataclass
class Readable:
    """What to import.

    Attributes:
        path: the file itself, or a copy in the request's folder.
        polygons: of a PLY, what its header says beside.
        missing: files that it declares and that are not there: textures and material libraries, by name.
    """

    path: Path
    missing: list[str] = field(default_factory=list)
    polygons: Ply | None = None

    def dress(self, complaints: list[str]) -> None:
        """After the import: materials that the file has and the importer knows nothing of."""
        if self.polygons:
            ply.dress(self.polygons, complaints)


def readable(request: LoadRequest, complaints: list[str]) -> Readable:
    """Raises Failure: UNSUPPORTED, MALFORMED."""
    file, out = Path(request.path), Path(request.out)
    match request.format:
        case "glb" | "gltf":
            path, missing = gltf_text.readable(file, out, request.textures, complaints)
            return Readable(compressed.plain(path, out), missing)
        case "obj":
            return Readable(*wavefront.readable(file, out, request.textures))
        case "dae":
            return Readable(*collada.readable(file, out, request.textures))
        case "ply":
            found = ply.readable(file, out, request.textures, complaints)
            return Readable(found.path, found.missing, found)
        case "usd":
            return Readable(*usd_text.readable(file, out, request.textures))
        case "stl":
            return Readable(lower_case(file, out))
        case _:
            return Readable(file)


def lower_case(file: Path, out: Path) -> Path:
    """An STL's text in lower case, which is all that Blender reads and not all that CAD programs write."""
    with file.open("rb") as f:
        start = f.read(1 << 10)
        words = start.split()
        if not words or words[0].lower() != b"solid" or b"\0" in start or b"facet" not in start.lower():
            return file
        if words[0] == b"solid" and b"facet" in start:
            return file
        f.seek(0)
        target = out / "import.stl"
        with target.open("wb") as copy:
            while block := f.read(8 << 20):
                copy.write(block.lower())
    return target


def discard(request: LoadRequest) -> None:
    """Deletes the copies once they are imported."""
    for copy in Path(request.out).glob("import.*"):
        copy.unlink()
