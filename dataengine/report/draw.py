"""Pictures put together from blocks, with Pillow alone."""

from bisect import bisect_right
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

PAPER = (255, 255, 255)
INK = (34, 36, 40)
FAINT = (120, 124, 132)
RULE = (222, 224, 228)
GOOD = (32, 128, 72)
BAD = (190, 40, 36)
NOTE = (176, 116, 0)

RGB = tuple[int, int, int]

# matplotlib's viridis (Smith & van der Walt, CC0) at nine even steps.
VIRIDIS = np.array(
    [
        (68, 1, 84),
        (71, 44, 122),
        (59, 81, 139),
        (44, 113, 142),
        (33, 144, 141),
        (39, 173, 129),
        (92, 200, 99),
        (170, 220, 50),
        (253, 231, 37),
    ]
)


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font."""
    return ImageFont.load_default(size)


def width_of(text: str, size: int) -> int:
    return round(font(size).getlength(text))


def wrap(text: str, size: int, width: int) -> list[str]:
    """Lines that fit; words longer than a line (hashes, paths) are broken."""
    lines: list[str] = []
    for paragraph in text.splitlines() or [""]:
        line = ""
        for word in paragraph.split():
            joined = f"{line} {word}" if line else word
            if width_of(joined, size) <= width:
                line = joined
                continue
            if line:
                lines.append(line)
            while width_of(word, size) > width:
                fits = max(1, bisect_right(range(1, len(word) + 1), width, key=lambda n: width_of(word[:n], size)))
                lines.append(word[:fits])
                word = word[fits:]
            line = word
        lines.append(line)
    return lines


def text_block(text: str, width: int, size: int = 14, colour: RGB = INK, ground: RGB = PAPER) -> Image.Image:
    """Wrapped text on a ground, as high as it needs."""
    lines = wrap(text, size, width)
    step = round(size * 1.35)
    image = Image.new("RGB", (width, step * len(lines) + 2), ground)
    pen = ImageDraw.Draw(image)
    for i, line in enumerate(lines):
        pen.text((0, i * step), line, colour, font(size))
    return image


def table_block(rows: Sequence[tuple[str, str]], width: int, size: int = 13, label_width: int = 110) -> Image.Image:
    """Labels and wrapped values."""
    values = [text_block(value, width - label_width, size) for _, value in rows]
    image = Image.new("RGB", (width, sum(v.height + 2 for v in values) or 1), PAPER)
    pen = ImageDraw.Draw(image)
    y = 0
    for (label, _), value in zip(rows, values, strict=True):
        pen.text((0, y), label, FAINT, font(size))
        image.paste(value, (label_width, y))
        y += value.height + 2
    return image


def over_checker(rgba: Image.Image) -> Image.Image:
    """Straight alpha over a light checkerboard, so that what is transparent shows."""
    square = 8
    y, x = np.mgrid[: rgba.height, : rgba.width] // square
    ground = Image.fromarray(np.where((x + y) % 2, 236, 250).astype(np.uint8)).convert("RGBA")
    return Image.alpha_composite(ground, rgba.convert("RGBA")).convert("RGB")


def colour_map(values: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """(…) in 0…1 → (…, 3) viridis."""
    x = np.clip(values, 0, 1) * (len(VIRIDIS) - 1)
    channels = [np.interp(x, np.arange(len(VIRIDIS)), VIRIDIS[:, c]) for c in range(3)]
    return np.stack(channels, -1).round().astype(np.uint8)


def pill(width: int, height: int, colour: RGB) -> Image.Image:
    """A rectangle with round corners, drawn larger and scaled down: Pillow's own are jagged."""
    large = Image.new("RGB", (width * 4, height * 4), PAPER)
    ImageDraw.Draw(large).rounded_rectangle((0, 0, width * 4 - 1, height * 4 - 1), 24, colour)
    return large.resize((width, height), Image.Resampling.BOX)


def fit(image: Image.Image, side: int) -> Image.Image:
    """Scaled to fit a square: smooth downwards, whole pixels upwards, centred on paper."""
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    scaled = image.resize(size, Image.Resampling.NEAREST if scale > 1.5 else Image.Resampling.LANCZOS)
    cell = Image.new("RGB", (side, side), PAPER)
    cell.paste(scaled, ((side - size[0]) // 2, (side - size[1]) // 2))
    return cell


def stack(blocks: Sequence[Image.Image], gap: int = 10, across: bool = False, ground: RGB = PAPER) -> Image.Image:
    """Blocks below (or beside) each other."""
    along = [b.width if across else b.height for b in blocks]
    other = max((b.height if across else b.width for b in blocks), default=1)
    total = sum(along) + gap * (len(blocks) - 1)
    image = Image.new("RGB", (max(total, 1), other) if across else (other, max(total, 1)), ground)
    at = 0
    for block, length in zip(blocks, along, strict=True):
        image.paste(block, (at, 0) if across else (0, at))
        at += length + gap
    return image


def framed(image: Image.Image, margin: int = 24) -> Image.Image:
    sheet = Image.new("RGB", (image.width + 2 * margin, image.height + 2 * margin), PAPER)
    sheet.paste(image, (margin, margin))
    return sheet
