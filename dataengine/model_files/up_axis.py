"""Which way is up in a file whose format does not say? OBJ is read y up, and scans and robots' models are often z up.

Two signs are looked for, and only what is told by one axis and denied by the other is believed: a thing that stands
on the ground begins at 0 and is centred sideways; a thing that was turned on a lathe is as wide as it is deep.
"""

import re

import numpy as np
import numpy.typing as npt

Bounds = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]

GROUND = 0.05  # of the height: how far from 0 the lowest point may lie
CENTRED = 0.05  # of the width: how far from 0 the middle may lie
EQUAL = 0.03  # of the width: how much the depth may differ
LONG = 1.15  # times the width: a body of revolution this long has an axis one can tell from a ball's or a wheel's
FLATTEST = 0.2  # of the width: a flatter thing that begins at 0 may as well hang on a wall

_VERTEX = re.compile(rb"\nv[ \t]+([-+.\deE]+)[ \t]+([-+.\deE]+)[ \t]+([-+.\deE]+)")


def bounds_of(block: bytes, before: Bounds | None) -> Bounds | None:
    """Widens the bounding box (low, high) by an OBJ's `v` lines, each behind a line break."""
    try:
        points = np.array(_VERTEX.findall(block), dtype=np.bytes_).astype(np.float64)
    except ValueError:
        return before
    points = points[np.isfinite(points).all(axis=1)] if len(points) else points
    if not len(points):
        return before
    low, high = points.min(axis=0), points.max(axis=0)
    return (low, high) if before is None else (np.minimum(low, before[0]), np.maximum(high, before[1]))


def guess_up(low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]) -> str | None:
    """'Z' where the bounding box (low, high) of a file that is read y up speaks for z, else None.

    Args:
        low, high: (3,) in the file's own axes.
    """
    return "Z" if _upright(low, high, 2) and not _upright(low, high, 1) else None


def _upright(low: npt.NDArray[np.float64], high: npt.NDArray[np.float64], up: int) -> bool:
    size = high - low
    a, b = (axis for axis in range(3) if axis != up)
    width = max(size[a], size[b])
    if not size[up] or not width:
        return False
    centred = all(abs(low[axis] + high[axis]) <= 2 * CENTRED * size[axis] for axis in (a, b))
    stands = abs(low[up]) <= GROUND * size[up] and size[up] >= FLATTEST * width
    turned = abs(size[a] - size[b]) <= EQUAL * width and size[up] >= LONG * width
    return centred and bool(stands or turned)
