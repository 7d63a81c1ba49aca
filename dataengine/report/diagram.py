"""Where the cameras stand: seen from above and from the side."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dataengine.render.blender.protocol import Camera
from dataengine.report import draw

SCALE = 3  # drawn larger and scaled down: Pillow's lines are jagged


def camera_diagram(cameras: Sequence[Camera], radius: float, side: int) -> Image.Image:
    """Two square plots side by side.

    Args:
        cameras: of one asset; c2w in the z-up world.
        radius: of the object's bounding sphere, world units.
        side: pixels of each plot.
    """
    c2w = np.array([c.c2w for c in cameras])
    position, forward = c2w[:, :3, 3], c2w[:, :3, 2]
    top = _plot(position[:, :2], forward[:, :2], radius, side, "from above", "x: azimuth 0°", "y", len(cameras) <= 24)
    # Turned about the axis into one half-plane, so that elevations can be compared.
    away = position[:, :2] / np.maximum(np.linalg.norm(position[:, :2], axis=1, keepdims=True), 1e-9)
    across = (position[:, :2] * away).sum(axis=1), (forward[:, :2] * away).sum(axis=1)
    flat = [np.stack([h, v], -1) for h, v in zip(across, (position[:, 2], forward[:, 2]), strict=True)]
    side_view = _plot(flat[0], flat[1], radius, side, "from the side", "distance from the axis", "z", False)
    return draw.stack([top, side_view], gap=12, across=True)


def _plot(
    points: NDArray[Any],
    looks: NDArray[Any],
    radius: float,
    side: int,
    title: str,
    x_name: str,
    y_name: str,
    numbered: bool,
) -> Image.Image:
    n = side * SCALE
    image = Image.new("RGB", (n, n), draw.PAPER)
    pen = ImageDraw.Draw(image)
    reach = 1.25 * max(float(np.abs(points).max(initial=0.0)), radius)
    middle, unit = n / 2, n / 2 / reach

    def at(p: NDArray[Any] | tuple[float, float]) -> tuple[float, float]:
        return (middle + p[0] * unit, middle - p[1] * unit)

    pen.rectangle((0, 0, n - 1, n - 1), outline=draw.RULE, width=SCALE)
    pen.line((*at((-reach, 0)), *at((reach, 0))), draw.RULE, SCALE)
    pen.line((*at((0, -reach)), *at((0, reach))), draw.RULE, SCALE)
    x, y = at((0, 0))
    pen.ellipse((x - radius * unit, y - radius * unit, x + radius * unit, y + radius * unit), (226, 232, 240))
    size = 10 * SCALE
    for i, (point, look) in enumerate(zip(points, looks, strict=True)):
        px, py = at(point)
        length = np.hypot(*look)
        if length > 0.05:
            dx, dy = look[0] / length, -look[1] / length
            for s in (-1, 1):
                end = (px + (dx - s * 0.45 * dy) * 2 * size, py + (dy + s * 0.45 * dx) * 2 * size)
                pen.line((px, py, *end), (150, 165, 190), SCALE)
        pen.ellipse((px - size / 2, py - size / 2, px + size / 2, py + size / 2), (40, 90, 170))
        if numbered:
            pen.text((px + size * 0.6, py - size * 1.6), str(i), draw.INK, draw.font(11 * SCALE))
    pen.text((6 * SCALE, 4 * SCALE), title, draw.INK, draw.font(12 * SCALE))
    width = draw.width_of(x_name, 11 * SCALE)
    # Where no camera's number is: those stand on the axes and are numbered to their right.
    pen.text((n - width - 6 * SCALE, n - 18 * SCALE), x_name, draw.FAINT, draw.font(11 * SCALE))
    left = middle - draw.width_of(y_name, 11 * SCALE) - 4 * SCALE
    pen.text((left, 4 * SCALE), y_name, draw.FAINT, draw.font(11 * SCALE))
    return image.resize((side, side), Image.Resampling.BOX)
