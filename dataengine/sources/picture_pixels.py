"""A stranger's picture → the square that a tokenizer takes, in a process that may be killed for it (see `isolated`)."""

import io
import warnings
from base64 import b64decode, b64encode
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from dataengine.errors import AssetFailure, ErrorCode

NUMBERS = {
    "pictures": 1,  # raised when the same settings give other pixels
    "orientation": "as EXIF says",
    "crop": "centre square",
    "background": [255, 255, 255],
    "scale": "mean over each new pixel's area",
}
"""What decides the pixels besides the resolution: of a corpus of pictures, what rig and look are of a rendered one."""

FORMATS = ("JPEG", "PNG", "WEBP")
_PNG_LEVEL = 4


def prepare(content: str, side: int, most_pixels: int) -> dict[str, Any]:
    """Turns a picture as its EXIF says, crops the square in its middle, puts it on white, scales it down.

    Args:
        content: of the file, in base64.
        side: of the square that comes out.
        most_pixels: that the picture may have; looked at before any is decoded.

    Returns:
        `png`, the square as RGBA in base64, and `width` and `height` of the upright picture.

    Raises:
        AssetFailure: MALFORMED for what is no whole JPEG, PNG or WebP, TOO_LARGE, UNSUPPORTED for a picture that is
            smaller than the square: pixels that were never there teach nothing.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(b64decode(content)), formats=FORMATS) as opened:
                if opened.width * opened.height > most_pixels:
                    raise _too_large(opened.width, opened.height, most_pixels)
                if min(opened.size) < side:
                    message = f"{opened.width}×{opened.height} pixels are fewer than {side}×{side}"
                    raise AssetFailure(ErrorCode.UNSUPPORTED, message)
                upright = ImageOps.exif_transpose(opened)
        except Image.DecompressionBombError as e:
            raise AssetFailure(ErrorCode.TOO_LARGE, " ".join(str(e).split())) from e
        except UnidentifiedImageError as e:  # whose own words name an address in memory
            raise AssetFailure(ErrorCode.MALFORMED, "not a JPEG, PNG or WebP") from e
        except (OSError, ValueError, SyntaxError) as e:
            raise AssetFailure(ErrorCode.MALFORMED, f"cannot be decoded: {e}") from e
        width, height = upright.size
        edge = min(width, height)
        left, top = (width - edge) // 2, (height - edge) // 2
        square = on_white(upright.crop((left, top, left + edge, top + edge)))
    scaled = square.resize((side, side), Image.Resampling.BOX)
    buffer = io.BytesIO()
    scaled.convert("RGBA").save(buffer, "png", compress_level=_PNG_LEVEL)
    return {"png": b64encode(buffer.getvalue()).decode(), "width": width, "height": height}


def on_white(image: Image.Image) -> Image.Image:
    """In RGB: alpha composited over white, 16-bit grey cut to 8 bits, palettes and CMYK converted."""
    if image.mode.startswith("I"):  # Pillow would clip what is above 255
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return white.convert("RGB")


def _too_large(width: int, height: int, most: int) -> AssetFailure:
    return AssetFailure(ErrorCode.TOO_LARGE, f"{width}×{height} pixels (limit {most})")
