"""PNG of 3 × 16 bits, against the specification's own words and what Pillow makes of it."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from dataengine.render import png16


@given(hnp.arrays(np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_round_trip_and_the_upper_bytes_through_pillow(pixels: np.ndarray) -> None:
    data = png16.encode(pixels)
    np.testing.assert_array_equal(png16.decode(data), pixels)
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), pixels >> 8)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def filtered(rows: np.ndarray, kinds: list[int]) -> bytes:
    """Every byte by the words of PNG 9.2: x the byte, a its left, b its upper, c its upper left neighbour."""
    out = bytearray()
    for y, kind in enumerate(kinds):
        out.append(kind)
        for x in range(rows.shape[1]):
            a = int(rows[y, x - 6]) if x >= 6 else 0
            b = int(rows[y - 1, x]) if y else 0
            c = int(rows[y - 1, x - 6]) if y and x >= 6 else 0
            p = a + b - c
            pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
            paeth = a if pa <= pb and pa <= pc else b if pb <= pc else c
            out.append((int(rows[y, x]) - (0, a, b, (a + b) // 2, paeth)[kind]) % 256)
    return bytes(out)


def test_files_of_other_programs_are_read_too() -> None:
    """All five filters, the content in two chunks, and a chunk that we do not know."""
    pixels = np.random.default_rng(0).integers(0, 65536, (5, 7, 3), np.uint16)
    body = zlib.compress(filtered(pixels.astype(">u2").view(np.uint8).reshape(5, 42), [4, 3, 2, 1, 0]))
    head = struct.pack(">IIBBBBB", 7, 5, 16, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"tEXt", b"a\0b"), chunk(b"IDAT", body[:9]), chunk(b"IDAT", body[9:])]
    data = png16.SIGNATURE + b"".join([*parts, chunk(b"IEND", b"")])
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels >> 8)
    np.testing.assert_array_equal(png16.decode(data), pixels)


def test_what_is_damaged_or_something_else_is_refused() -> None:
    good = png16.encode(np.full((4, 4, 3), 700, np.uint16))
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "png")
    flipped = bytearray(good)
    flipped[45] ^= 1
    for bad in (b"", b"GIF89a", buffer.getvalue(), good[:40], good[:-20], bytes(flipped)):
        with pytest.raises(ValueError, match="PNG"):
            png16.decode(bad)
