"""Views to fit a tokenizer on: where they come from, which are held out, and how a batch is drawn."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dataengine.corpus.corpus import CONFIG, Corpus
from dataengine.corpus.shards import read_member
from dataengine.errors import UsageError
from dataengine.tokenize.images import Colour, UInt8, composite, decode_png

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


def find_views(source: str) -> FitViews:
    """Reads all views of a corpus or of a folder.

    Args:
        source: a corpus (folder or URL): its plan's split decides, `train` is trained on and all else held out. Or a
            folder of PNGs, `<model>/<any>.png`: one model in ten is held out, by the plan's hash of its folder's name.

    Raises:
        UsageError: if there is nothing to train on or nothing held out.
    """
    folder = Path(source)
    is_corpus = "://" in source or (folder / CONFIG).exists()
    train: list[bytes] = []
    held_out: list[bytes] = []
    models: dict[bool, set[str]] = {True: set(), False: set()}
    for model, for_training, content in _of_corpus(Corpus.open(source)) if is_corpus else _of_folder(folder):
        (train if for_training else held_out).append(content)
        models[for_training].add(model)
    if not train or not held_out:
        missing = "to train on" if not train else "held out, which the result is measured on"
        raise UsageError(f"{source} has no views {missing}: it needs a corpus with both splits, or <model>/<view>.png")
    return FitViews(train, held_out, len(models[True]), len(models[False]))


def _of_corpus(corpus: Corpus) -> Iterator[tuple[str, bool, bytes]]:
    for shard in corpus.shards():
        fragment = corpus.fragment("views", shard)
        if fragment is None:
            continue
        split = {row["uid"]: row["split"] for row in corpus.plan(shard).to_pylist()}
        for row in fragment.table.to_pylist():
            for member in row["members"]:
                if member["name"].endswith(".rgba.png"):
                    yield row["uid"], split[row["uid"]] == "train", read_member(corpus.store, row["tar"], member)


def _of_folder(folder: Path) -> Iterator[tuple[str, bool, bytes]]:
    for path in sorted(folder.glob("*/*.png")):
        model = path.parent.name
        number = int(hashlib.sha256(model.encode()).hexdigest()[:8], 16) % 100
        yield model, number < TRAIN_PER_CENT, path.read_bytes()


@lru_cache(maxsize=8192)  # half a gigabyte at 128²
def load_view(content: bytes, resolution: int) -> UInt8:
    """A view's RGBA, (resolution, resolution, 4), not to be written to; others are scaled, colour weighted by alpha."""
    rgba = decode_png(content)
    return rgba if rgba.shape[:2] == (resolution, resolution) else _resize(rgba, resolution, Image.Resampling.BOX)


def draw_batch(
    views: list[bytes], seed: int, step: int, count: int, *, resolution: int, crop: int | None
) -> tuple[Tensor, Tensor]:
    """The batch of a step: the same whenever it is asked for.

    Args:
        crop: side of the squares that are cut around pixels of the object; None: whole views.

    Returns:
        (B, 3, H, W) images in [-1, 1] and (B, 1, H, W) alpha in [0, 1].
    """
    random = np.random.default_rng((seed, step))
    images, alphas = [], []
    for i in random.integers(len(views), size=count):
        rgba = load_view(views[i], resolution)
        if crop is not None:
            rgba = _crop(rgba, crop, random)
        turned = np.rot90(rgba, random.integers(4))
        rgba = turned[:, ::-1] if random.random() < 0.5 else turned
        if random.random() < 0.3:
            rgba = _recolour(rgba, random)
        r, g, b = (int(v) for v in random.integers(256, size=3))
        images.append(composite(rgba, WHITE if random.random() < 0.8 else (r, g, b)))
        alphas.append(rgba[..., 3])
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return x, torch.from_numpy(np.stack(alphas))[:, None].float() / 255


def _crop(rgba: UInt8, side: int, random: np.random.Generator) -> UInt8:
    """A square around a random pixel of the object, of about `side` pixels, scaled to that."""
    height, width = rgba.shape[:2]
    size = side if random.random() < 0.5 else int(side * random.uniform(0.6, 1.5))
    size = min(size, height, width)
    ys, xs = np.nonzero(rgba[..., 3])
    pick = int(random.integers(max(1, len(ys))))
    y, x = (int(ys[pick]), int(xs[pick])) if len(ys) else (0, 0)
    top = min(max(y - int(random.integers(size)), 0), height - size)
    left = min(max(x - int(random.integers(size)), 0), width - size)
    cut = rgba[top : top + size, left : left + size]
    return cut if size == side else _resize(cut, side, Image.Resampling.BILINEAR)


def _recolour(rgba: UInt8, random: np.random.Generator) -> UInt8:
    """Channels exchanged, each with another contrast and brightness."""
    ramp = np.arange(256)[:, None] / 255
    gamma, low, high = random.uniform(0.7, 1.4, 3), random.uniform(0, 0.1, 3), random.uniform(0.8, 1.0, 3)
    table: UInt8 = (255 * (low + (high - low) * ramp**gamma) + 0.5).astype(np.uint8)
    rgb = rgba[..., random.permutation(3)]
    return np.concatenate([np.stack([table[rgb[..., c], c] for c in range(3)], -1), rgba[..., 3:]], -1)


def _resize(rgba: UInt8, side: int, how: Image.Resampling) -> UInt8:
    # RGBa is premultiplied, so that colour under alpha 0 does not bleed in.
    image = Image.fromarray(rgba).convert("RGBa").resize((side, side), how)
    return np.asarray(image.convert("RGBA"))
