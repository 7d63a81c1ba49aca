"""The size that an image declares, from its header alone."""

import struct
from collections.abc import Callable
from pathlib import Path

from dataengine.corpus.config import Limits
from dataengine.model_files.model_info import show, too_large

Read = Callable[[int, int], bytes]
"""(offset, size) → at most that many bytes."""


class PixelBudget:
    """Refuses one texture over the limit, and many that together would fill the memory four times over."""

    def __init__(self, limits: Limits) -> None:
        self._limit = limits.texture_pixels
        self._total = 0

    def add(self, name: str, read: Read) -> None:
        """Counts one image. Raises AssetFailure TOO_LARGE. An image that cannot be understood counts nothing."""
        size = image_size(read, name)
        if size is None:
            return
        width, height = size
        if width * height > self._limit:
            too_large(f"texture {show(name)} is {width}×{height} pixels (limit {self._limit})")
        self._total += width * height
        if self._total > 4 * self._limit:
            too_large(f"the textures together are over {4 * self._limit} pixels")

    def add_file(self, path: Path) -> None:
        with path.open("rb") as f:

            def read(offset: int, size: int) -> bytes:
                f.seek(offset)
                return f.read(size)

            self.add(path.name, read)


def image_size(read: Read, name: str = "") -> tuple[int, int] | None:
    """(width, height) in pixels of a PNG, JPEG, WebP, BMP, GIF, PSD, DDS, KTX2 or TGA; None for anything else."""
    try:
        return _image_size(read, name)
    except struct.error:  # cut short: Blender cannot decode it either
        return None


def _image_size(read: Read, name: str) -> tuple[int, int] | None:
    head = read(0, 40)
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        width, height = struct.unpack_from(">II", head, 16)
    elif head.startswith(b"\xff\xd8"):
        return _jpeg_size(read)
    elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _webp_size(head)
    elif head.startswith(b"BM"):
        width, height = (abs(n) for n in struct.unpack_from("<ii", head, 18))
    elif head.startswith(b"GIF8"):
        width, height = struct.unpack_from("<HH", head, 6)
    elif head.startswith(b"8BPS"):
        height, width = struct.unpack_from(">II", head, 14)
    elif head.startswith(b"DDS "):
        height, width = struct.unpack_from("<II", head, 12)
    elif head.startswith(b"\xabKTX 20\xbb"):
        width, height = struct.unpack_from("<II", head, 20)
    elif name.lower().endswith(".tga"):
        width, height = struct.unpack_from("<HH", head, 12)
    else:
        return None
    return width, height


def _jpeg_size(read: Read) -> tuple[int, int] | None:
    at = 2
    for _ in range(10_000):  # segments before the frame header; a real file has tens
        marker, code, size = struct.unpack(">BBH", read(at, 4))
        if marker != 0xFF:
            return None
        if code == 0xFF:
            at += 1
        elif 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", read(at + 5, 4))
            return width, height
        else:
            at += 2 + size
    return None


def _webp_size(head: bytes) -> tuple[int, int] | None:
    kind = head[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", head, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        width, height = (int.from_bytes(head[a : a + 3], "little") + 1 for a in (24, 27))
        return width, height
    return None
