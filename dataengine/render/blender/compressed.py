"""glTF whose meshes (meshopt) or textures (KTX2 with Basis Universal) Blender cannot read, as a plain GLB.

The decoders are meshoptimizer's and Basis Universal's own, as Python packages; they run here, within the sandbox and
the limits of the asset. KHR_texture_basisu is undone only where the file offers no other image: that one is Blender's.
"""

import base64
import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from .failure import Failure

MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")
BASIS = "KHR_texture_basisu"
INSTALL = "pip install 'dataengine[compressed]' adds it"


def plain(file: Path, out: Path) -> Path:
    """The file itself, or a GLB under `out` in its place. Raises Failure: UNSUPPORTED, MALFORMED."""
    try:
        text = json_of(file)
    except (OSError, struct.error):
        return file  # the importer says what is wrong with it
    if not any(name.encode() in text for name in (*MESHOPT, BASIS)):
        return file
    try:
        document = Document(json.loads(text), binary_of(file, len(text)), file.parent)
        if not document.undo():
            return file
        target = out / "import.plain.glb"
        target.write_bytes(document.glb())
        return target
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, struct.error, OSError) as error:
        raise Failure("MALFORMED", f"its compressed data cannot be decoded: {' '.join(str(error).split())}") from error


def json_of(file: Path) -> bytes:
    """The JSON of a .gltf or .glb, and no more of it: meshes are large."""
    with file.open("rb") as f:
        head = f.read(20)
        if head[:4] != b"glTF":
            return head + f.read()
        (size,) = struct.unpack_from("<I", head, 12)
        return f.read(size)


def binary_of(file: Path, json_size: int) -> bytes:
    """The binary chunk of a .glb; nothing of a .gltf."""
    with file.open("rb") as f:
        if f.read(4) != b"glTF":
            return b""
        f.seek(20 + json_size + 8)
        return f.read()


