"""Wavefront OBJ and the MTL files it names. Read in blocks: a scan may be gigabytes of text."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from dataengine.corpus.config import Limits
from dataengine.model_files.formats.images import PixelBudget
from dataengine.model_files.model_info import ModelInfo, malformed, not_finite, too_large
from dataengine.model_files.references import References
from dataengine.model_files.up_axis import bounds_of, guess_up

BLOCK = 8 << 20
LINE_BYTES = 256 << 20
MTL_BYTES = 16 << 20
BOM = b"\xef\xbb\xbf"

_STATEMENT = re.compile(rb"^[ \t]*(mtllib|usemtl|o)[ \t]+([^\r\n]*)", re.MULTILINE)
_MATERIAL_WORDS = re.compile(rb"^[ \t]*(?:mtllib|usemtl|o|g|s|#)(?:[ \t][^\n]*)?\n?", re.MULTILINE)
_MAP = re.compile(rb"^[ \t]*(?:map_\w+|bump|disp|decal|refl|norm)[ \t]+([^\r\n]*)", re.MULTILINE | re.IGNORECASE)
_NO_NUMBER = re.compile(rb"\nv(?=[ \t])[^\n]*[ \t+-](?:nan|inf)", re.IGNORECASE)
_FACE = re.compile(rb"\nf[ \t]([^\n]*)")
_CORNER = re.compile(rb"(?:^|(?<=[ \t]))-?\d+")
_OPTION = re.compile(
    r"-(?:(?:o|s|t)(?:\s+[-+.\deE]+){1,3}|mm(?:\s+[-+.\deE]+){1,2}"
    r"|(?:blendu|blendv|cc|clamp|imfchan|texres|type|bm|boost)\s+\S+)\s+"
)


def read(path: Path, references: References, limits: Limits, info: ModelInfo) -> None:
    """Reads an .obj and its materials. Fills `info`; raises AssetFailure."""
    vertices = faces = objects = 0
    libraries: dict[str, None] = {}
    materials: set[bytes] = set()
    shape = hashlib.sha256()
    box = None
    odd: set[int] = set()  # vertices that are no numbers
    for block in _blocks(path):
        box = bounds_of(block, box)
        odd |= {vertices + 1 + _count(block[: m.start()], b"v") for m in _NO_NUMBER.finditer(block)}
        vertices += _count(block, b"v")
        faces += _count(block, b"f")
        shape.update(_MATERIAL_WORDS.sub(b"", block))
        for word, rest in _STATEMENT.findall(block):
            if word == b"o":
                objects += 1
            elif word == b"usemtl" and len(materials) <= 10 * limits.materials:
                materials.add(rest.strip())
            elif word == b"mtllib" and len(libraries) < 64:
                libraries[rest.decode("utf-8", "surrogateescape").strip()] = None
    info.vertex_count, info.face_count, info.material_count = vertices, faces, len(materials)
    info.animation_count = 0
    info.guessed_up = guess_up(*box) if box else None
    if vertices >= 64:
        info.fingerprint = shape.hexdigest()
    textures = _read_materials(path, references, list(libraries), info)
    if not vertices:
        malformed("no OBJ: not one vertex in it")
    for what, count, limit in (
        ("vertices", vertices, limits.elements),
        ("faces", faces, limits.elements),
        ("objects", objects, limits.objects),
        ("materials", len(materials), limits.materials),
    ):
        if count > limit:
            too_large(f"{count} {what} (limit {limit})")
    if odd:
        _check_unused(path, odd)
    pixels = PixelBudget(limits)
    for texture in textures:
        pixels.add_file(texture)


def _blocks(path: Path) -> Iterator[bytes]:
    """Whole lines, about BLOCK bytes at a time; each block starts with a line break."""
    rest = b"\n"
    with path.open("rb") as f:
        start = f.read(BLOCK)
        carriage = b"\r" in start and b"\n" not in start  # an old Mac's line ends
        f.seek(len(BOM) if start.startswith(BOM) else 0)
        del start
        while data := f.read(BLOCK):
            data = data.replace(b"\r", b"\n") if carriage else data
            cut = data.rfind(b"\n")
            if cut < 0:
                rest += data
                if len(rest) > LINE_BYTES:
                    malformed(f"a line of over {LINE_BYTES} bytes")
                continue
            yield rest + data[:cut]
            rest = data[cut:]
    yield rest


def _check_unused(path: Path, odd: set[int]) -> None:
    """Raises AssetFailure if a face has one of these vertices, or counts backwards, so that it may."""
    for block in _blocks(path):
        for line in _FACE.findall(block):
            corners = {int(corner) for corner in _CORNER.findall(line)}
            if corners & odd or min(corners, default=1) < 0:
                not_finite()


def _count(block: bytes, word: bytes) -> int:
    return block.count(b"\n" + word + b" ") + block.count(b"\n" + word + b"\t")


def _read_materials(path: Path, references: References, libraries: list[str], info: ModelInfo) -> list[Path]:
    """Finds the MTL files and their maps; returns the maps that are there."""
    names: set[str] = set()
    textures: set[Path] = set()
    for line in libraries:
        for library in _libraries(line, path.parent, references):
            info.dependencies.add(library)
            with library.open("rb") as f:
                text = f.read(MTL_BYTES + 1)
            if len(text) > MTL_BYTES:
                too_large(f"material library {library.name!r} is over {MTL_BYTES} bytes")
            for rest in _MAP.findall(text.replace(b"\r", b"\n")):
                name = _map_name(rest.decode("utf-8", "surrogateescape"))
                if name:
                    names.add(name)
                    texture = references.find_path(name, library.parent)
                    if texture is not None:
                        textures.add(texture)
    info.dependencies |= textures
    info.texture_count = len(names)
    return sorted(textures)


def _libraries(line: str, folder: Path, references: References) -> list[Path]:
    """`mtllib a b.mtl` is one name with a space to Blender, two names to the specification."""
    whole = references.find_path(line.strip('"'), folder)
    if whole is not None:
        return [whole]
    parts = [references.find_path(part, folder) for part in line.split()]
    return [part for part in parts if part is not None]


def _map_name(rest: str) -> str:
    rest = rest.strip()
    while match := _OPTION.match(rest):
        rest = rest[match.end() :]
    return rest.strip().strip('"')
