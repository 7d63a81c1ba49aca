"""Contact sheets: many assets in one picture."""

import io
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from dataengine.corpus.config import ViewSet
from dataengine.corpus.corpus import Corpus
from dataengine.errors import UsageError
from dataengine.manifests.catalog import Catalog
from dataengine.manifests.connection import quote
from dataengine.manifests.guard import sql_errors
from dataengine.render.channels import decode_channel
from dataengine.render.views import view_stem
from dataengine.report import draw
from dataengine.report.asset import Asset, load_asset
from dataengine.report.sheet import GAP, MOST_VIEWS, WIDTH, depth_picture, depth_range, shown

COLOUR = "colour"
LIMIT = 96


def select_assets(
    corpus: Corpus, *, where: str | None = None, sort: str | None = None, limit: int = LIMIT, views: str | None = None
) -> tuple[list[Asset], int]:
    """The assets of a sheet, rendered or not, and how many there would be without the limit.

    Args:
        where, sort: SQL over the columns of `renders`; sort as after ORDER BY. None: all, in the corpus's order.
        views: name of the view set; None: the first.

    Raises:
        UsageError: if the SQL is wrong, or there is no such set.
    """
    view_set = corpus.config.sets[0] if views is None else corpus.config.view_set(views)
    chosen = f" AND (\n{where}\n)" if where else ""
    selected = f"FROM renders WHERE view_set = {quote(view_set.name)} AND status <> 'removed'{chosen}"
    catalog = Catalog(corpus)
    query = f"SELECT shard, row {selected} ORDER BY " + (f"\n{sort}\n, " if sort else "") + "shard, row"
    relation = catalog.sql(f"{query} LIMIT {limit}")
    with sql_errors():
        places = relation.fetchall()
        ((count,),) = catalog.sql(f"SELECT count(*) {selected}").fetchall()
    return [load_asset(corpus, shard, row, view_set.name) for shard, row in places], count


def channels_of(view_set: ViewSet) -> list[str]:
    """What a view of a set has, in the order of people: colour, depth, then its further channels."""
    return [*([COLOUR] if view_set.render.colour else []), "depth", *view_set.render.channels]


def check_channel(view_set: ViewSet, channel: str) -> None:
    """Raises UsageError if the views of a set have no such channel."""
    known = channels_of(view_set)
    if channel not in known:
        raise UsageError(f"view set {view_set.name} has no channel {channel!r} (it has: {', '.join(known)})")


def contact_sheet(
    assets: Iterable[Asset],
    *,
    view: int = 0,
    all_views: bool = False,
    side: int = 160,
    channel: str | None = None,
) -> Image.Image:
    """Many assets: one view of each in a grid, or all views of each as a row.

    Args:
        side: pixels of a view.
        channel: which one; None: colour, or depth in a set without it.
    """
    cells = [_strip(asset, side, channel) if all_views else _cell(asset, view, side, channel) for asset in assets]
    if not cells:
        return draw.framed(draw.text_block("no assets", 300))
    columns = 1 if all_views else min(len(cells), max(1, WIDTH // (side + GAP)))
    rows = [draw.stack(cells[i : i + columns], GAP, across=True) for i in range(0, len(cells), columns)]
    return draw.framed(draw.stack(rows, GAP + 4))


def thumbnail(asset: Asset, view: int = 0, side: int = 160, channel: str | None = None) -> Image.Image:
    """One view, colour over a checkerboard; the error's name for an asset that has none."""
    if asset.status == "ok":
        return draw.fit(view_picture(asset, view, channel), side)
    failed = asset.status == "failed"
    ground = (248, 240, 239) if failed else (244, 244, 246)
    cell = Image.new("RGB", (side, side), ground)
    word = (asset.result or {}).get("error") or asset.status
    words = draw.text_block(word, side - 16, 13, draw.BAD if failed else draw.FAINT, ground)
    cell.paste(words, (8, side // 2 - words.height // 2))
    return cell


def view_picture(asset: Asset, view: int, channel: str | None = None, *, over_checker: bool = True) -> Image.Image:
    """A channel of a view for the eye, at its own size; colour may keep its alpha.

    Raises:
        DataengineError: if it cannot be read.
    """
    channel = channel or channels_of(asset.view_set)[0]
    count = int((asset.result or {})["num_views"])
    stem = view_stem(min(view, count - 1), count)
    content = asset.read(f"{stem}.{'rgba' if channel == COLOUR else channel}.png")
    if channel == COLOUR:
        image = Image.open(io.BytesIO(content))
        return draw.over_checker(image) if over_checker else image.convert("RGBA")
    if channel == "depth":
        depth = np.asarray(Image.open(io.BytesIO(content)), np.float32)
        return depth_picture(depth, *depth_range(depth))
    return shown(channel, decode_channel(channel, content), _there(asset, stem) if channel == "albedo" else None)


def _there(asset: Asset, stem: str) -> npt.NDArray[np.bool_]:
    """(H, W): where a view shows the object: by its alpha, or by its depth in a set without colour."""
    lit = COLOUR in channels_of(asset.view_set)
    mask = np.asarray(Image.open(io.BytesIO(asset.read(f"{stem}.{'rgba' if lit else 'depth'}.png"))))
    return (mask[..., 3] if lit else mask) > 0


def _cell(asset: Asset, view: int, side: int, channel: str | None) -> Image.Image:
    return draw.stack([thumbnail(asset, view, side, channel), _label(asset, side)], gap=2)


def _label(asset: Asset, width: int) -> Image.Image:
    title = draw.wrap(asset.title, 12, width)[0]
    lines = [(title, draw.INK), (asset.uid[:8], draw.FAINT)]
    return draw.stack([draw.text_block(text, width, 12, colour) for text, colour in lines], gap=0)


def _strip(asset: Asset, side: int, channel: str | None) -> Image.Image:
    label_width = 150
    count = int((asset.result or {}).get("num_views") or 1) if asset.status == "ok" else 1
    chosen: Sequence[int] = range(count)
    if count > MOST_VIEWS:
        chosen = [round(i) for i in np.linspace(0, count - 1, MOST_VIEWS)]
    cells = [thumbnail(asset, i, side, channel) for i in chosen]
    if asset.status == "failed":
        cells.append(draw.text_block(str((asset.result or {})["message"]), 3 * side, 13, draw.BAD))
    return draw.stack([_label(asset, label_width), *cells], GAP, across=True)
