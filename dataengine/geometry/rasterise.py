"""Draws 3D Gaussians with torch alone: the mathematics of 3D Gaussian splatting, differentiable, on any device.

Kerbl et al. 2023 (and gsplat): each Gaussian is projected with the camera's local affine approximation (EWA splatting,
Zwicker et al. 2001), widened by 0.3 square pixels, and blended front to back in the order of its centre's depth.

Pictures are cut into tiles. The pairs of a tile and a Gaussian that may touch it are listed, sorted by tile and depth,
and padded to the longest list; all tiles of all views are then blended at once, a slice of their lists at a time.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from dataengine.geometry import by_gsplat
from dataengine.geometry.gaussians import Gaussians

NEAR = 0.01  # world units; what is nearer, or behind the camera, is not drawn
BLUR = 0.3  # square pixels that each Gaussian is widened by, so that none falls between pixels
MOST, LEAST = 0.99, 1 / 255  # of a Gaussian's alpha at a pixel: above it is held, below it is nothing
SIGMAS = 3.33  # beyond which alpha is below LEAST, whatever the opacity: exp(-3.33²/2) < 1/255
LOOSE = 1.3  # how far outside the picture, in half widths, the affine approximation is taken
SLICE = 64  # Gaussians of each tile that are blended at once


class Rendering(NamedTuple):
    """What was drawn.

    Attributes:
        colour: (…, V, 3, H, W) over the background.
        alpha: (…, V, 1, H, W).
        depth: (…, V, 1, H, W) planar, the mean over what the pixel sees; 0 where it sees nothing.
    """

    colour: Tensor
    alpha: Tensor
    depth: Tensor


class _Splats(NamedTuple):
    """Gaussians in pictures, I of them: (I, N, …)."""

    centres: Tensor  # pixels
    conics: Tensor  # xx, xy, yy of the inverse covariance
    depth: Tensor
    radii: Tensor  # pixels; 0: not drawn


def rasterise(
    gaussians: Gaussians,
    K: Tensor,
    c2w: Tensor,
    size: tuple[int, int],
    *,
    background: Tensor | float = 1.0,
    orthographic: bool = False,
) -> Rendering:
    """Draws a scene from several cameras, or several scenes from cameras of their own; with gsplat where it is
    installed, on CUDA.

    Args:
        gaussians: (N, …), or (B, N, …) of B scenes.
        K, c2w: (V, 3, 3) and (V, 4, 4), or (B, V, …): OpenCV axes, the first pixel's centre at (0.5, 0.5).
        size: height and width in pixels.
        background: one value, or (3,).
        orthographic: whether the cameras' rays are parallel.
    """
    if gaussians.centres.ndim == 2:
        one = Gaussians(*(field[None] for field in gaussians))
        found = rasterise(one, K[None], c2w[None], size, background=background, orthographic=orthographic)
        return Rendering(*(field[0] for field in found))
    behind = torch.as_tensor(background, dtype=K.dtype, device=K.device).expand(3)[:, None, None]
    if K.is_cuda and by_gsplat.is_installed() and not bool(K[..., 0, 1].any()):
        theirs = by_gsplat.blend(gaussians, K, c2w, size, near=NEAR, blur=BLUR, orthographic=orthographic)
        return _over(*theirs, behind)
    height, width = size
    b, n = gaussians.centres.shape[:2]
    v = K.shape[1]
    splats = _project(gaussians, K, c2w, size, orthographic)
    tile = 4 if max(size) <= 128 else 8
    across, down = -(-width // tile), -(-height // tile)
    lists, lengths = _tile_lists(splats, tile, across, down)
    corner = torch.arange(across * down, device=K.device)
    corner = torch.stack([corner % across, corner.div(across, rounding_mode="floor")], -1) * tile
    colours = gaussians.colours[:, None].expand(b, v, n, 3).reshape(-1, 3)
    opacities = gaussians.opacities[:, None].expand(b, v, n).reshape(-1)
    flat = [splats.centres.reshape(-1, 2), splats.conics.reshape(-1, 3), opacities[:, None].clamp(min=1e-6).log()]
    flat += [colours, splats.depth.reshape(-1, 1)]
    drawn = _blend(torch.cat(flat, -1), lists, lengths, corner.to(K.dtype).repeat(b * v, 1), tile)
    picture = drawn.view(b, v, down, across, tile, tile, 5).permute(0, 1, 6, 2, 4, 3, 5)
    picture = picture.reshape(b, v, 5, down * tile, across * tile)[..., :height, :width]
    colour, alpha, depth = torch.split(picture, [3, 1, 1], 2)
    return _over(colour, alpha, depth, behind)


def _over(colour: Tensor, alpha: Tensor, depth: Tensor, behind: Tensor) -> Rendering:
    """Colour and depth, both times alpha, over what is behind."""
    return Rendering(colour + (1 - alpha) * behind, alpha, depth / alpha.clamp(min=1e-6))


def _project(g: Gaussians, K: Tensor, c2w: Tensor, size: tuple[int, int], orthographic: bool) -> _Splats:
    """Every Gaussian in every view of its scene."""
    w2c = c2w[..., :3, :3].transpose(-1, -2)  # (B, V, 3, 3)
    local = (g.centres[:, None] - c2w[:, :, None, :3, 3]) @ w2c.transpose(-1, -2)  # (B, V, N, 3)
    x, y, z = local.unbind(-1)
    safe = z.clamp(min=NEAR)
    fx, fy, cx, cy = (K[..., i, j, None] for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    skew = K[..., 0, 1, None]
    zero = torch.zeros_like(z)
    if orthographic:
        u, w = x, y
        rows = [fx.expand_as(z), skew.expand_as(z), zero, zero, fy.expand_as(z), zero]
    else:
        u, w = x / safe, y / safe
        height, width = size
        wide, high = LOOSE * width / (2 * fx), LOOSE * height / (2 * fy)
        held_u = torch.minimum(torch.maximum(u, -wide), wide)
        held_w = torch.minimum(torch.maximum(w, -high), high)
        rows = [fx / safe, skew / safe, -(fx * held_u + skew * held_w) / safe, zero, fy / safe, -fy * held_w / safe]
    jacobian = torch.stack(rows, -1).reshape(*z.shape, 2, 3) @ w2c[:, :, None]  # (B, V, N, 2, 3)
    covariance = jacobian @ g.covariances()[:, None] @ jacobian.transpose(-1, -2)
    xx, xy, yy = covariance[..., 0, 0] + BLUR, covariance[..., 0, 1], covariance[..., 1, 1] + BLUR
    area = xx * yy - xy * xy
    centres = torch.stack([fx * u + skew * w + cx, fy * w + cy], -1)
    conics = torch.stack([yy, -xy, xx], -1) / area[..., None]
    middle = (xx + yy) / 2
    longest = middle + (middle * middle - area).clamp(min=0).sqrt()
    drawn = (z > NEAR) & (g.opacities[:, None] >= LEAST)
    radii = torch.where(drawn, SIGMAS * longest.sqrt(), 0.0)
    shape = (-1, z.shape[-1])
    return _Splats(centres.view(*shape, 2), conics.view(*shape, 3), z.reshape(shape), radii.detach().reshape(shape))


@torch.no_grad()
def _tile_lists(splats: _Splats, tile: int, across: int, down: int) -> tuple[Tensor, Tensor]:
    """For each tile of each picture, the Gaussians that may touch it, from near to far.

    Returns:
        (T, L) numbers into the flattened splats, filled up with 0, and (T,) how many of them are real.
    """
    pictures, n = splats.depth.shape
    low = ((splats.centres - splats.radii[..., None]) / tile).floor().long()
    high = ((splats.centres + splats.radii[..., None]) / tile).floor().long() + 1
    edge = torch.tensor([across, down], device=low.device)
    low, high = (torch.minimum(bound.clamp(min=0), edge).view(-1, 2) for bound in (low, high))
    extent = (high - low).clamp(min=0) * (splats.radii.view(-1, 1) > 0)
    count = extent.prod(-1)
    order = splats.depth.flatten().argsort(stable=True)  # over all pictures: each keeps its own order
    order = order[count[order] > 0]
    repeated = order.repeat_interleave(count[order])
    first = count[order].cumsum(0) - count[order]
    nth = torch.arange(len(repeated), device=low.device) - first.repeat_interleave(count[order])
    wide = extent[repeated, 0]
    column, row = low[repeated, 0] + nth % wide, low[repeated, 1] + nth.div(wide, rounding_mode="floor")
    place = (repeated.div(n, rounding_mode="floor") * down + row) * across + column
    by_tile = place.argsort(stable=True)
    place, repeated = place[by_tile], repeated[by_tile]
    lengths = torch.bincount(place, minlength=pictures * across * down)
    start = lengths.cumsum(0) - lengths
    lists = repeated.new_zeros((len(lengths), int(lengths.max()) if len(repeated) else 0))
    lists[place, torch.arange(len(place), device=place.device) - start[place]] = repeated
    return lists, lengths


def _blend(splats: Tensor, lists: Tensor, lengths: Tensor, corners: Tensor, tile: int) -> Tensor:
    """(T, P, 5): colour times alpha, alpha, depth times alpha.

    The exponent of a Gaussian is a polynomial of degree two in the pixel's place within its tile, so that those of all
    pairs are one product of matrices.

    Args:
        splats: (I·N, 10): centre, conic, logarithm of the opacity, colour, depth.
        lists, lengths: of `_tile_lists`.
        corners: (T, 2) of the tiles, in pixels.
        tile: pixels a side.
    """
    place = torch.arange(tile, device=splats.device, dtype=splats.dtype) + 0.5 - tile / 2
    y, x = (axis.flatten() for axis in torch.meshgrid(place, place, indexing="ij"))
    powers = torch.stack([x * x, x * y, y * y, x, y, torch.ones_like(x)], -1)  # (P, 6)
    order = lengths.argsort(descending=True)
    lists, lengths, middles = lists[order], lengths[order], corners[order] + tile / 2
    left = (lengths[:, None] > torch.arange(0, lists.shape[1], SLICE, device=lists.device)).sum(0).tolist()
    total = splats.new_zeros((len(lists), len(powers), 5))
    passed = splats.new_zeros((len(lists), len(powers)))  # logarithm of the share of light that still comes through
    for i, busy in enumerate(left):  # of tiles, those with the longest lists
        part = lists[:busy, i * SLICE : (i + 1) * SLICE]
        real = torch.arange(i * SLICE, i * SLICE + part.shape[1], device=part.device) < lengths[:busy, None]
        centre, conic, opacity, shown = torch.split(splats[part], [2, 3, 1, 4], -1)
        terms = _polynomial(centre - middles[:busy, None], conic, opacity)
        alpha = torch.where(real[:, None], (powers @ terms.transpose(1, 2)).clamp(max=0.0).exp(), 0.0)
        alpha = torch.where(alpha < LEAST, 0.0, alpha.clamp(max=MOST))
        stopped = torch.log1p(-alpha)
        light = passed[:busy, :, None] + stopped.cumsum(-1) - stopped
        shown = torch.cat([shown[..., :3], torch.ones_like(opacity), shown[..., 3:]], -1)
        seen = (alpha * light.exp()) @ shown
        total = torch.cat([total[:busy] + seen, total[busy:]])
        passed = torch.cat([passed[:busy] + stopped.sum(-1), passed[busy:]])
    return torch.zeros_like(total).index_copy(0, order, total)


def _polynomial(centre: Tensor, conic: Tensor, opacity: Tensor) -> Tensor:
    """(…, 6) of the logarithm of alpha: what x², xy, y², x, y and 1 are multiplied with."""
    mx, my = centre.unbind(-1)
    xx, xy, yy = conic.unbind(-1)
    constant = opacity[..., 0] - 0.5 * (xx * mx * mx + yy * my * my) - xy * mx * my
    return torch.stack([-0.5 * xx, -xy, -0.5 * yy, xx * mx + xy * my, xy * mx + yy * my, constant], -1)
