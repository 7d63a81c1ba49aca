"""Procedural textures, all of them tiling. Colours are sRGB in 0…1; images are square unless said otherwise."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dataengine.demo.models.gltf import Colour

Field = NDArray[np.float64]  # (size, size) in 0…1
SIZE = 256


def noise(rng: np.random.Generator, stretch: tuple[float, float] = (1.0, 1.0), power: float = 1.6) -> Field:
    """Tiling 1/f noise, scaled to 0…1; `stretch` > 1 draws it out along (u, v)."""
    fy = np.fft.fftfreq(SIZE)[:, None] * SIZE * stretch[1]
    fx = np.fft.fftfreq(SIZE)[None, :] * SIZE * stretch[0]
    spectrum = np.fft.fft2(rng.standard_normal((SIZE, SIZE))) / np.maximum(np.hypot(fx, fy), 1.0) ** power
    spectrum[0, 0] = 0
    field = np.fft.ifft2(spectrum).real
    low, high = np.percentile(field, (1, 99))
    return np.asarray(((field - low) / (high - low)).clip(0, 1))


def blend(a: Colour, b: Colour, t: Field) -> Image.Image:
    """Colour a where t is 0, b where it is 1."""
    mix = np.array(a) + (np.array(b) - np.array(a)) * t[..., None]
    return Image.fromarray(np.round(mix * 255).clip(0, 255).astype(np.uint8))


def shade(colour: Colour, factor: float) -> Colour:
    """Darker (< 1) or lighter (> 1)."""
    if factor <= 1:
        return (colour[0] * factor, colour[1] * factor, colour[2] * factor)
    t = 1 - 1 / factor
    return (colour[0] + (1 - colour[0]) * t, colour[1] + (1 - colour[1]) * t, colour[2] + (1 - colour[2]) * t)


def _drawn(size: int, ground: Colour, draw: Callable[[ImageDraw.ImageDraw, int], None]) -> Image.Image:
    """Draws at four times the size and scales down: Pillow's own edges are jagged."""
    big = Image.new("RGB", (4 * size, 4 * size), rgb(ground))
    draw(ImageDraw.Draw(big), 4 * size)
    return big.resize((size, size), Image.Resampling.BOX)


def rgb(colour: Colour) -> tuple[int, int, int]:
    return (round(colour[0] * 255), round(colour[1] * 255), round(colour[2] * 255))


def stripes(a: Colour, b: Colour, count: int, upright: bool = False, share: float = 0.5) -> Image.Image:
    """`count` stripes of b on a: rings, or upright ones."""

    def draw(pen: ImageDraw.ImageDraw, n: int) -> None:
        for i in range(count):
            low, high = round(n * (i + 0.5 - share / 2) / count), round(n * (i + 0.5 + share / 2) / count) - 1
            pen.rectangle((low, 0, high, n) if upright else (0, low, n, high), rgb(b))

    return _drawn(SIZE, a, draw)


def dots(a: Colour, b: Colour, columns: int, rows: int, size: float = 0.28) -> Image.Image:
    """Staggered dots of b on a; `size` is the radius in units of a cell's height. `rows` must be even to tile."""

    def draw(pen: ImageDraw.ImageDraw, n: int) -> None:
        w, h = n / columns, n / rows
        for j in range(rows):
            for i in range(-1, columns + 1):
                x, y = (i + 0.5 + 0.5 * (j % 2)) * w, (j + 0.5) * h
                pen.ellipse((x - size * w, y - size * h, x + size * w, y + size * h), rgb(b))

    return _drawn(SIZE, a, draw)


