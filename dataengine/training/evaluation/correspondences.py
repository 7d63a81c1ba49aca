"""How many places of an object can be found again in its neighbouring views, and are the same place.

What pixel-aligned views are for: "Pixel-Aligned Multi-View Generation with Depth Guided Decoder" (arXiv 2408.14016,
section 4) counts matches between neighbouring views. Its matcher is a network; here it is OpenCV's SIFT (Lowe 2004),
which needs no download, and a match counts only if the true depth confirms it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dataengine.errors import UsageError
from dataengine.geometry.tensors import project, rays

ENLARGED = 2  # times, before SIFT: rendered views are small for it; four times finds no more in three times as long
CONTRAST = 0.01  # of SIFT, 0.04 by default: shading without texture is faint
RATIO = 0.8  # of the distance to the best match, to the second best: Lowe's
WITHIN = 1.0  # pixels of the views


@dataclass(frozen=True)
class Geometry:
    """Where the surface of V views is.

    Attributes:
        depth: (V, H, W) planar, world units, 0 = none.
        K, c2w: (V, 3, 3) for H × W pixels, (V, 4, 4).
        orthographic: (V,) bool.
    """

    depth: Tensor
    K: Tensor
    c2w: Tensor
    orthographic: Tensor


def count_correspondences(views: Tensor, geometry: Geometry) -> tuple[int, int]:
    """Matches between each view and the next that the true depth confirms, and all matches, over all such pairs.

    Args:
        views: (V, 3, H, W) RGB in [0, 1], neighbours one after the other. The last and the first are no pair.
        geometry: the true one, of the same views.

    Raises:
        UsageError: if OpenCV is not installed.
    """
    found = [sift(view) for view in views]
    right = total = 0
    for i in range(len(views) - 1):
        here, there = match(found[i], found[i + 1])
        total += len(here)
        right += int(confirmed(here, there, geometry, i, i + 1).sum())
    return right, total


def sift(view: Tensor) -> tuple[Tensor, Tensor]:
    """(N, 2) pixels, the first one's centre at (0.5, 0.5), and (N, 128) descriptors of a view (3, H, W) in [0, 1]."""
    try:
        import cv2
    except ImportError as e:
        raise UsageError("correspondences need OpenCV: pip install 'dataengine[benchmark]'") from e
    image = (view.mean(0).clamp(0, 1) * 255).round().byte().cpu().numpy()
    large = cv2.resize(image, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC)
    detector: Any = cv2.SIFT.create(contrastThreshold=CONTRAST)  # its types know no missing mask
    places, descriptors = detector.detectAndCompute(large, None)
    if descriptors is None:
        return torch.zeros(0, 2), torch.zeros(0, 128)
    pixels = torch.tensor(np.array([place.pt for place in places]), dtype=torch.float32)
    return (pixels + 0.5) / ENLARGED, torch.from_numpy(descriptors)


def match(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """(M, 2) pixels twice: what is each other's nearest and far nearer than the second nearest, both ways.

    A place with several descriptors, or two of one place, count once.
    """
    (here, a), (there, b) = first, second
    if len(a) < 2 or len(b) < 2:
        return here[:0], there[:0]
    apart = torch.cdist(a, b)
    forth, back = apart.topk(2, 1, largest=False), apart.topk(2, 0, largest=False)
    own = torch.arange(len(a))
    nearest = forth.indices[:, 0]
    mutual = back.indices[0, nearest] == own
    clear = forth.values[:, 0] < RATIO * forth.values[:, 1]
    clear_back = back.values[0, nearest] < RATIO * back.values[1, nearest]
    kept = mutual & clear & clear_back
    both = torch.cat([here[kept], there[nearest[kept]]], 1).round(decimals=2)
    pairs: Tensor = torch.unique(both, dim=0)
    return pairs[:, :2], pairs[:, 2:]


def confirmed(here: Tensor, there: Tensor, geometry: Geometry, i: int, j: int, within: float = WITHIN) -> Tensor:
    """(M,) bool: which pixels of view i (M, 2) show the surface that view j shows at the pixels `there` (M, 2).

    The depth of the pixel in i lifts its ray into the world; its point has to land within so many pixels of the match
    in j, and j has to see it there: nothing stands before it, by the depth of the pixel that it lands in or of one
    next to it.
    """
    rows, columns = geometry.depth.shape[1:]
    column, row = here.long().unbind(1)
    depth = geometry.depth[i, row.clamp(0, rows - 1), column.clamp(0, columns - 1)]
    parallel = geometry.orthographic[i : i + 1]
    origins, directions = rays(geometry.K[i][None], geometry.c2w[i][None], here[None], orthographic=parallel)
    axis, camera = geometry.c2w[i, :3, 2], geometry.c2w[i, :3, 3]
    along = (depth - (origins[0] - camera) @ axis) / (directions[0] @ axis)
    points = origins[0] + along[:, None] * directions[0]
    flat = bool(geometry.orthographic[j])
    pixels, z = project(points, geometry.K[j], geometry.c2w[j], orthographic=flat)
    near = (pixels - there).norm(dim=1) <= within
    inside = (pixels >= 0).all(1) & (pixels[:, 0] < columns) & (pixels[:, 1] < rows) & (z > 0)
    focal = geometry.K[j, 0, 0]
    footprint = 2 * (1 / focal if flat else z / focal)  # two pixels' width at that depth
    padded = torch.nn.functional.pad(geometry.depth[j], (1, 1, 1, 1))
    column, row = pixels.nan_to_num().long().unbind(1)
    column, row = column.clamp(0, columns - 1), row.clamp(0, rows - 1)
    around = torch.stack([padded[row + y, column + x] for y in range(3) for x in range(3)])
    seen = ((around > 0) & ((around - z).abs() < footprint)).any(0)
    out: Tensor = (depth > 0) & near & inside & seen
    return out
