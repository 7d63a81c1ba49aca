"""Gaussians fitted to some views of an object, and how they show it from the others: do the views agree in 3D?

VideoMV (arXiv 2403.12010, section 4) fits a neural field to 12 of 24 views and measures the other 12. Here the field is
a set of 3D Gaussians (Kerbl et al. 2023): no network and no training data, so drawn and true views are treated alike.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dataengine.geometry.gaussians import Gaussians
from dataengine.geometry.rasterise import Rendering, rasterise
from dataengine.geometry.tensors import project, scale_intrinsics
from dataengine.geometry.visual_hull import HALF
from dataengine.tokenize.features import feature_distance
from dataengine.tokenize.metrics import psnr, ssim

COUNT = 1200  # Gaussians
STEPS = 200
AT_ONCE = 2  # views of a step
SIDE = 64  # pixels to which larger views are scaled down: what a CPU core does in seconds
DIFFERENT = 0.06  # of a channel from white, above which a pixel shows the object
CELLS = 48  # a side, of the grid in which the first places are found
DISSENT = 6  # one view in so many may deny that a place belongs to the object
RATES: Mapping[str, float] = {"centres": 3e-3, "scales": 2e-2, "rotations": 1e-2, "opacities": 5e-2, "colours": 2e-2}
FALL = 0.05  # what is left of the learning rates at the end


class HeldOut(NamedTuple):
    """Views that were not fitted, as the Gaussians show them against as they are: means over these views.

    Attributes:
        psnr: dB.
        ssim: structural similarity.
        feature: distance of `tokenize.features`, lower is better.
        gaussians: that were fitted, (N, …).
    """

    psnr: float
    ssim: float
    feature: float
    gaussians: Gaussians


def held_out(colour: Tensor, K: Tensor, c2w: Tensor, *, steps: int = STEPS, seed: int = 0) -> HeldOut:
    """Fits Gaussians to every second view, the first among them, and measures the others.

    Args:
        colour: (V, 3, H, W) in [0, 1] over white, V > 1, at SIDE pixels if they are larger.
        K, c2w: (V, 3, 3) for H × W pixels and (V, 4, 4): perspective cameras.
        steps, seed: of the fit.
    """
    if colour.shape[-1] > SIDE:
        factor = SIDE / colour.shape[-1]
        K, colour = scale_intrinsics(K, factor, factor), F.interpolate(colour, scale_factor=factor, mode="area")
    made = fit_gaussians(colour[::2], K[::2], c2w[::2], steps=steps, seed=seed)
    true = colour[1::2]
    drawn = draw(made, K[1::2], c2w[1::2], true).colour.clamp(0, 1)
    figures = (psnr(drawn, true), ssim(drawn, true), feature_distance(drawn, true))
    quality, likeness, feature = (float(values.mean()) for values in figures)
    return HeldOut(quality, likeness, feature, made)


def fit_gaussians(
    colour: Tensor,
    K: Tensor,
    c2w: Tensor,
    *,
    count: int = COUNT,
    steps: int = STEPS,
    pace: float = 1.0,
    seed: int = 0,
) -> Gaussians:
    """Fits Gaussians to views by gradient descent (Adam) on the absolute and the squared error of the colour.

    They begin at the surface of what the views' silhouettes leave (pixels that are not white), and none is split,
    added or removed: what is compared are views, not ways to fit them.

    Args:
        colour: (V, 3, H, W) in [0, 1] over white.
        K, c2w: as for `held_out`.
        count: of Gaussians.
        steps: of AT_ONCE views each.
        pace: times the learning rates.
        seed: of the first places and the order of the views. The same on one CPU thread, to the last bit.

    Returns:
        (count, …), without gradients.
    """
    random = torch.Generator().manual_seed(seed)
    centres, scale, shown = first_places(colour, K, c2w, random, count)
    values = {
        "centres": centres,
        "scales": centres.new_full((count, 3), scale).log(),
        "rotations": centres.new_tensor([1.0, 0.0, 0.0, 0.0]).repeat(count, 1),
        "opacities": centres.new_zeros(count),
        "colours": shown.clamp(0.02, 0.98).logit(),
    }
    values = {name: value.requires_grad_() for name, value in values.items()}
    groups = [{"params": [value], "lr": pace * RATES[name]} for name, value in values.items()]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-15)
    falling = torch.optim.lr_scheduler.ExponentialLR(optimizer, FALL ** (1 / steps))
    order: list[int] = []
    for _ in range(steps):
        if len(order) < AT_ONCE:
            order += torch.randperm(len(colour), generator=random).tolist()
        views, order = order[:AT_ONCE], order[AT_ONCE:]
        error = draw(_as_gaussians(values), K[views], c2w[views], colour).colour - colour[views]
        optimizer.zero_grad()
        (error.abs().mean() + 4 * error.square().mean()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        falling.step()
    return Gaussians(*(value.detach() for value in _as_gaussians(values)))


def first_places(
    colour: Tensor, K: Tensor, c2w: Tensor, random: torch.Generator, count: int
) -> tuple[Tensor, float, Tensor]:
    """Places (count, 3) on the surface of the views' hull, how wide a Gaussian is there, and colours (count, 3).

    A place belongs to the hull if all but one view in DISSENT show it in another colour than white; views that do not
    agree leave something, too. Where nothing is left, all of the cube is.
    """
    device = colour.device
    axis = ((torch.arange(CELLS, device=device) + 0.5) / CELLS * 2 - 1) * HALF
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).view(-1, 3)
    shown = torch.stack([_look(view, k, pose, points) for view, k, pose in zip(colour, K, c2w, strict=True)])
    denied = ((1 - shown).amax(-1) < DIFFERENT).sum(0)
    solid = (denied <= len(colour) // DISSENT).view(1, 1, CELLS, CELLS, CELLS)
    if not bool(solid.any()):
        solid = torch.ones_like(solid)
    within = -F.max_pool3d(-F.pad(solid.float(), (1,) * 6), 3, stride=1) > 0.5  # all 26 neighbours are solid
    at = (solid & ~within).flatten().nonzero()[:, 0]
    cell = 2 * HALF / CELLS
    chosen = at[torch.randint(len(at), (count,), generator=random).to(device)]
    jitter = (torch.rand((count, 3), generator=random).to(device) - 0.5) * cell
    scale = 0.5 * cell * max(1.0, (len(at) / count) ** 0.5)
    return points[chosen] + jitter, scale, shown[:, chosen].median(0).values


def draw(gaussians: Gaussians, K: Tensor, c2w: Tensor, like: Tensor) -> Rendering:
    """Over white, of the size of (…, H, W)."""
    return rasterise(gaussians, K, c2w, (like.shape[-2], like.shape[-1]))


def _look(view: Tensor, K: Tensor, c2w: Tensor, points: Tensor) -> Tensor:
    """(N, 3): the colour of a view (3, H, W) where points are seen; white, as if nothing were there, outside it."""
    height, width = view.shape[-2:]
    pixels, _ = project(points, K, c2w)
    column, row = pixels.floor().long().unbind(1)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    seen = view[:, row.clamp(0, height - 1), column.clamp(0, width - 1)].T
    return torch.where(inside[:, None], seen, 1.0)


def _as_gaussians(values: Mapping[str, Tensor]) -> Gaussians:
    return Gaussians(
        values["centres"],
        values["scales"].exp().clamp(max=0.2),
        F.normalize(values["rotations"], dim=-1),
        values["opacities"].sigmoid(),
        values["colours"].sigmoid(),
    )