def checks(a: Colour, b: Colour, columns: int, rows: int) -> Image.Image:
    """Gingham: squares of b on a, half-way where rows and columns cross."""
    x = (np.arange(SIZE) * 2 * columns // SIZE) % 2
    y = (np.arange(SIZE) * 2 * rows // SIZE) % 2
    return blend(a, b, (x[None, :] + y[:, None]) / 2)


def zigzag(a: Colour, b: Colour, columns: int, rows: int) -> Image.Image:
    """Chevron bands of b on a."""

    def draw(pen: ImageDraw.ImageDraw, n: int) -> None:
        w, h = n / columns, n / rows
        for j in range(-1, rows + 1):
            top = [(i * w / 2, j * h + (0.0 if i % 2 else h / 2)) for i in range(2 * columns + 1)]
            pen.polygon([*top, *((x, y + h / 2) for x, y in reversed(top))], rgb(b))

    return _drawn(SIZE, a, draw)


def speckled(a: Colour, b: Colour, rng: np.random.Generator) -> Image.Image:
    """Glaze: soft clouds and fine specks of b on a."""
    clouds = 0.25 * noise(rng)
    specks = (noise(rng, power=0.4) > 0.93) * 0.7
    return blend(a, b, np.maximum(clouds, specks))


def wood(colour: Colour, rng: np.random.Generator) -> Image.Image:
    """Grain along u."""
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * (6 * noise(rng, (6.0, 1.0)) + 5 * np.linspace(0, 1, SIZE)[:, None]))
    fibre = noise(rng, (24.0, 1.0), 0.8)
    return blend(shade(colour, 0.62), shade(colour, 1.12), 0.45 * rings + 0.55 * fibre)


def planks(count: int, rng: np.random.Generator) -> Field:
    """Height of upright boards: grain with dark joints between them."""
    u = np.linspace(0, 1, SIZE, endpoint=False)[None, :] * count
    joint = np.minimum(u % 1, 1 - u % 1) < 0.04
    tone = rng.uniform(0.55, 1.0, count)[np.minimum(u.astype(int), count - 1)]
    grain = noise(rng, (1.0, 20.0), 0.9)
    return np.where(joint, 0.0, tone * (0.65 + 0.35 * grain))


def bricks(rows: int, columns: int, rng: np.random.Generator) -> tuple[Field, Field]:
    """(height, tone) of a running bond: height 0 in the mortar, tone differs from brick to brick. Even `rows` tile."""
    v = np.linspace(0, rows, SIZE, endpoint=False)[:, None]
    u = np.linspace(0, columns, SIZE, endpoint=False)[None, :] + 0.5 * (v.astype(int) % 2)
    du, dv = np.minimum(u % 1, 1 - u % 1) / columns, np.minimum(v % 1, 1 - v % 1) / rows
    height = (np.minimum(du, dv) * SIZE / 3).clip(0, 1)
    tone = rng.uniform(0, 1, (rows, columns))[np.broadcast_to(v.astype(int), (SIZE, SIZE)), u.astype(int) % columns]
    return height, 0.6 * tone + 0.4 * noise(rng, power=0.8)


def tiles(rows: int, columns: int, rng: np.random.Generator) -> Field:
    """Height of overlapping round-ended roof tiles, their tips towards the image's bottom. Even `rows` tile."""
    v = np.linspace(0, rows, SIZE, endpoint=False)[:, None]
    tone = rng.uniform(0.75, 1.0, (rows, columns))
    field = np.zeros((SIZE, SIZE))
    for behind in (0, 1):  # a tile hangs over the row below it: draw the row above first, then this row's arcs
        row = np.floor(v).astype(int) - behind
        u = np.linspace(0, columns, SIZE, endpoint=False)[None, :] + 0.5 * (row % 2)
        reach = 0.55 + np.sqrt((0.25 - (u % 1 - 0.5) ** 2).clip(0)) * 0.9
        along = (v - row) / reach
        lit = tone[row % rows, u.astype(int) % columns] * (0.45 + 0.55 * along.clip(0, 1))
        field = np.where((along < 1) & (field == 0), lit, field) if behind else np.where(along < 1, lit, 0.0)
    return field


def weave(rng: np.random.Generator, count: int = 16) -> Field:
    """Height of a basket weave of count × count strands."""
    t = np.linspace(0, count, SIZE, endpoint=False)
    over = (t.astype(int)[:, None] + t.astype(int)[None, :]) % 2 == 0
    bulge = np.abs(np.sin(np.pi * t))
    field = np.where(over, bulge[:, None] * (0.6 + 0.4 * bulge[None, :]), bulge[None, :] * (0.6 + 0.4 * bulge[:, None]))
    return np.asarray(field * (0.8 + 0.2 * noise(rng)))


def bark(rng: np.random.Generator) -> Field:
    """Height of upright ridges."""
    return np.asarray(np.abs(2 * noise(rng, (1.0, 5.0), 1.3) - 1) ** 0.6)


def relief(height: Field, strength: float = 2.0) -> Image.Image:
    """Tangent-space normal map (glTF: +x right, +y up in the image) of a tiling height."""
    dx = (np.roll(height, -1, 1) - np.roll(height, 1, 1)) * strength
    dy = (np.roll(height, -1, 0) - np.roll(height, 1, 0)) * strength
    n = np.stack([-dx, dy, np.ones_like(dx)], -1)
    n /= np.linalg.norm(n, axis=-1, keepdims=True)
    return Image.fromarray(np.round((n * 0.5 + 0.5) * 255).astype(np.uint8))


def surface(roughness: Field, metallic: Field | float = 0.0) -> Image.Image:
    """glTF's metallic-roughness image: green and blue."""
    channels = np.stack([np.ones_like(roughness), roughness, np.broadcast_to(metallic, roughness.shape)], -1)
    return Image.fromarray(np.round(channels * 255).clip(0, 255).astype(np.uint8))


def leaves(colour: Colour, rng: np.random.Generator, count: int = 70) -> Image.Image:
    """A spray of leaves on nothing (RGBA): for cards whose alpha is cut."""
    n = 4 * SIZE
    image = Image.new("RGBA", (n, n), (*rgb(colour), 0))
    pen = ImageDraw.Draw(image)
    for _ in range(count):
        distance, around = 0.40 * np.sqrt(rng.uniform()), rng.uniform(0, 2 * np.pi)
        x, y = 0.5 + distance * np.cos(around), 0.5 + distance * np.sin(around)
        heading = around + rng.uniform(-0.8, 0.8)
        length, width = rng.uniform(0.09, 0.14), rng.uniform(0.026, 0.042)
        t = np.linspace(-1, 1, 12)
        side = width * (1 - t**2)
        along = np.stack([np.cos(heading) * t, np.sin(heading) * t], -1) * length / 2
        across = np.stack([-np.sin(heading) * side, np.cos(heading) * side], -1)
        outline = np.concatenate([along + across, (along - across)[::-1]]) + np.array([x, y])
        tone = rgb(shade(colour, rng.uniform(0.7, 1.3)))
        pen.polygon([(px * n, py * n) for px, py in outline], (*tone, 255))
        pen.line([tuple((along[0] + [x, y]) * n), tuple((along[-1] + [x, y]) * n)], (*rgb(shade(colour, 0.6)), 255), 5)
    small = image.resize((SIZE, SIZE), Image.Resampling.BOX)
    alpha = small.getchannel("A").point(lambda a: 255 if a >= 128 else 0)
    return Image.merge("RGBA", (*small.convert("RGB").split(), alpha))
