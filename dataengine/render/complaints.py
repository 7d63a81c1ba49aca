"""What a row says of an asset that renders but may not look as it should; and when there is nothing to see."""

import numpy as np
import numpy.typing as npt

from dataengine.errors import AssetFailure, ErrorCode
from dataengine.render.passes import Passes
from dataengine.render.views import Views

FEWEST_PIXELS = 8  # an object that no view shows with more is nothing to learn from
SPECK = 0.005  # share of a view's pixels: a larger object is worth learning from
MOSTLY = 0.5
CUT_SHORT = 0.001  # share of the object's pixels
MAGENTA = 0.005  # share of the object's pixels
SPECKLED, WORST_SPECKLED = 0.02, 0.15
"""Shares of the object's pixels whose depth is there and all around is not, or the reverse: from the first on the row
says so, from the second on the asset fails. Depth that is thrown like dice has 0.25 and more on any surface; leaves and
wires, which have few pixels with four neighbours on the object, stay far under the second."""

Mask = npt.NDArray[np.bool_]


def nothing_to_see(views: Views, passes: Passes) -> str | None:
    """Why an asset counts as blank; None if it does not."""
    why = _nothing_to_see(views)
    if why and passes.looks_away() > MOSTLY:
        return f"{why}; its faces are single-sided and look away"
    return why


def _nothing_to_see(views: Views) -> str | None:
    if views.rgba is not None and not views.rgba[..., 3].any():
        return "no pixel of any view is covered"
    most = int(views.covered.sum((1, 2)).max())
    if most < FEWEST_PIXELS:
        size = views.depth[0].size
        return f"the view that shows the most of it has {most} pixels that are covered by half (of {size})"
    if not (views.depth > 0).any():
        return "no view has any depth"
    return None


def complaints_of(views: Views, passes: Passes, look: str, unsure_images: int) -> list[str]:
    """One line each for what the pixels give away.

    Args:
        views, passes: of one asset.
        look: the look's name.
        unsure_images: how many Cycles has opened itself, which paints one that it cannot read magenta.

    Raises:
        AssetFailure: BAD_DEPTH for a depth of no use.
    """
    said = []
    covered = views.covered.mean((1, 2))
    if (share := float(covered.max())) < SPECK:
        said.append(f"no view shows it on more than {share:.2%} of its pixels")
    back = passes.back_faces()
    if back is not None and back > MOSTLY:
        said.append(
            f"{back:.0%} of what the cameras see first are back faces: the model is inside out, or a shell hides it"
        )
    if (share := passes.looks_away()) > MOSTLY:
        said.append(
            f"{share:.0%} of what the cameras meet first are backs of single-sided faces, which do not show: a room or "
            "a dome seen from outside, or the model is inside out"
        )
    if (share := passes.cut_short()) > CUT_SHORT:
        said.append(
            f"{share:.1%} of its pixels lie behind more see-through surfaces than the look {look!r} follows: too dark"
        )
    if unsure_images and (share := magenta(views)) > MAGENTA:
        said.append(f"{share:.1%} of its pixels are pure magenta, the colour of an image that cannot be read")
    if (share := max(speckle(views))) > SPECKLED:
        if share > WORST_SPECKLED:
            raise AssetFailure(ErrorCode.BAD_DEPTH, f"the depth of {share:.0%} of a view's pixels is speckled")
        said.append(f"the depth of up to {share:.1%} of a view's pixels is speckled")
    return said


def magenta(views: Views) -> float:
    """Share of the object's pixels that are (1, 0, 1) in white light: red and blue alike, green at most a gloss."""
    if views.rgba is None:
        return 0.0
    solid = views.rgba[views.rgba[..., 3] == 255].astype(np.int16)
    if not len(solid):
        return 0.0
    r, g, b, _ = solid.T
    return float(((g <= 0.35 * r) & (r > 8) & (np.abs(r - b) <= 1)).mean())


def speckle(views: Views) -> list[float]:
    """A view's share of the object's pixels whose four neighbours are on it too, and whose depth is there while that of
    three neighbours or more is not, or the reverse."""
    found = []
    for covered, depth in zip(views.covered, views.depth, strict=True):
        known = depth > 0
        inside = covered[1:-1, 1:-1] & np.all(around(covered), axis=0)
        unlike = np.sum([other != known[1:-1, 1:-1] for other in around(known)], axis=0) >= 3
        found.append(float((inside & unlike).sum() / max(covered.sum(), 1)))
    return found


def around(mask: Mask) -> list[Mask]:
    """The mask's upper, lower, left and right neighbours of every pixel that has them all."""
    return [mask[:-2, 1:-1], mask[2:, 1:-1], mask[1:-1, :-2], mask[1:-1, 2:]]
