"""The rendered views that `eval` measures against, beside the tokens that were made of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dataengine.corpus.storage import Store
from dataengine.errors import UsageError
from dataengine.manifests.catalog import Catalog
from dataengine.manifests.connection import quote
from dataengine.render.views import decode_depth
from dataengine.tokenize.images import composite, decode_png, scale_down
from dataengine.training.camera_columns import FAR, NEAR
from dataengine.training.contact_sheet import Colour
from dataengine.training.data.index import SampleIndex
from dataengine.training.data.stream import Batch, Reader
from dataengine.training.masking import VIEWS
from dataengine.training.tokens_spec import view_set_of

_BATCH = 8
_LOOKUP = 256
"""Objects whose views are looked up at once: each look lists every fragment."""


@dataclass(frozen=True)
class GroundTruth:
    """The rendered views of some objects, evenly spaced.

    Attributes:
        uids: of the assets.
        images: (B, V, 3, H, W) in [0, 1].
        covered: (B, V, H, W) bool.
        depth: (B, V, H, W) world units, 0 = none.
        cameras: (B, V, 30).
    """

    uids: list[str]
    images: Tensor
    covered: Tensor
    depth: Tensor
    cameras: Tensor

    def scaled(self, side: int) -> "GroundTruth":
        """The same pictures, `side` pixels a side: see `scale_views`. Covered is what the object touches.

        Raises:
            UsageError: if they are smaller than that.
        """
        images = scale_views(self.images, side)
        covered = F.adaptive_max_pool2d(self.covered.float(), side) > 0
        return replace(self, images=images, covered=covered)


def scale_views(images: Tensor, side: int) -> Tensor:
    """(…, H, W) → (…, side, side): the mean over each new pixel's area.

    Raises:
        UsageError: if they are smaller than that: pixels that were never drawn say nothing.
    """
    if side > images.shape[-1]:
        raise UsageError(f"views of {images.shape[-1]}×{images.shape[-2]} cannot be measured at {side}×{side}")
    return F.adaptive_avg_pool2d(images.flatten(0, -4), side).view(*images.shape[:-2], side, side)


def objects_of(
    catalog: Catalog, tokenizer: str, index: SampleIndex, background: Colour, side: int | None, limit: int | None
) -> Iterator[tuple[Batch, GroundTruth]]:
    """Objects with tokens (B, V, rows, columns), cameras and captions, and their rendered views, V evenly spaced.

    Args:
        catalog, tokenizer, index: of the objects; their tokens' name says which view set's pictures are read.
        background: what the views are composited over.
        side: what the views were scaled down to before they became tokens; None: as rendered.
        limit: objects at most.

    Raises:
        UsageError: if the corpus has fewer than four views per object.
        DataengineError: if views cannot be read.
    """
    available = index.tokens_layout.shape[0]
    if available < VIEWS:
        raise UsageError(f"evaluation needs {VIEWS} views per object, the corpus has {available}")
    views = torch.arange(VIEWS) * available // VIEWS
    reader = Reader(index)
    view_set = view_set_of(catalog.corpus, tokenizer)
    try:
        count = len(index) if limit is None else min(limit, len(index))
        for first in range(0, count, _LOOKUP):
            rows = np.arange(first, min(first + _LOOKUP, count))
            uids = reader.uids(rows)
            places = _places(catalog, view_set, uids)
            for start in range(0, len(rows), _BATCH):
                part = slice(start, start + _BATCH)
                batch = reader.batch(rows[part])
                batch.tokens, batch.cameras = batch.tokens[:, views], batch.cameras[:, views]
                found = [
                    _rendered(catalog.corpus.store, places[uid], views.tolist(), cameras, background, side)
                    for uid, cameras in zip(uids[part], batch.cameras, strict=True)
                ]
                images, covered, depth = (torch.stack(parts) for parts in zip(*found, strict=True))
                yield batch, GroundTruth(uids[part], images, covered, depth, batch.cameras)
    finally:
        reader.close()


def _places(catalog: Catalog, view_set: str, uids: list[str]) -> dict[str, dict[int, list[Any]]]:
    """Of each asset and view, the tar and where its colour and depth lie there."""
    fields = "uid, view, tar, rgba_offset, rgba_size, depth_offset, depth_size"
    shards = ", ".join({str(shard) for shard, _ in catalog.find_all(uids)})  # by which most of the files are skipped
    where = f"view_set = {quote(view_set)} AND shard IN ({shards}) AND uid IN ({', '.join(map(quote, uids))})"
    found: dict[str, dict[int, list[Any]]] = {uid: {} for uid in uids}
    for uid, view, *rest in catalog.sql(f"SELECT {fields} FROM views WHERE {where}").fetchall():
        found[uid][view] = rest
    return found


def _rendered(
    store: Store, places: dict[int, list[Any]], views: list[int], cameras: Tensor, background: Colour, side: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    parts = [_view(store, places[v], camera, background, side) for v, camera in zip(views, cameras, strict=True)]
    images, covered, depth = zip(*parts, strict=True)
    return torch.stack(images), torch.stack(covered), torch.stack(depth)


def _view(
    store: Store, place: Sequence[Any], camera: Tensor, background: Colour, side: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    tar, rgba_offset, rgba_size, depth_offset, depth_size = place
    rgba = decode_png(store.read_range(tar, rgba_offset, rgba_size))
    rgb, covered = composite(rgba, background), rgba[..., 3] > 0
    if side is not None:
        rgb, covered = scale_down(rgb, side), scale_down(covered * np.uint8(255), side) > 0
    depth = decode_depth(store.read_range(tar, depth_offset, depth_size), float(camera[NEAR]), float(camera[FAR]))
    return torch.from_numpy(rgb).permute(2, 0, 1) / 255, torch.from_numpy(covered), torch.from_numpy(depth)
