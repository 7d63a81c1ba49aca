"""The curve of a fit: as a table, as a plot, and whether it was still rising."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

SIZE = (880, 480)
MARGIN = 56
COLOURS = ("#1f5fa8", "#b4451f")
LEAST_GAIN = 0.05
"""dB on the object that a third of the steps must bring for the fit to be worth continuing."""


class Point(NamedTuple):
    """One measurement on views of models that were held out; for names not told here see `FitSettings` and `Quality`.

    Attributes:
        seconds: of training up to here, of all its runs.
        rate: of learning, as a share of the recipe's.
        loss, train_psnr: of that step's batch.
    """

    step: int
    seconds: float
    rate: float
    loss: float
    train_psnr: float
    psnr_object: float
    psnr: float
    ssim: float
    feature: float
    bit_entropy: float


def gain(curve: Sequence[Point]) -> float | None:
    """dB on the object that the last third of the measurements added to the best before; None if they are too few.

    Only the part at the full rate of learning counts: any fit gains while its rate falls.
    """
    values = [p.psnr_object for p in curve if p.rate == 1]
    third = len(values) // 3
    return max(values[-third:]) - max(values[:-third]) if third else None


def verdict(curve: Sequence[Point]) -> str:
    """For people: whether more steps would help."""
    gained = gain(curve)
    if gained is None:
        return "too short to tell whether it is still gaining"
    if gained < LEAST_GAIN:
        return "it has stopped gaining: more steps will not help"
    return f"it was still gaining ({gained:.2f} dB in the last third at the full rate): more --steps will help"


def table(curve: Sequence[Point]) -> str:
    """CSV, a row a measurement."""
    return csv_text(Point._fields, curve)


def csv_text(names: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """CSV with a header; numbers have six digits that mean something."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([f"{v:.6g}" if isinstance(v, float) else v for v in row] for row in rows)
    return out.getvalue()


def plot(curve: Sequence[Point]) -> Image.Image:
    """PSNR on the object and SSIM of held-out views over minutes of training."""
    series = {
        "PSNR on the object, dB (left)": [p.psnr_object for p in curve],
        "SSIM (right)": [p.ssim for p in curve],
    }
    return plot_curve([p.seconds / 60 for p in curve], series)


def plot_curve(minutes: Sequence[float], series: Mapping[str, Sequence[float]]) -> Image.Image:
    """Two series over minutes of training, one to the left axis and one to the right; their names are the legend."""
    picture = Image.new("RGB", SIZE, "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    left, top, right, bottom = MARGIN, MARGIN, SIZE[0] - MARGIN, SIZE[1] - MARGIN
    pen.rectangle((left, top, right, bottom), outline="#888888")
    widest = max(minutes[-1], 1e-9) if minutes else 1.0
    for n, ((label, values), colour) in enumerate(zip(series.items(), COLOURS, strict=True)):
        low, high = _range(values)
        points = [
            (left + m / widest * (right - left), bottom - (v - low) / (high - low) * (bottom - top))
            for m, v in zip(minutes, values, strict=True)
        ]
        if len(points) > 1:
            pen.line(points, colour, 2)
        for x, y in points:
            pen.ellipse((x - 2, y - 2, x + 2, y + 2), colour)
        pen.text((left + 10 + n * 260, top - 22), label, colour, font)
        for share in (0.0, 0.25, 0.5, 0.75, 1.0):
            y = bottom - share * (bottom - top)
            text = f"{low + share * (high - low):.{1 if n == 0 else 3}f}"
            pen.text((left - 40 if n == 0 else right + 6, y - 8), text, colour, font)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        pen.text((left + share * (right - left) - 10, bottom + 8), f"{share * widest:.3g}", "black", font)
    pen.text((left + (right - left) // 2 - 60, bottom + 26), "minutes of training", "black", font)
    return picture


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = max(high - low, 1e-3) * 0.05
    return low - room, high + room
