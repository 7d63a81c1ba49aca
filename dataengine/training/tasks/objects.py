"""One object of a corpus, as the tasks that need depth take it."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dataengine.corpus.corpus import Corpus
from dataengine.corpus.shards import read_member
from dataengine.errors import AssetFailure, DataengineError, UsageError
from dataengine.manifests.catalog import Catalog
from dataengine.manifests.uids import whole_uid
from dataengine.render.views import decode_depth
from dataengine.tokenize.images import Colour
from dataengine.tokenize.views import read_views
from dataengine.training.camera_columns import FAR, NEAR


@dataclass(frozen=True)
class ObjectViews:
    """The rendered views of an object, at a run's resolution.

    Attributes:
        images: (V, 3, H, W) in [0, 1], over the tokenizer's background.
        covered: (V, H, W) bool.
        depth: (V, H, W) planar, world units, 0 = none.
        cameras: (V, 30).
        caption: empty where there is none.
    """

    images: Tensor
    covered: Tensor
    depth: Tensor
    cameras: Tensor
    caption: str


def object_views(corpus: Corpus, uid: str, background: Colour, side: int, view_set: str | None = None) -> ObjectViews:
    """Reads an asset's views, of the view set of that name, or of the only one.

    Args:
        uid: of the asset, or the beginning of it.

    Raises:
        UsageError: if there is no such asset or set, several assets begin so, it has no views or no depth, or its views
            are smaller than `side`.
        DataengineError: if they cannot be read.
    """
    catalog = Catalog(corpus)
    uid = whole_uid(catalog, uid)
    shard, _ = catalog.find(uid)
    fragment = corpus.fragment(corpus.config.view_set(view_set).stage, shard)
    row = next((r for r in fragment.table.to_pylist() if r["uid"] == uid), None) if fragment else None
    if row is None or row["status"] != "ok":
        why = f": {row['error']}, {row['message']}" if row else ""
        raise UsageError(f"asset {uid} has no views{why}")
    try:
        views = read_views(corpus.store, row, background, side)
    except AssetFailure as e:
        raise DataengineError(f"the views of {uid} cannot be read: {e}") from e
    members = {m["name"]: m for m in row["members"]}
    cameras, depths = torch.from_numpy(views.cameras), []
    for v, camera in enumerate(cameras):
        member = members.get(f"{v:02d}.depth.png")
        if member is None:
            raise UsageError(f"the views of {uid} have no depth")
        png = read_member(corpus.store, row["tar"], member)
        depth = torch.from_numpy(decode_depth(png, float(camera[NEAR]), float(camera[FAR])))
        # Nearest, since a mean of two surfaces is none.
        depths.append(F.interpolate(depth[None, None], (side, side), mode="nearest-exact")[0, 0])
    return ObjectViews(
        images=torch.from_numpy(views.rgb).permute(0, 3, 1, 2) / 255,
        covered=torch.from_numpy(views.covered),
        depth=torch.stack(depths),
        cameras=cameras,
        caption=(views.caption or b"").decode("utf-8", "replace"),
    )
