"""Picture files that other readers expect: PNG, WebP and OpenEXR from arrays."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[Any]


def png(pixels: Array) -> bytes:
    """(H, W) uint8 or uint16, or (H, W, 3 or 4) uint8."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png", compress_level=4)
    return buffer.getvalue()


def webp(pixels: Array) -> bytes:
    """(H, W, 3 or 4) uint8, without loss; the colour of transparent pixels is kept too."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "webp", lossless=True, exact=True)
    return buffer.getvalue()


def write_exr(path: Path, **channels: Array) -> None:
    """(H, W) planes as float32 channels of one scan-line file, ZIP compressed."""
    import OpenEXR

    planes = {name: np.ascontiguousarray(plane, np.float32) for name, plane in channels.items()}
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, planes) as file:
        file.write(str(path))


def normal_picture(normal: Array, rgba: Array) -> npt.NDArray[np.uint8]:
    """World normals in [-1, 1] as (H, W, 4) uint8: n * 0.5 + 0.5, and the alpha of the colour."""
    colour = np.rint((np.clip(normal, -1, 1) * 0.5 + 0.5) * 255).astype(np.uint8)
    return np.dstack([colour, rgba[..., 3]])
