"""Views as the tokenizer takes them: straight-alpha RGBA composited over a declared background, in [-1, 1]."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from dataengine.errors import DataengineError, UsageError

UInt8 = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

BACKGROUNDS: dict[str, Colour] = {"white": (255, 255, 255), "grey": (128, 128, 128), "black": (0, 0, 0)}


def parse_background(text: str) -> Colour:
    """`white`, `grey`, `black` or `R,G,B` (0 to 255). Raises UsageError for anything else."""
    if text in BACKGROUNDS:
        return BACKGROUNDS[text]
    parts = text.split(",")
    if len(parts) != 3 or not all(p.strip().isascii() and p.strip().isdecimal() and int(p) <= 255 for p in parts):
        raise UsageError(f"background {text!r} is neither white, grey, black nor R,G,B with numbers from 0 to 255")
    return int(parts[0]), int(parts[1]), int(parts[2])


def scale_down(image: UInt8, side: int) -> UInt8:
    """(H, W) or (H, W, 3) → `side` pixels per side: the mean over each new pixel's area.

    Raises:
        UsageError: if the image is not square or smaller than that: pixels that were never rendered teach nothing.
    """
    height, width = image.shape[:2]
    if height != width or side > height:
        raise UsageError(f"views of {width}×{height} cannot be scaled down to {side}×{side}")
    return np.array(Image.fromarray(image).resize((side, side), Image.Resampling.BOX))


def decode_png(content: bytes) -> UInt8:
    """(H, W, 4) uint8 straight-alpha RGBA of a PNG; opaque where it has no alpha.

    Raises:
        DataengineError: if it is no whole image.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(image.convert("RGBA"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as e:
        raise DataengineError(f"not a PNG that can be decoded: {e}") from e


def composite(rgba: UInt8, background: Colour) -> UInt8:
    """(…, H, W, 4) over a colour → (…, H, W, 3) uint8. Mixed in sRGB, rounded; in integers, so the same everywhere."""
    out = rgba.copy()
    pixels, flat = out.view(np.uint32).reshape(-1), out.reshape(-1, 4)
    alpha = np.ascontiguousarray(flat[:, 3])
    pixels[alpha == 0] = np.array([*background, 0], np.uint8).view(np.uint32)  # four bytes in one write
    edge = np.flatnonzero((alpha > 0) & (alpha < 255))  # few pixels: the mix costs most of the time
    share = alpha[edge, None].astype(np.uint32)
    flat[edge, :3] = (flat[edge, :3] * share + np.asarray(background, np.uint32) * (255 - share) + 127) // 255
    return np.ascontiguousarray(out[..., :3])
