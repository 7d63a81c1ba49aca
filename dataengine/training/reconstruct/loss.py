"""What a reconstruction is compared with: the views themselves, and the depth of its own pixels."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dataengine.geometry.rasterise import Rendering
from dataengine.training.reconstruct.network import Reconstruction

ASTRAY = 0.6  # world units: a surface so far from the hull's is not one that carving could find


@dataclass(frozen=True)
class LossWeights:
    """Of the parts of the loss.

    Attributes:
        colour: squared error of rendered views, over all pixels.
        object: the same, over the object's own pixels.
        alpha: squared error of rendered alpha.
        depth: absolute error of the planar depth of the network's own pixels, in radii of the object's sphere.
        opacity: cross-entropy between a pixel's opacity and the view's alpha.
        rendered_depth: absolute error of rendered depth where view and rendering both show the object.
        carved: absolute error of the depth of the network's own pixels after carving, in radii of the object's sphere.
        offset: cross-entropy between the weighed distances behind the hull and the true one.
    """

    colour: float = 4.0
    object: float = 1.0
    alpha: float = 1.0
    depth: float = 1.0
    opacity: float = 0.2
    rendered_depth: float = 0.2
    carved: float = 2.0
    offset: float = 0.1


class Truth(NamedTuple):
    """Views of objects.

    Attributes:
        colour: (B, V, 3, H, W) in [0, 1] over white.
        alpha: (B, V, 1, H, W).
        depth: (B, V, 1, H, W) planar, 0 = none.
        K, c2w: (B, V, 3, 3), (B, V, 4, 4).
    """

    colour: Tensor
    alpha: Tensor
    depth: Tensor
    K: Tensor
    c2w: Tensor

    def pick(self, views: Tensor) -> "Truth":
        """Of each object the views (B, n)."""
        rows = torch.arange(len(views), device=views.device)[:, None]
        return Truth(*(values[rows, views] for values in self))


def pixel_loss(made: Reconstruction, given: Truth, radius: float) -> tuple[Tensor, Tensor]:
    """Depth and opacity of the network's own pixels against the true input views."""
    depth, alpha = _squares(given, made)
    on = torch.isfinite(depth) & (alpha > 0.5)
    error = F.smooth_l1_loss(made.depth, torch.where(on, depth, made.depth.detach()), reduction="none", beta=0.02)
    own = error.sum() / on.sum().clamp(min=1) / radius
    # A surface at an edge is as real as others: it is asked for wherever it covers some of the square.
    opacity = F.binary_cross_entropy_with_logits(made.opacity_logit, (alpha > 0.1).to(alpha.dtype))
    return own, opacity


def carving_loss(made: Reconstruction, given: Truth, radius: float, weights: LossWeights) -> Tensor:
    """Distances behind the hull against the true input views; 0 where nothing is carved."""
    if made.carved is None:
        return made.depth.new_zeros(())
    depth, alpha = (values.flatten(3).transpose(2, 3) for values in _squares(given, made))  # (B, V, R, 1)
    behind = depth / made.squares.along - made.carved.anchor
    on = torch.isfinite(depth) & (alpha > 0.5) & (behind.abs() < ASTRAY)
    behind = torch.where(on, behind, 0.0)
    count = on.sum().clamp(min=1)
    error = F.smooth_l1_loss(made.carved.distance() - made.carved.anchor, behind, reduction="none", beta=0.01)
    distance = (error * on).sum() / count / radius
    entropy = (made.carved.entropy(behind) * on).sum() / count
    return weights.carved * distance + weights.offset * entropy


def _squares(given: Truth, made: Reconstruction) -> tuple[Tensor, Tensor]:
    """(B, V, 1, h, w) depth of the network's squares, infinite where there is none, and alpha."""
    step = given.depth.shape[-1] // made.depth.shape[-1]
    alpha = F.avg_pool2d(given.alpha.flatten(0, 1), step).view_as(made.depth)
    # The nearest surface of the square: a mean of two surfaces is none.
    far = torch.where(given.depth > 0, given.depth, torch.inf).flatten(0, 1)
    return -F.max_pool2d(-far, step).view_as(made.depth), alpha


def view_loss(drawn: Rendering, true: Truth, radius: float, weights: LossWeights) -> Tensor:
    """Rendered views (B, V, …) against true ones."""
    squared = (drawn.colour - true.colour).square().mean(2, keepdim=True)
    both = (true.depth > 0) & (drawn.alpha.detach() > 0.5)
    depth = torch.where(both, (drawn.depth - true.depth).abs(), 0.0).sum() / both.sum().clamp(min=1) / radius
    return (
        weights.colour * squared.mean()
        + weights.object * (squared * true.alpha).sum() / true.alpha.sum().clamp(min=1)
        + weights.alpha * (drawn.alpha - true.alpha).square().mean()
        + weights.rendered_depth * depth
    )
