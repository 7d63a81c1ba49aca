"""Carries a view over to other cameras by its depth, and says what that leaves unknown.

Neighbouring pixels whose depths are close are one surface, which is sampled densely and splatted into the other views
through a z-buffer; across a jump of depth there is none. What the reference sees says more than where its surface lies:
whatever is in front of the surface, or behind no surface at all, is empty. A pixel of another view whose ray meets only
such places shows the background, and is known too.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dataengine.errors import UsageError
from dataengine.geometry.tensors import coverage, lift, project, rays, z_buffer
from dataengine.training.camera_columns import FAR, NEAR, ORTHOGRAPHIC, c2w_of, intrinsics

_DENSE = 4  # points a side between neighbouring pixels, so that surfaces that turn towards a camera keep no holes
_STEEP = 6.0  # pixels' footprints of depth between neighbours, from which on they are two surfaces
_ALONG = 64  # places along a ray that are looked up
_CLOSE = 0.02  # of the depth: how far apart two surfaces are one, as float and 16-bit depth and slanted squares need


@dataclass(frozen=True)
class Warped:
    """Views as far as the reference tells.

    Attributes:
        images: (V, 3, H, W) in [0, 1]; what is unknown is filled smoothly from around.
        surface: (V, H, W) bool: pixels that show a surface of the reference.
        background: (V, H, W) bool: pixels that are known to show none.
    """

    images: Tensor
    surface: Tensor
    background: Tensor

    @property
    def known(self) -> Tensor:
        return self.surface | self.background


def warp(image: Tensor, depth: Tensor, camera: Tensor, cameras: Tensor, background: Tensor) -> Warped:
    """Warps one view to others.

    Args:
        image: (3, H, W) in [0, 1].
        depth: (H, W) planar, world units; 0 = none, where the object is not. Its rays are taken as empty.
        camera: (30,) of the image, see camera_columns.py; K is scaled to the image's size.
        cameras: (V, 30) asked for; drawn at the image's size. The object lies between their near and far planes, and
            within every view, as the rigs see to.
        background: (3,) colour.

    Raises:
        UsageError: if the depth is not of the image's size, or no pixel of the reference lands in some view.
    """
    height, width = image.shape[1:]
    if depth.shape != (height, width):
        raise UsageError(f"depth of {depth.shape[1]}×{depth.shape[0]} pixels, the image has {width}×{height}")
    points, colours = dense_surface(depth, camera, image)
    images, surface, empty = [], [], []
    for v, target in enumerate(cameras):
        colour, hit = _splat(points, colours, target, height, width)
        if not hit.any():
            raise UsageError(
                f"no pixel of the reference lands in view {v + 1} of {len(cameras)}: the warp covers nothing"
            )
        free = ~hit & _empty_rays(depth, camera, target, height, width)
        colour[:, free] = background[:, None]
        images.append(fill_holes(colour, hit | free))
        surface.append(hit)
        empty.append(free)
    return Warped(torch.stack(images), torch.stack(surface), torch.stack(empty))


def patches_covered(known: Tensor, grid: tuple[int, int], least: float = 0.95) -> Tensor:
    """(V, H, W) pixels → (V, rows × columns) bool: patches of which at least that share is known."""
    return coverage(known, grid).flatten(1) >= least


def lift_view(depth: Tensor, camera: Tensor) -> tuple[Tensor, Tensor]:
    """`lift` for a camera (30,) and depth (H, W) of any resolution."""
    return lift(depth, intrinsics(camera, *depth.shape), c2w_of(camera), orthographic=bool(camera[ORTHOGRAPHIC]))


def project_view(points: Tensor, camera: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """`project` for a camera (30,) and an image of that size."""
    k = intrinsics(camera, height, width)
    return project(points, k, c2w_of(camera), orthographic=bool(camera[ORTHOGRAPHIC]))


def dense_surface(depth: Tensor, camera: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Points (N, 3) that lie densely on the surfaces of a depth map, and what values (C, H, W) are there: (C, N).

    Each pixel's centre is a point, and between four neighbours that all have depth and are one surface there are more,
    at bilinear depth and value.
    """
    height, width = depth.shape
    corners = torch.stack([depth[:-1, :-1], depth[:-1, 1:], depth[1:, :-1], depth[1:, 1:]])  # (4, H-1, W-1)
    orthographic = bool(camera[ORTHOGRAPHIC])
    k, c2w = intrinsics(camera, height, width), c2w_of(camera)
    footprint = (torch.ones_like(corners[0]) if orthographic else corners.amin(0)) / k[0, 0]
    whole = (corners.amin(0) > 0) & (corners.amax(0) - corners.amin(0) < _STEEP * footprint)
    row, column = whole.nonzero().unbind(1)
    steps = (torch.arange(_DENSE, device=depth.device) + 0.5) / _DENSE
    dy, dx = (d.flatten() for d in torch.meshgrid(steps, steps, indexing="ij"))
    weights = torch.stack([(1 - dy) * (1 - dx), (1 - dy) * dx, dy * (1 - dx), dy * dx])  # (4, S)
    near = values[:, :-1, :-1], values[:, :-1, 1:], values[:, 1:, :-1], values[:, 1:, 1:]
    between = torch.einsum("kcn,ks->cns", torch.stack([v[:, row, column] for v in near]), weights).flatten(1)
    z = torch.einsum("kn,ks->ns", corners[:, row, column], weights).flatten()
    at = torch.stack([(column[:, None] + 0.5 + dx).flatten(), (row[:, None] + 0.5 + dy).flatten()], 1)
    origins, directions = rays(k, c2w, at, orthographic=orthographic)
    along = z if orthographic else z / (directions @ c2w[:3, 2])
    points, pixels = lift_view(depth, camera)
    points = torch.cat([points, origins + directions * along[:, None]])
    return points, torch.cat([values.flatten(1)[:, pixels], between], 1)


