"""`dataengine reconstruct`: an object of a corpus, from four of its rendered views, beside the others."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dataengine.corpus.corpus import Corpus
from dataengine.errors import DataengineError, UsageError
from dataengine.geometry.gaussians import Gaussians
from dataengine.geometry.rasterise import rasterise
from dataengine.manifests.catalog import Catalog
from dataengine.manifests.connection import quote
from dataengine.manifests.uids import whole_uid
from dataengine.training.camera_columns import camera_rows
from dataengine.training.data.views import Views
from dataengine.training.reconstruct.floaters import without_floaters
from dataengine.training.reconstruct.loss import Truth
from dataengine.training.reconstruct.measure import Measured, compare
from dataengine.training.reconstruct.network import Reconstructor
from dataengine.training.reconstruct.view_choice import check_cameras, four_around

FIELDS = (*Truth._fields, "near", "far", "orthographic")


@dataclass(frozen=True)
class ObjectReconstruction:
    """What was made, and of what.

    Attributes:
        gaussians: (N, …).
        given: the numbers of the four views.
        truth: all views, fields (V, …).
        drawn: (V, 3, H, W) renderings at all cameras, in [0, 1] over white.
        cameras: (V, 30), see camera_columns.py.
        measured: on the views that were not given; None where there are no others.
    """

    gaussians: Gaussians
    given: list[int]
    truth: Truth
    drawn: Tensor
    cameras: Tensor
    measured: Measured | None


@torch.no_grad()
def reconstruct_object(
    corpus: Corpus | str, uid: str, model: Reconstructor, *, view_set: str | None = None, first: int = 0
) -> ObjectReconstruction:
    """Reconstructs from the four views around the object, the first among them.

    Args:
        uid: of the asset, or the beginning of it.
        model: in eval mode.
        view_set: of the corpus; None: the only one.

    Raises:
        UsageError: if there is no such asset or view, several assets begin so, it has fewer than four views, they are
            orthographic or do not look at the object, or their size is not the network's.
    """
    uid = whole_uid(Catalog(corpus), uid)
    views = Views(
        corpus, view_set=view_set, fields=FIELDS, split=None, where=f"uid = {quote(uid)}", epochs=1, threads=1
    )
    sample = next(iter(views))
    truth = Truth(*(sample[name] for name in Truth._fields))
    count, side = len(truth.c2w), truth.colour.shape[-1]
    if not 0 <= first < count:
        raise UsageError(f"there is no view {first}: {uid} has {count}")
    check_cameras(truth.c2w, sample["orthographic"])
    given = four_around(truth.c2w, first)
    if side % model.config.factor:
        raise UsageError(f"views of {side} pixels a side: the network takes multiples of {model.config.factor}")
    if not bool((truth.alpha[given] > 0).any()):
        raise DataengineError(f"the views {given} of {uid} show nothing")
    device = next(model.parameters()).device
    seen = Truth(*(values[given].to(device) for values in truth))
    made = without_floaters(model(seen.colour[None], seen.K[None], seen.c2w[None]))
    gaussians = Gaussians(*(values[0] for values in made))
    drawn = rasterise(gaussians, truth.K.to(device), truth.c2w.to(device), (side, side)).colour.clamp(0, 1).cpu()
    others = [v for v in range(count) if v not in given]
    measured = None
    if others:
        rest = Truth(*(values[others].to(device) for values in truth))
        measured = compare(gaussians, seen, rest, (side, side))
    cameras = camera_rows(truth.K, truth.c2w, sample["near"], sample["far"], (side, side))
    return ObjectReconstruction(Gaussians(*(v.cpu() for v in gaussians)), given, truth, drawn, cameras, measured)
