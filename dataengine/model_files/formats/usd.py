"""USD's three encodings: text, crate and zip. Text is searched for asset paths; crates are left to Blender."""

import re
import struct
import zipfile
from pathlib import Path

from dataengine.corpus.config import Limits
from dataengine.model_files.formats.images import PixelBudget, image_size
from dataengine.model_files.model_info import ModelInfo, malformed, show, too_large, unsafe, unsupported
from dataengine.model_files.references import References

TEXT_BYTES = 256 << 20
LAYERS = 64
MEMBERS = 10_000
_ASSET = re.compile(r"@@@(.+?)@@@|@([^@\n]*)@", re.DOTALL)
_DEF = re.compile(rb'^\s*def\s+(\w+)\s+"', re.MULTILINE)
_COUNTS = re.compile(rb"\bfaceVertexCounts\s*=\s*\[([^\]]*)\]")
_POINTS = re.compile(rb"\bpoint3[fdh]\[\]\s+points\s*=\s*\[([^\]]*)\]")
_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".exr", ".hdr", ".tga", ".bmp", ".tif", ".tiff", ".ktx2", ".dds")


def read(path: Path, references: References, limits: Limits, info: ModelInfo) -> None:
    """Reads a .usd, .usda, .usdc or .usdz. Fills `info`; raises AssetFailure."""
    with path.open("rb") as f:
        head = f.read(16)
    if head.startswith(b"PK"):
        _read_zip(path, limits, info)
    elif head.startswith(b"PXR-USDC"):
        _check_crate(path)
    elif re.match(rb"#usda[ \t]+\d", head):
        _read_text(path, references, limits, info)
    elif head.startswith(b"#sdf"):
        unsupported("an old text layer (#sdf)")
    else:
        malformed("no USD: neither text, crate nor zip")


def _read_text(path: Path, references: References, limits: Limits, info: ModelInfo) -> None:
    """Follows a text layer's asset paths, and those of the text layers that they lead to."""
    pixels = PixelBudget(limits)
    kinds: dict[bytes, int] = {}
    faces = points = images = 0
    pending, seen = [path], {path}
    while pending:
        layer = pending.pop()
        text = _layer_text(layer)
        for kind in _DEF.findall(text):
            kinds[kind] = kinds.get(kind, 0) + 1
        faces += sum(m.count(b",") + bool(m.strip()) for m in _COUNTS.findall(text))
        points += sum(m.count(b"(") for m in _POINTS.findall(text))
        for match in _ASSET.finditer(text.decode("utf-8", "surrogateescape")):
            name = (match[1] or match[2] or "").split("[")[0]  # a.usdz[member]
            images += name.lower().endswith(_IMAGES)
            file = references.find_path(name, layer.parent) if name else None
            if file is None or file in seen:
                continue
            seen.add(file)
            info.dependencies.add(file)
            if len(seen) > LAYERS * 16:
                too_large(f"refers to over {LAYERS * 16} files")
            with file.open("rb") as f:
                if f.read(5) == b"#usda":
                    pending.append(file)
            pixels.add_file(file)
    info.dependencies.discard(path)
    info.face_count, info.vertex_count, info.texture_count = faces, points, images
    info.material_count = kinds.get(b"Material", 0)
    for what, count, limit in (
        ("points", points, limits.elements),
        ("faces", faces, limits.elements),
        ("prims", sum(kinds.values()), 10 * limits.objects),
        ("meshes", kinds.get(b"Mesh", 0), limits.objects),
        ("materials", info.material_count, limits.materials),
    ):
        if count > limit:
            too_large(f"{count} {what} (limit {limit})")


def _layer_text(layer: Path) -> bytes:
    with layer.open("rb") as f:
        text = f.read(TEXT_BYTES + 1)
    if len(text) > TEXT_BYTES:
        too_large(f"USD text of over {TEXT_BYTES} bytes")
    return text


def _check_crate(path: Path) -> None:
    """The crate's table of contents lies inside the file."""
    size = path.stat().st_size
    with path.open("rb") as f:
        head = f.read(24)
        if len(head) < 24:
            malformed("USD crate cut short")
        at = struct.unpack_from("<q", head, 16)[0]
        if not 0 < at <= size - 8:
            malformed("USD crate whose table of contents is not in the file")
        f.seek(at)
        sections = struct.unpack("<q", f.read(8))[0]
        if not 0 < sections <= 64 or at + 8 + sections * 32 > size:
            malformed("USD crate with a broken table of contents")
        for _ in range(sections):
            _, start, length = struct.unpack("<16sqq", f.read(32))
            if start < 0 or length < 0 or start + length > size:
                malformed("USD crate with a section outside the file")


def _read_zip(path: Path, limits: Limits, info: ModelInfo) -> None:
    if _member_count(path) > MEMBERS:
        too_large(f"a usdz of over {MEMBERS} members")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, ValueError, struct.error, OSError) as e:
        malformed(f"no usdz: {e}")
    if not members:
        malformed("an empty usdz")
    total = sum(m.file_size for m in members)
    if total > limits.file_bytes:
        too_large(f"a usdz that holds {total} bytes (limit {limits.file_bytes})")
    for member in members:
        name = member.orig_filename.replace("\\", "/")
        if name.startswith("/") or ".." in name.split("/") or name[1:2] == ":" or "\0" in name:
            unsafe(f"a usdz member is called {show(name)}")
    info.texture_count = sum(m.filename.lower().endswith(_IMAGES) for m in members)
    pixels = PixelBudget(limits)
    size = path.stat().st_size
    with path.open("rb") as f:
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED:
                unsupported(f"usdz member {show(member.filename)} is compressed")
            f.seek(member.header_offset)
            local = f.read(30)
            if len(local) < 30 or local[:4] != b"PK\x03\x04":
                malformed(f"usdz member {show(member.filename)} is not where the directory says")
            start = member.header_offset + 30 + sum(struct.unpack_from("<HH", local, 26))
            if start + member.file_size > size:
                malformed(f"usdz member {show(member.filename)} runs over the end of the file")

            def read(at: int, count: int, start: int = start, length: int = member.file_size) -> bytes:
                f.seek(start + at)
                return f.read(min(count, max(length - at, 0)))

            if image_size(read, member.filename):
                pixels.add(member.filename, read)


def _member_count(path: Path) -> int:
    """Members as the end record says, before zipfile makes an object of each."""
    with path.open("rb") as f:
        f.seek(max(path.stat().st_size - (1 << 16) - 22, 0))
        tail = f.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 12:
        malformed("no usdz: the zip's directory is missing")
    return int(struct.unpack_from("<H", tail, at + 10)[0])
