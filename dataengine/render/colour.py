"""Between scene-linear light and 8-bit sRGB (IEC 61966-2-1)."""

from functools import cache

import numpy as np
import numpy.typing as npt

UInt8 = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]


def to_srgb(r: Float, g: Float, b: Float, a: Float) -> UInt8:
    """Scene-linear premultiplied planes (H, W) → (H, W, 4) uint8 sRGB with straight alpha.

    The Standard view transform: no tone curve; light above 1 is cut. NaN counts as 0.
    """
    out = np.empty((*a.shape, 4), np.uint8)
    out[..., 3] = np.fmin(np.fmax(a, 0), 1) * 255 + 0.5
    visible = out[..., 3] > 0
    # Tables of 2^16 linear steps: the finest sRGB step is 20 of them wide.
    gain = np.divide(65535, a, out=np.zeros_like(a), where=visible)
    for i, plane in enumerate((r, g, b)):
        steps = np.fmin(np.fmax(plane * gain, 0), 65535) + 0.5
        out[..., i] = _srgb_of_linear().take(steps.astype(np.uint16))
    return out


@cache
def _srgb_of_linear() -> UInt8:
    linear = np.arange(65536) / 65535
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (srgb * 255 + 0.5).astype(np.uint8)


@cache
def linear_of_srgb() -> Float:
    """(256,) float32: the linear light of each 8-bit sRGB value."""
    srgb = np.arange(256) / 255
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4).astype(np.float32)
