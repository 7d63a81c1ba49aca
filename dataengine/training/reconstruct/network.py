"""Four views to pixel-aligned 3D Gaussians.

LGM's asymmetric U-Net (Tang et al. 2024, arXiv 2402.05054), scaled down. What is different:

- A Gaussian lies on its pixel's ray. The network says how far along it, between where the ray enters the sphere round
  the object and where it leaves, so the corpus's depth can teach it directly.
- Four silhouettes say more of where the surface is than this network: a second one (`carving.py`) says how far behind
  the surface of their hull it is. The silhouettes are the first one's own opacities.
- Scales are told in footprints of the pixel at that depth, rotations in the view's own frame, colours as a change of
  the picture's own. None of them depends on where in the world a view was taken from.
- The views see each other on the coarsest level only, in transformer blocks over all of their places.
- Rays are told in a world that is turned so that the first view lies at azimuth 0.
"""

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dataengine.geometry.gaussians import Gaussians
from dataengine.geometry.tensors import pixel_rays, pluecker
from dataengine.training.reconstruct.blocks import ResidualBlock, ViewBlock, group_norm
from dataengine.training.reconstruct.carving import Carved, Carver
from dataengine.training.reconstruct.hull import entries
from dataengine.training.reconstruct.squares import Squares

CHANNELS = 12
"""Of the network's answer: distance 1, scale 3, rotation 4, opacity 1, colour 3."""


@dataclass(frozen=True)
class ReconstructorConfig:
    """What decides the parameters' names and shapes, and what the network's numbers mean.

    Attributes:
        widths: of the levels, each half as fine as the one before; the last sees all views at once.
        blocks: transformer blocks there.
        fine: the level of the answer. 1: a Gaussian per 2 × 2 pixels.
        radius: of the sphere round the object, in world units.
        slack: how far behind the hull of the silhouettes a Gaussian may lie where nothing is carved, in world units.
        carving: widths of the second network's levels; empty: there is none, and Gaussians stay within the slack.
    """

    widths: tuple[int, ...] = (48, 96, 144, 192)
    blocks: int = 4
    fine: int = 1
    radius: float = 0.52
    slack: float = 0.02
    carving: tuple[int, ...] = (48, 64)

    @property
    def factor(self) -> int:
        """Pixels that a picture's side is a multiple of."""
        return 1 << len(self.widths) - 1

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "ReconstructorConfig":
        return cls(**{**data, "widths": tuple(data["widths"]), "carving": tuple(data.get("carving", ()))})


class Reconstruction(NamedTuple):
    """What the network says, twice: as Gaussians, and pixel by pixel, for losses.

    Attributes:
        gaussians: (B, V × h × w), views first, then row by row.
        depth: (B, V, 1, h, w) planar, world units, as the network says it: before the hull corrects it.
        opacity_logit: (B, V, 1, h, w).
        carved: what the second network says; None: there is none.
        distance: (B, V, R, 1) of the Gaussians along the squares' rays.
        squares: of pixels, a Gaussian for each.
    """

    gaussians: Gaussians
    depth: Tensor
    opacity_logit: Tensor
    carved: Carved | None
    distance: Tensor
    squares: Squares


