"""Views to fit a tokenizer on: where they come from, which are held out, and how a batch is drawn."""

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from dataengine.corpus.shards import read_member
from dataengine.errors import UsageError
from dataengine.tokenize.images import Colour, UInt8, decode_png

if TYPE_CHECKING:
    from dataengine.corpus.corpus import Corpus

WHITE: Colour = (255, 255, 255)
TRAIN_PER_CENT = 90  # the plan's own rule, so that a folder named by group_id is split as its corpus is


@dataclass(frozen=True)
class FitViews:
    """PNGs (RGBA, straight alpha), still compressed: a hundred thousand of 128² take about a gigabyte.

    Attributes:
        train, held_out: no model has views in both.
        train_models, held_out_models: how many models those are.
    """

    train: list[bytes]
    held_out: list[bytes]
    train_models: int
    held_out_models: int


def find_views(*sources: str) -> FitViews:
    """Reads all views of corpora or folders.

    Args:
        sources: corpora (folders or URLs): the plan's split decides, `train` is trained on and all else held out. Or
            folders of PNGs, `<model>/<any>.png`: one model in ten is held out, by the plan's hash of its folder's name.

    Raises:
        UsageError: if there is nothing to train on or nothing held out.
    """
    # Here, so that a fit on pixels in memory needs neither Arrow nor DuckDB.
    from dataengine.corpus.corpus import CONFIG, Corpus

    train: list[bytes] = []
    held_out: list[bytes] = []
    models: dict[bool, set[str]] = {True: set(), False: set()}
    for source in sources:
        is_corpus = "://" in source or (Path(source) / CONFIG).exists()
        for model, for_training, content in _of_corpus(Corpus.open(source)) if is_corpus else _of_folder(Path(source)):
            (train if for_training else held_out).append(content)
            models[for_training].add(model)
    if not train or not held_out:
        missing = "to train on" if not train else "held out, which the result is measured on"
        raise UsageError(
            f"{', '.join(sources)}: no views {missing}; a fit needs corpora with both splits, or <model>/<view>.png"
        )
    return FitViews(train, held_out, len(models[True]), len(models[False]))


def _of_corpus(corpus: "Corpus") -> Iterator[tuple[str, bool, bytes]]:
    for shard in corpus.shards():
        split = {row["uid"]: row["split"] for row in corpus.plan(shard).to_pylist()}
        fragments = (corpus.fragment(view_set.stage, shard) for view_set in corpus.config.sets)
        for row in (row for fragment in fragments if fragment for row in fragment.table.to_pylist()):
            for member in row["members"]:
                if member["name"].endswith(".rgba.png"):
                    yield row["uid"], split[row["uid"]] == "train", read_member(corpus.store, row["tar"], member)


def _of_folder(folder: Path) -> Iterator[tuple[str, bool, bytes]]:
    for path in sorted(folder.glob("*/*.png")):
        model = path.parent.name
        number = int(hashlib.sha256(model.encode()).hexdigest()[:8], 16) % 100
        yield model, number < TRAIN_PER_CENT, path.read_bytes()


def decode(views: list[bytes], resolution: int) -> UInt8:
    """(N, 4, resolution, resolution) straight-alpha RGBA of images in memory, decoded by threads.

    Images of another size are scaled, colour weighted by alpha.

    Raises:
        DataengineError: if one is no whole image.
    """
    pixels = np.empty((len(views), 4, resolution, resolution), np.uint8)

    def put(i: int) -> None:
        rgba = decode_png(views[i])
        scaled = rgba if rgba.shape[:2] == (resolution, resolution) else _resize(rgba, resolution)
        pixels[i] = scaled.transpose(2, 0, 1)

    with ThreadPoolExecutor(os.cpu_count(), "decode") as pool:
        for _ in pool.map(put, range(len(views)), chunksize=64):
            pass
    return pixels


