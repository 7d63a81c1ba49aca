"""Reads the one kind of OpenEXR file that Blender is told to write, and refuses every other.

The file comes out of a process that may have been taken over, so no large parser looks at it: single part, scan lines
in order, not compressed, all channels of full size. Layout: OpenEXR File Layout, openexr.com.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
Kind = np.dtype[Any]

MAGIC = b"\x76\x2f\x31\x01"
LONG_NAMES = 0x400
NAME_BYTES = 255
CHANNELS = 65536
MOST_SIDE = 65536
PASSES = 5  # times that the same views may be rendered, see passes.py
TYPES: dict[int, Kind] = {0: np.dtype("<u4"), 1: np.dtype("<f2"), 2: np.dtype("<f4")}


class NotOurs(Exception):
    """The file is not what Blender was told to write."""


def read(path: Path) -> dict[str, Float]:
    """Channel name → (height, width) values. Raises NotOurs if the file is not as described."""
    data = path.read_bytes()
    try:
        return _read(data)
    except (struct.error, ValueError, IndexError, UnicodeDecodeError) as error:
        raise NotOurs(f"{path.name} is cut short or damaged") from error


def _read(data: bytes) -> dict[str, Float]:
    if data[:4] != MAGIC or struct.unpack_from("<I", data, 4)[0] & ~LONG_NAMES != 2:
        raise NotOurs("it is no OpenEXR file of one part in scan lines")
    attributes, at = _header(data)
    if attributes.get("compression") != b"\0" or attributes.get("lineOrder") != b"\0":
        raise NotOurs("the OpenEXR file is compressed, or its lines are not in order")
    left, top, right, bottom = struct.unpack("<4i", attributes.get("dataWindow", b""))
    width, height = right + 1, bottom + 1
    if left or top or not 0 < width < MOST_SIDE or not 0 < height < MOST_SIDE:
        raise NotOurs("the OpenEXR file has a window that Blender does not write")
    kinds = _channels(attributes.get("channels", b""))
    line = 8 + width * sum(kind.itemsize for kind in kinds.values())
    start = at + 8 * height  # behind the table of where lines begin: they follow one another
    if len(data) != start + line * height:
        raise NotOurs("the OpenEXR file is cut short")
    rows = np.frombuffer(data, np.uint8, line * height, start).reshape(height, line)
    heads = np.ascontiguousarray(rows[:, :8]).view("<i4")
    if (heads[:, 0] != np.arange(height)).any() or (heads[:, 1] != line - 8).any():
        raise NotOurs("the OpenEXR file's lines are not in order")
    planes: dict[str, Float] = {}
    at = 8
    for name, kind in kinds.items():
        size = width * kind.itemsize
        planes[name] = np.ascontiguousarray(rows[:, at : at + size]).view(kind).astype(np.float32, copy=False)
        at += size
    return planes


def _header(data: bytes) -> tuple[dict[str, bytes], int]:
    """Attribute → value, and where the header ends."""
    attributes: dict[str, bytes] = {}
    at = 8
    while data[at] != 0:
        name, at = _text(data, at)
        _, at = _text(data, at)
        (size,) = struct.unpack_from("<i", data, at)
        at += 4
        if not 0 <= size <= len(data) - at:
            raise NotOurs("the OpenEXR file's header is damaged")
        attributes[name] = data[at : at + size]
        at += size
    return attributes, at + 1


def _channels(data: bytes) -> dict[str, Kind]:
    """In file order, which is that of the values in a line."""
    kinds: dict[str, Kind] = {}
    at = 0
    while data[at] != 0:
        name, at = _text(data, at)
        kind, _, x, y = struct.unpack_from("<iIii", data, at)
        at += 16
        if kind not in TYPES or (x, y) != (1, 1) or name in kinds or len(kinds) == CHANNELS:
            raise NotOurs("the OpenEXR file has channels that Blender does not write")
        kinds[name] = TYPES[kind]
    return kinds


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(b"\0", at, at + NAME_BYTES + 1)
    return data[at:end].decode(), end + 1


def most_bytes(width: int, height: int, views: int, planes: int = 8) -> int:
    """More than Blender writes for so many views: all passes of so many planes of 4 bytes, headers, tables."""
    return views * PASSES * (width * height * planes * 4 + height * 16 + (1 << 16)) + (1 << 20)
