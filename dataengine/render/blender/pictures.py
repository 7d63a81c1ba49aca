"""Pictures that Blender or Cycles cannot open, from memory. "Blender opens it" is not "Cycles can sample it"."""

import io
import struct
from pathlib import Path

import bpy
import numpy as np

CYCLES_READS = (b"\x89PNG", b"\xff\xd8", b"BM", b"II*\0", b"MM\0*", b"v/1\x01", b"#?R", b"DDS ")


def cycles_reads(image: bpy.types.Image) -> bool:
    """Whether Cycles can take an image that Blender has opened. What is packed it takes from Blender."""
    if image.packed_file is not None:
        return True
    file = Path(image.filepath_from_user())
    try:
        with file.open("rb") as f:
            start = f.read(16)
    except (OSError, ValueError):
        return False
    return start.startswith(CYCLES_READS) or start[8:12] == b"WEBP" or file.suffix.lower() == ".tga"


def from_memory(image: bpy.types.Image) -> None:
    """Puts a copy of its pixels, which Cycles need not open, in an image's place. No such format is scene-linear."""
    pixels = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(pixels)
    replace(image, pixels, image.size[0], image.size[1])


def from_pillow(image: bpy.types.Image, file: str | None) -> bool:
    """Opens what Blender has not: a GIF is a film to it. False where Pillow is not there, or cannot either."""
    try:
        from PIL import Image
    except ImportError:
        return False
    try:
        packed = image.packed_file
        data = packed.data if packed is not None else Path(file or image.filepath_from_user()).read_bytes()
        with Image.open(io.BytesIO(data)) as picture:
            rgba = np.asarray(picture.convert("RGBA"))
    except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError):
        return False
    replace(image, (rgba[::-1].astype(np.float32) / 255).ravel(), rgba.shape[1], rgba.shape[0])
    return True


def replace(image: bpy.types.Image, pixels: np.ndarray, width: int, height: int) -> None:  # type: ignore[type-arg]
    copy = bpy.data.images.new(f"{image.name}.pixels", width, height, alpha=True)
    copy.colorspace_settings.name = "Non-Color" if image.colorspace_settings.is_data else "sRGB"
    copy.alpha_mode = image.alpha_mode
    copy.pixels.foreach_set(pixels)
    image.user_remap(copy)
