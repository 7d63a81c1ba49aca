"""COLLADA: one pass of expat, which keeps nothing. Entities are refused; COLLADA has no use for them."""

import re
from pathlib import Path
from typing import BinaryIO
from xml.parsers import expat

from dataengine.corpus.config import Limits
from dataengine.model_files.formats.images import PixelBudget
from dataengine.model_files.model_info import ModelInfo, malformed, not_finite, too_large, unsafe
from dataengine.model_files.references import References

DEPTH = 500
WHITE = " \t\r\n"
MOST = 3.4028235e38  # the largest float, which is what Blender keeps
_ODD = re.compile(r"[^-+.\d\s]")  # in an array of numbers: at least the `e` of an exponent
_FACES = {"triangles", "polylist", "polygons"}  # Blender drops trifans and tristrips


class _Reader:
    def __init__(self, size: int, limits: Limits) -> None:
        self.size, self.limits = size, limits
        self.path: list[str] = []
        self.text: list[str] | None = None
        self.images: dict[str, None] = {}
        self.faces = self.vertices = self.materials = self.animations = self.instances = 0
        self.positions: set[str] = set()
        self.accessors: dict[str, int] = {}
        self.source = ""
        self.numbers: str | None = None  # of a float_array, what is not yet a whole token
        self.broken: set[str] = set()  # sources that hold more than finite numbers
        self.seen_root = False

    def parse(self, f: BinaryIO) -> None:
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.buffer_size = 1 << 16
        parser.StartElementHandler = self.start
        parser.EndElementHandler = self.end
        parser.CharacterDataHandler = self.characters
        parser.EntityDeclHandler = self.entity
        try:
            parser.ParseFile(f)
        except LookupError:
            return  # an encoding that Python has never heard of; libxml2 says what it makes of it
        except expat.ExpatError as e:
            if e.code in (expat.errors.codes["unknown encoding"],):
                return  # libxml2 knows more encodings than expat
            malformed(f"not well-formed XML: {e}")
        if not self.seen_root:
            malformed("no COLLADA element")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        name = name.rsplit(":", 1)[-1]
        self.path.append(name)
        if len(self.path) == 1:
            if name != "COLLADA":
                malformed(f"XML, but no COLLADA: the root is <{name[:40]}>")
            self.seen_root = True
        if len(self.path) > DEPTH:
            malformed(f"elements nested over {DEPTH} deep")
        count = self.count(attributes)
        if name in _FACES:
            self.faces += count
        elif name == "source":
            self.source = attributes.get("id", "")
        elif name == "accessor":
            self.accessors[self.source] = count
        elif name == "input" and attributes.get("semantic") == "POSITION" and self.path[-2:-1] == ["vertices"]:
            self.positions.add(attributes.get("source", "").lstrip("#"))
        elif name == "material":
            self.materials += 1
        elif name == "animation":
            self.animations += 1
        elif name in ("instance_geometry", "instance_controller", "instance_node"):
            self.instances += 1
        elif name in ("init_from", "ref"):
            self.text = []
        elif name == "float_array":
            self.numbers = ""

    def count(self, attributes: dict[str, str]) -> int:
        text = attributes.get("count")
        if text is None:
            return 0
        if not re.fullmatch(r"\s*\d{1,18}\s*", text):
            malformed(f"count={text[:20]!r}")
        # Every number takes a digit and a space; a triangle or vertex at least as much.
        if int(text) > self.size:
            too_large(f"declares {int(text)} elements in a file of {self.size} bytes")
        return int(text)

    def end(self, _name: str) -> None:
        if self.text is not None and "image" in self.path:
            self.images["".join(self.text).strip()] = None
        self.text = None
        if self.numbers is not None:
            self.take_numbers(" ")
            self.numbers = None
        self.path.pop()

    def characters(self, data: str) -> None:
        if self.text is not None and len(self.text) < 1000:
            self.text.append(data)
        if self.numbers is not None:
            self.take_numbers(data)

    def take_numbers(self, data: str) -> None:
        assert self.numbers is not None
        whole = self.numbers + data
        end = max(map(whole.rfind, WHITE)) + 1
        self.numbers = whole[end:][-100:]
        if _ODD.search(whole, 0, end) and not all(map(is_finite, whole[:end].split())):
            self.broken.add(self.source)

    def entity(self, name: str, _parameter: bool, _value: str | None, _base: str | None, *ids: str | None) -> None:
        if ids[0] is not None:
            unsafe(f"an XML entity reads {ids[0][:80]!r}")
        malformed(f"declares the XML entity {name[:40]!r}")


def is_finite(token: str) -> bool:
    try:
        return abs(float(token)) <= MOST
    except ValueError:
        return False


def read(path: Path, references: References, limits: Limits, info: ModelInfo) -> None:
    """Reads a .dae. Fills `info`; raises AssetFailure."""
    reader = _Reader(path.stat().st_size, limits)
    try:
        with path.open("rb") as f:
            reader.parse(f)
    finally:
        images = [i for i in reader.images if i]
        info.texture_count, info.material_count = len(images), reader.materials
        info.animation_count, info.face_count = reader.animations, reader.faces
        info.vertex_count = sum(reader.accessors.get(s, 0) for s in reader.positions)
    pixels = PixelBudget(limits)
    for name in images:
        image = references.find_path(name, path.parent)
        if image is not None:
            info.dependencies.add(image)
            pixels.add_file(image)
    if reader.broken & reader.positions:
        not_finite()
    for what, count, limit in (
        ("faces", reader.faces, limits.elements),
        ("objects", reader.instances, limits.objects),
        ("materials", reader.materials, limits.materials),
    ):
        if count > limit:
            too_large(f"{count} {what} (limit {limit})")