class Document:
    """A glTF on its way into one buffer."""

    def __init__(self, data: dict[str, Any], binary: bytes, folder: Path) -> None:
        self.data, self.binary, self.folder = data, binary, folder
        self.blob = bytearray()

    def undo(self) -> bool:
        """Decodes what Blender cannot; False if there is nothing of that kind."""
        basis = [t for t in self.data.get("textures") or [] if self.needs_basis(t)]
        views: list[dict[str, Any]] = self.data.get("bufferViews") or []
        packed = [v for v in views if meshopt_of(v)]
        if not basis and not packed:
            return False
        decode = decoder() if packed else None
        for view in views:
            compressed = meshopt_of(view)
            content = decode(self.bytes_of(compressed), compressed) if decode and compressed else self.bytes_of(view)
            self.place(view, content)
        for image in self.data.get("images") or []:
            self.embed(image)
        pictures: dict[int, None] = {}
        for texture in basis:
            source = texture["extensions"].pop(BASIS)["source"]
            texture["source"] = source
            pictures[source] = None
        for index in pictures:
            self.to_png(self.data["images"][index])
        self.data["buffers"] = [{"byteLength": len(self.blob)}]
        undone = {*(MESHOPT if packed else ()), *((BASIS,) if basis else ())}
        for key in ("extensionsUsed", "extensionsRequired"):
            if names := [n for n in self.data.pop(key, []) if n not in undone]:
                self.data[key] = names
        return True

    def needs_basis(self, texture: dict[str, Any]) -> bool:
        if BASIS not in (texture.get("extensions") or {}):
            return False
        if texture.get("source") is None:
            return True
        uri = self.data["images"][texture["source"]].get("uri")
        return uri is not None and not uri.startswith("data:") and not (self.folder / unquote(uri)).is_file()

    def bytes_of(self, view: dict[str, Any]) -> bytes:
        """What a buffer view, or the compressed form of one, points at."""
        uri = self.data["buffers"][view["buffer"]].get("uri")
        buffer = self.binary if uri is None else read(uri, self.folder)
        start = view.get("byteOffset") or 0
        return bytes(buffer[start : start + view["byteLength"]])

    def place(self, view: dict[str, Any], content: bytes) -> None:
        self.blob += bytes(-len(self.blob) % 8)
        for name in MESHOPT:
            (view.get("extensions") or {}).pop(name, None)
        view |= {"buffer": 0, "byteOffset": len(self.blob), "byteLength": len(content)}
        self.blob += content

    def embed(self, image: dict[str, Any]) -> None:
        """A picture beside the file moves into it: the GLB lies elsewhere. One that is not there stays a complaint."""
        uri = image.get("uri")
        if uri is None or (not uri.startswith("data:") and not (self.folder / unquote(uri)).is_file()):
            return
        content = read(uri, self.folder)
        self.put(image, content, image.get("mimeType") or kind_of(content))

    def put(self, image: dict[str, Any], content: bytes, kind: str) -> None:
        view: dict[str, Any] = {}
        self.place(view, content)
        self.data.setdefault("bufferViews", []).append(view)
        image.pop("uri", None)
        image |= {"bufferView": len(self.data["bufferViews"]) - 1, "mimeType": kind}

    def to_png(self, image: dict[str, Any]) -> None:
        try:
            import opengl_basisu
        except ImportError as error:
            raise Failure("UNSUPPORTED", f"its textures are KTX2, which needs opengl_basisu; {INSTALL}") from error
        from PIL import Image

        if "bufferView" not in image:
            return  # not there
        try:
            texture = opengl_basisu.open(self.bytes_of_placed(image["bufferView"]))
            pixels = texture.transcode(opengl_basisu.Target.RGBA8).data
        except opengl_basisu.UnsupportedError as error:
            raise Failure("UNSUPPORTED", f"a KTX2 texture: {' '.join(str(error).split())}") from error
        png = io.BytesIO()
        Image.fromarray(pixels if texture.has_alpha else pixels[..., :3]).save(png, "PNG", compress_level=1)
        self.put(image, png.getvalue(), "image/png")

    def bytes_of_placed(self, index: int) -> bytes:
        view = self.data["bufferViews"][index]
        return bytes(self.blob[view["byteOffset"] : view["byteOffset"] + view["byteLength"]])

    def glb(self) -> bytes:
        text = json.dumps(self.data, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        self.blob += bytes(-len(self.blob) % 4)
        head = struct.pack("<4sIIII", b"glTF", 2, 28 + len(text) + len(self.blob), len(text), 0x4E4F534A)
        return b"".join((head, text, struct.pack("<II", len(self.blob), 0x004E4942), self.blob))


def meshopt_of(view: dict[str, Any]) -> dict[str, Any] | None:
    extensions = view.get("extensions") or {}
    return next((extensions[name] for name in MESHOPT if name in extensions), None)


def decoder() -> Callable[[bytes, dict[str, Any]], bytes]:
    try:
        import meshopt
    except ImportError as error:
        raise Failure(
            "UNSUPPORTED", f"its meshes are packed by meshoptimizer, which needs meshopt; {INSTALL}"
        ) from error

    def decode(content: bytes, how: dict[str, Any]) -> bytes:
        rows = meshopt.decode_gltf_buffer(
            content, how["count"], how["byteStride"], how["mode"], how.get("filter", "NONE")
        )
        return bytes(rows.tobytes())

    return decode


def read(uri: str, folder: Path) -> bytes:
    """A data URI's bytes, or a file's: preflight has seen that it lies where the asset may read."""
    if uri.startswith("data:"):
        return base64.b64decode(uri.partition(",")[2])
    return (folder / unquote(uri)).read_bytes()


def kind_of(image: bytes) -> str:
    """By content; `mimetypes` would read files of the system that the sandbox does not show."""
    if image.startswith(b"\xff\xd8"):
        return "image/jpeg"
    return "image/webp" if image[8:12] == b"WEBP" else "image/png"