def draw_batch(
    pixels: Tensor, seed: int, step: int, count: int, *, crop: int | None, turned: bool = True
) -> tuple[Tensor, Tensor]:
    """The batch of a step: the same whenever it is asked for. Made on the device that the pixels are on.

    Args:
        pixels: (N, 4, H, H) uint8 straight-alpha RGBA, see `decode`.
        crop: side of the squares that are cut around pixels of the object, half of them scaled by 0.7 to 1.6; None:
            whole views.
        turned: quarter turns besides mirroring.

    Returns:
        (B, 3, side, side) images in [-1, 1] over a background and (B, 1, side, side) alpha in [0, 1].
    """
    random = torch.Generator().manual_seed(seed << 32 | step)
    side, device = pixels.shape[-1], pixels.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=random).to(device, non_blocking=True)

    which = torch.randint(len(pixels), (count,), generator=random).to(device, non_blocking=True)
    rgba = pixels[which].float() / 255
    rgb, alpha = _recolour(rgba[:, :3], uniform, random), rgba[:, 3:]
    size = torch.full((count,), float(side), device=device)
    corner = torch.zeros(count, 2, device=device)
    if crop is not None:
        zoomed = (crop * (0.6 + 0.9 * uniform())).round().clamp(max=side)
        size = torch.where(uniform() < 0.5, float(crop), zoomed)
        centre = _object_pixel(alpha, uniform())
        corner = (centre - (uniform(2) * size[:, None]).floor()).clamp(min=0).minimum(side - size[:, None])
    grid = _grid(crop or side, corner, size, side, uniform(3) < 0.5, turned)
    sampled = F.grid_sample(torch.cat([rgb * alpha, alpha], 1), grid, align_corners=False)
    colour = torch.where(uniform(1) < 0.8, 1.0, uniform(3))[..., None, None]
    image = sampled[:, :3] + (1 - sampled[:, 3:]) * colour
    return image * 2 - 1, sampled[:, 3:]


def _object_pixel(alpha: Tensor, where: Tensor) -> Tensor:
    """(B, 2) x and y of a pixel of each object, the one at that share of its pixels in reading order."""
    covered = (alpha > 0).flatten(1).cumsum(1)
    target = (where * covered[:, -1]).long() + 1
    place = torch.searchsorted(covered, target[:, None])[:, 0].clamp(max=covered.shape[1] - 1)
    return torch.stack([place % alpha.shape[-1], place // alpha.shape[-1]], 1).float()


def _grid(side: int, corner: Tensor, size: Tensor, source: int, swaps: Tensor, turned: bool) -> Tensor:
    """(B, side, side, 2) where each pixel of a square is found in its source, as `grid_sample` takes it."""
    line = (torch.arange(side, device=corner.device) * 2 + 1) / side - 1
    x, y = line.expand(side, side), line[:, None].expand(side, side)
    mirror, flip, transpose = swaps[..., None, None].unbind(1)
    if not turned:
        flip, transpose = torch.zeros_like(flip), torch.zeros_like(transpose)
    x, y = torch.where(transpose, y, x), torch.where(transpose, x, y)
    x, y = torch.where(mirror, -x, x), torch.where(flip, -y, y)
    middle = (corner * 2 + size[:, None]) / source - 1
    scale = (size / source)[:, None, None]
    return torch.stack([middle[:, 0, None, None] + x * scale, middle[:, 1, None, None] + y * scale], -1)


def _recolour(rgb: Tensor, uniform: Callable[..., Tensor], random: torch.Generator) -> Tensor:
    """Three images in ten have their channels exchanged, each with another contrast and brightness."""
    count = len(rgb)
    changed = (uniform() < 0.3)[:, None, None, None]
    gamma, low, high = 0.7 + 0.7 * uniform(3), 0.1 * uniform(3), 0.8 + 0.2 * uniform(3)
    order = torch.rand(count, 3, generator=random).argsort(1).to(rgb.device, non_blocking=True)
    shuffled = rgb.gather(1, order[..., None, None].expand_as(rgb))
    low, high = low[..., None, None], high[..., None, None]
    return torch.where(changed, low + (high - low) * shuffled ** gamma[..., None, None], rgb)


def _resize(rgba: UInt8, side: int) -> UInt8:
    # RGBa is premultiplied, so that colour under alpha 0 does not bleed in.
    image = Image.fromarray(rgba).convert("RGBa").resize((side, side), Image.Resampling.BOX)
    return np.asarray(image.convert("RGBA"))