class Reconstructor(nn.Module):
    """The whole network. See the module's docstring."""

    def __init__(self, config: ReconstructorConfig = ReconstructorConfig()) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.enter = nn.Conv2d(9, widths[0], 3, padding=1)
        self.down = nn.ModuleList(ResidualBlock(w, w) for w in widths)
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.across = nn.ModuleList(ViewBlock(widths[-1]) for _ in range(config.blocks))
        levels = range(len(widths) - 2, config.fine - 1, -1)
        self.up = nn.ModuleList(ResidualBlock(widths[i + 1] + widths[i], widths[i]) for i in levels)
        self.norm = group_norm(widths[config.fine])
        self.leave = nn.Conv2d(widths[config.fine], CHANNELS, 3, padding=1)
        nn.init.normal_(self.leave.weight, std=1e-3)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]
        self.carver = Carver(widths[config.fine], config.carving) if config.carving else None

    def forward(self, colour: Tensor, K: Tensor, c2w: Tensor) -> Reconstruction:
        """Reconstructs objects.

        Args:
            colour: (B, V, 3, H, W) in [0, 1] over white; H and W are multiples of `config.factor`.
            K, c2w: (B, V, 3, 3) for these pixels and (B, V, 4, 4): perspective cameras that look at the origin.
        """
        batch, views, _, height, width = colour.shape
        with torch.autocast(colour.device.type, enabled=False):  # bfloat16 would bend the rays
            seen = torch.cat([colour * 2 - 1, view_rays(K, c2w, (height, width))], 2).flatten(0, 1)
        x, kept = self.enter(seen.contiguous(memory_format=torch.channels_last)), []
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else self.shrink[i - 1](x))
            kept.append(x)
        rows, columns = x.shape[-2:]
        tokens = x.flatten(2).transpose(1, 2).reshape(batch, views * rows * columns, -1)
        for block in self.across:
            tokens = block(tokens)
        x = tokens.view(batch * views, rows * columns, -1).transpose(1, 2).unflatten(2, (rows, columns))
        for block, fine in zip(self.up, reversed(kept[self.config.fine : -1]), strict=True):
            x = block(torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), fine], 1))
        features = self.norm(x)
        answer = self.leave(F.silu(features)).float().view(batch, views, CHANNELS, *x.shape[-2:])
        return self._place(answer, features.view(batch, views, *features.shape[1:]), colour, K, c2w)

    def _place(self, answer: Tensor, features: Tensor, colour: Tensor, K: Tensor, c2w: Tensor) -> Reconstruction:
        """The answer (B, V, 12, h, w) as Gaussians in the world."""
        rows, columns = answer.shape[-2:]
        step = 1 << self.config.fine
        far, scale, rotation, logit, shift = torch.split(answer.flatten(3).transpose(2, 3), [1, 3, 4, 1, 3], -1)
        with torch.autocast(colour.device.type, enabled=False):
            squares = Squares.of(K, c2w, (rows, columns), step, self.config.radius)
            own = squares.nearest + squares.half * torch.tanh(far / 2)  # from where the ray enters to where it leaves
            opacity = torch.where(squares.half > 0, torch.sigmoid(logit), 0.0)
            hull = entries(squares.picture(opacity), squares)
            seen = F.avg_pool2d(colour.flatten(0, 1), step).view(*colour.shape[:3], rows, columns)
        carved = None
        if self.carver is None:
            held = torch.minimum(torch.maximum(own, hull), hull + self.config.slack)
            distance = torch.where(torch.isfinite(hull), held, own)
        else:
            carved = self.carver(features, seen, own, hull, opacity, squares)
            distance = carved.distance()
            parts = torch.split(carved.change, [3, 4, 1, 3], -1)
            scale, rotation, logit, shift = (a + b for a, b in zip((scale, rotation, logit, shift), parts, strict=True))
            opacity = torch.where(squares.half > 0, torch.sigmoid(logit), 0.0)
        with torch.autocast(colour.device.type, enabled=False):
            footprint = distance * squares.along * step / K[..., None, None, 0, 0]
            spread = 0.55 * footprint * torch.exp(2 * torch.tanh(scale / 2))
            base = torch.tensor([1.0, 0.0, 0.0, 0.0], device=answer.device)
            turned = compose(quaternions(c2w[..., :3, :3])[..., None, :], F.normalize(rotation + base, dim=-1))
            gaussians = Gaussians(
                centres=(squares.origins + distance * squares.directions).flatten(1, 2),
                scales=spread.flatten(1, 2),
                rotations=F.normalize(turned, dim=-1).flatten(1, 2),
                opacities=opacity.flatten(1),
                colours=(seen.flatten(3).transpose(2, 3) + torch.tanh(shift)).clamp(0, 1).flatten(1, 2),
            )
        depth, said = squares.picture(own * squares.along), squares.picture(logit)
        return Reconstruction(gaussians, depth, said, carved, distance, squares)


def view_rays(K: Tensor, c2w: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, V, 6, H, W) Plücker rays of all pixels, in the world turned so that the first view is at azimuth 0."""
    azimuth = torch.atan2(c2w[:, 0, 1, 3], c2w[:, 0, 0, 3])
    turn = torch.eye(4, device=c2w.device, dtype=c2w.dtype).repeat(len(c2w), 1, 1)
    turn[:, 0, 0], turn[:, 0, 1] = azimuth.cos(), azimuth.sin()
    turn[:, 1, 0], turn[:, 1, 1] = -azimuth.sin(), azimuth.cos()
    lines = pluecker(*pixel_rays(K, turn[:, None] @ c2w, size))
    return lines.transpose(2, 3).reshape(*K.shape[:2], 6, *size)


def quaternions(rotation: Tensor) -> Tensor:
    """(…, 3, 3) rotations → (…, 4) unit quaternions w, x, y, z, w ≥ 0 (the stable branch of Shepperd 1978)."""
    m = rotation
    diagonal = m.diagonal(dim1=-2, dim2=-1)
    trace = diagonal.sum(-1, keepdim=True)
    # Four times the square of each component; from the largest, the others follow without cancellation.
    squares = torch.cat([1 + trace, 1 + 2 * diagonal - trace], -1)
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    w2, x2, y2, z2 = squares.unbind(-1)
    rows = torch.stack(
        [
            torch.stack([w2, wx, wy, wz], -1),
            torch.stack([wx, x2, xy, xz], -1),
            torch.stack([wy, xy, y2, yz], -1),
            torch.stack([wz, xz, yz, z2], -1),
        ],
        -2,
    )
    largest = squares.argmax(-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    q = F.normalize(rows.gather(-2, largest)[..., 0, :], dim=-1)
    return torch.where(q[..., :1] < 0, -q, q)


def compose(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product (…, 4): the rotation b, then a."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        -1,
    )