def fill_holes(image: Tensor, known: Tensor) -> Tensor:
    """(3, H, W), (H, W) bool → the image, unknown pixels filled from ever coarser averages of the known ones."""
    weight = known[None, None].float()
    colour = image[None] * weight
    levels = [(colour, weight)]
    while min(levels[-1][0].shape[-2:]) > 1:
        c, w = levels[-1]
        levels.append((F.avg_pool2d(c, 2, 2, ceil_mode=True), F.avg_pool2d(w, 2, 2, ceil_mode=True)))
    c, w = levels.pop()
    filled = c / w.clamp(min=1e-8)
    for c, w in reversed(levels):
        above = F.interpolate(filled, c.shape[-2:], mode="bilinear", align_corners=False)
        filled = torch.where(w > 0, c / w.clamp(min=1e-8), above)
    return filled[0]


def _splat(points: Tensor, colours: Tensor, camera: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """(3, H, W) the mean colour of the nearest points of each pixel, and (H, W) which pixels have any."""
    uv, z = project_view(points, camera, height, width)
    place, nearest = z_buffer(uv, z, height, width)
    front = (place >= 0) & (z <= nearest.flatten()[place] * (1 + _CLOSE))
    place, colours = place[front], colours[:, front]
    count = torch.zeros(height * width, device=z.device).index_add_(0, place, torch.ones_like(z[front]))
    total = torch.zeros(3, height * width, device=z.device).index_add_(1, place, colours)
    return (total / count.clamp(min=1)).view(3, height, width), (count > 0).view(height, width)


def _empty_rays(depth: Tensor, camera: Tensor, target: Tensor, height: int, width: int) -> Tensor:
    """(H, W) bool: pixels of the target whose rays, from near to far plane, meet only what is known as empty."""
    blocked = torch.zeros(height * width, dtype=torch.bool, device=depth.device)
    for z in torch.linspace(float(target[NEAR]), float(target[FAR]), _ALONG):
        points, _ = lift_view(torch.full_like(depth, float(z)), target)
        uv, there = project_view(points, camera, height, width)
        place, _ = z_buffer(uv, there, height, width)
        surface = depth.flatten()[place]
        blocked |= (place >= 0) & (surface > 0) & (there > surface * (1 - _CLOSE))
    return ~blocked.view(height, width)
