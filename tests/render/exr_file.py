"""Writes the simplest OpenEXR file: scan lines, not compressed, 32-bit floats (openexr.com, OpenEXR File Layout)."""

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt


def write_exr(path: Path, rgb: npt.ArrayLike) -> Path:
    """(H, W, 3) from the top left, as pictures are stored."""
    pixels = np.asarray(rgb, "<f4")
    height, width, _ = pixels.shape

    def attribute(name: str, kind: str, value: bytes) -> bytes:
        return name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(value)) + value

    channels = b"".join(name + b"\0" + struct.pack("<iIii", 2, 0, 1, 1) for name in (b"B", b"G", b"R")) + b"\0"
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    head = struct.pack("<II", 20000630, 2) + b"".join(
        [
            attribute("channels", "chlist", channels),
            attribute("compression", "compression", b"\0"),
            attribute("dataWindow", "box2i", window),
            attribute("displayWindow", "box2i", window),
            attribute("lineOrder", "lineOrder", b"\0"),
            attribute("pixelAspectRatio", "float", struct.pack("<f", 1)),
            attribute("screenWindowCenter", "v2f", struct.pack("<2f", 0, 0)),
            attribute("screenWindowWidth", "float", struct.pack("<f", 1)),
            b"\0",
        ]
    )
    size = 12 * width
    start = len(head) + 8 * height
    table = struct.pack(f"<{height}Q", *(start + y * (8 + size) for y in range(height)))
    lines = [struct.pack("<ii", y, size) + pixels[y, :, ::-1].T.tobytes() for y in range(height)]
    path.write_bytes(head + table + b"".join(lines))
    return path
