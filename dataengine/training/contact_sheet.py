"""Between codes and pictures: decoding, images that people bring, and contact sheets."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError
from torch import Tensor

from dataengine.corpus.output import whole_file
from dataengine.errors import UsageError

Colour = tuple[int, int, int]
COLUMNS = 8


class Codec(Protocol):
    """What is asked of a tokenizer here; `dataengine.tokenize.load` gives one."""

    def encode(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [-1, 1] → (B, h, w) codes."""
        ...

    def decode(self, codes: Tensor) -> Tensor:
        """(B, h, w) codes → (B, 3, H, W) RGB, about [-1, 1]."""
        ...


@torch.no_grad()
def decode_views(codec: Codec, codes: Tensor, grid: tuple[int, int], at_once: int = 16) -> Tensor:
    """(…, L) codes → (…, 3, H, W) RGB in [0, 1] on the CPU."""
    flat = codes.reshape(-1, *grid)
    parts = (flat[i : i + at_once] for i in range(0, len(flat), at_once))
    images = torch.cat([codec.decode(part).cpu() for part in parts])
    return (images.float().clamp(-1, 1) / 2 + 0.5).view(*codes.shape[:-1], *images.shape[1:])


def load_image(path: Path, height: int, width: int, background: Colour) -> tuple[Tensor, list[str]]:
    """A picture as the tokenizer takes it: (1, 3, height, width) RGB in [-1, 1], and what had to be done to it.

    Raises:
        UsageError: if it is no image that can be read.
    """
    try:
        with Image.open(path) as file:
            image = file.convert("RGBA")
    except FileNotFoundError as e:
        raise UsageError(f"there is no image {path}") from e
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError) as e:
        raise UsageError(f"{path} is no image that can be read: {e}") from e
    notes = []
    if np.asarray(image)[..., 3].min() < 255:
        notes.append(f"{path.name} has alpha: it was put on the tokenizer's background, RGB {background}")
    under = Image.new("RGBA", image.size, (*background, 255))
    image = Image.alpha_composite(under, image).convert("RGB")
    if image.size != (width, height):
        notes.append(f"{path.name} is {image.width}×{image.height}: it was fitted into {width}×{height}")
        image = _fit(image, width, height, background)
    pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None]
    return pixels.float() / 127.5 - 1, notes


def _fit(image: Image.Image, width: int, height: int, background: Colour) -> Image.Image:
    """Scaled to fit, its proportions kept, the rest filled."""
    scale = min(width / image.width, height / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    out = Image.new("RGB", (width, height), background)
    out.paste(image.resize(size, Image.Resampling.LANCZOS), ((width - size[0]) // 2, (height - size[1]) // 2))
    return out


def to_picture(image: Tensor) -> Image.Image:
    """(3, H, W) in [0, 1] → an image."""
    return Image.fromarray((image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())


def write_picture(image: Image.Image, path: Path) -> None:
    """Writes a PNG, whole or not at all. Raises UsageError if it cannot be written."""
    with whole_file(path) as file:
        image.save(file, format="PNG")


class Comparison:
    """Collects true and drawn views of the first objects that `eval` meets, for one sheet."""

    def __init__(self, limit: int = 8) -> None:
        self.limit, self.rows = limit, list[tuple[str, Tensor]]()

    def add(self, caption: str, true: Tensor, drawn: Tensor) -> None:
        """Two rows, (V, 3, H, W) each."""
        if len(self.rows) < 2 * self.limit:
            self.rows += [(f"true: {caption or 'no caption'}", true), ("drawn", drawn)]

    def sheet(self) -> Image.Image:
        """Small views are enlarged."""
        return sheet(self.rows, scale=max(1, 160 // self.rows[0][1].shape[-1]))


def sheet(rows: Sequence[tuple[str, Tensor]], scale: int = 1, heads: Sequence[str] = ()) -> Image.Image:
    """A contact sheet: one row of views (V, 3, H, W) in [0, 1] under each label, `heads` above the columns.

    Of more than COLUMNS views the next ones follow below, all rows again.
    """
    most = max(len(views) for _, views in rows)
    blocks = []
    for start in range(0, most, COLUMNS):
        part = slice(start, start + COLUMNS)
        blocks.append(_block([(text, views[part]) for text, views in rows if len(views) > start], scale, heads[part]))
    out = Image.new("RGB", (blocks[0].width, sum(block.height for block in blocks)), "white")
    top = 0
    for block in blocks:
        out.paste(block, (0, top))
        top += block.height
    return out


def _block(rows: Sequence[tuple[str, Tensor]], scale: int, heads: Sequence[str]) -> Image.Image:
    height, width = rows[0][1].shape[-2] * scale, rows[0][1].shape[-1] * scale
    columns, label = max(len(views) for _, views in rows), 16
    narrow = any(ImageFont.load_default().getlength(text) > width - 6 for text in heads)
    heads = [text.replace(", ", "\n") for text in heads] if narrow else heads  # a line for each of its parts
    top = label + 12 * max(text.count("\n") for text in heads) if heads else 0
    out = Image.new("RGB", (columns * width, top + len(rows) * (height + label)), "white")
    draw = ImageDraw.Draw(out)
    for c, text in enumerate(heads):
        draw.text((c * width + 3, 2), text, fill="black")
    for r, (text, views) in enumerate(rows):
        draw.text((3, top + r * (height + label) + 2), text, fill="black")
        for c, view in enumerate(views):
            picture = to_picture(view).resize((width, height), Image.Resampling.NEAREST)
            out.paste(picture, (c * width, top + r * (height + label) + label))
    return out
