"""Pictures of the report: thumbnails of many assets in one file, and all views of one asset in one file."""

import io
import math
from collections.abc import Sequence

from PIL import Image

from dataengine.corpus.corpus import Corpus
from dataengine.report.asset import Asset
from dataengine.report.contact import COLOUR, channels_of, view_picture
from dataengine.report.site.details import shard_assets, shown_views
from dataengine.report.site.tokens import ShardTokens

THUMBNAIL = 128
ACROSS = 8
PER_SHEET = ACROSS * ACROSS
LARGEST = 256  # pixels of a view on an asset's page
VIEW = 1  # of orbits, from beside the front


def thumbnails(corpus: Corpus, shard: int, sheet: int) -> bytes | None:
    """WebP of 8 × 8 thumbnails, those of the rows from 64 · sheet on; None where none of them has views."""
    rows = range(PER_SHEET * sheet, PER_SHEET * (sheet + 1))
    shown = [a for a in shard_assets(corpus, shard, corpus.config.sets[0]) if a.plan["row"] in rows]
    if not any(asset.status == "ok" for asset in shown):
        return None
    image = Image.new("RGBA", (ACROSS * THUMBNAIL, ACROSS * THUMBNAIL))
    for asset in shown:
        if asset.status == "ok":
            down, across = divmod(asset.plan["row"] - rows[0], ACROSS)
            image.paste(_fit(_view(asset, VIEW, None), THUMBNAIL), (across * THUMBNAIL, down * THUMBNAIL))
    return _webp(image)


def sheets_of(rows: Sequence[int]) -> list[int]:
    """The numbers of the files that hold these rows' thumbnails."""
    return sorted({row // PER_SHEET for row in rows})


def turntable(asset: Asset, channel: str) -> bytes:
    """WebP of the views in one channel, row by row in a grid of ⌈√n⌉ columns.

    Raises:
        DataengineError: if the asset has no such views, or they cannot be read.
    """
    views = shown_views(int((asset.result or {})["num_views"]))
    side = min(LARGEST, int((asset.result or {})["resolution"]))
    return _grid([_fit(_view(asset, view, channel), side) for view in views])


def decoded_turntable(asset: Asset, tokens: ShardTokens) -> bytes:
    """The same of what an asset's tokens decode to.

    Raises:
        DataengineError: if they cannot be read.
    """
    views = shown_views(int((asset.result or {})["num_views"]))
    return _grid([_fit(image, min(LARGEST, image.width)) for image in tokens.pictures(asset.uid, views)])


def _grid(pictures: Sequence[Image.Image]) -> bytes:
    side, columns = pictures[0].width, math.ceil(math.sqrt(len(pictures)))
    image = Image.new("RGBA", (columns * side, math.ceil(len(pictures) / columns) * side))
    for i, picture in enumerate(pictures):
        down, across = divmod(i, columns)
        image.paste(picture, (across * side, down * side))
    return _webp(image)


def _view(asset: Asset, view: int, channel: str | None) -> Image.Image:
    """Colour keeps its alpha: the page has its own ground."""
    channel = channel or channels_of(asset.view_set)[0]
    return view_picture(asset, view, channel, over_checker=channel != COLOUR)


def _fit(image: Image.Image, side: int) -> Image.Image:
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    cell = Image.new("RGBA", (side, side))
    cell.paste(
        image.convert("RGBA").resize(size, Image.Resampling.LANCZOS), ((side - size[0]) // 2, (side - size[1]) // 2)
    )
    return cell


def _webp(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "webp", quality=80, method=2)
    return buffer.getvalue()
