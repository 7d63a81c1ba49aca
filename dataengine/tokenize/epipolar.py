"""Attention between views along the epipolar line, near the surface: one block for one level of a decoder.

"Pixel-Aligned Multi-View Generation with Depth Guided Decoder" (Tang et al., arXiv 2408.14016, section 3.2): around a
pixel's depth, points are taken on its ray; each is projected into the other views, whose features are gathered there;
the pixel attends to them. Unusual:

- The paper concatenates what the other views show at a point, so a network knows one number of views. Here each pair of
  a view and a point is a key of its own, made by one network that all share; any number of views will do.
- What a view shows at a point may be another surface, in front of the point. How far the view's own depth there lies
  from the point's tells, so it is an input of the keys, and keys that disagree begin with less weight.
- Pixels of given views are gathered like features, at the resolution of the level, so a decoder can copy them.
- One more key, with value 0, is there for pixels that no other view sees.

Tensors are (B, V, …): B objects, V views of each. World, cameras and units are those of docs/formats.md.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dataengine.geometry.tensors import pluecker, rays, scale_intrinsics

GATHERED = 6  # what is gathered beside features: given colours (3), given, depth, has depth
HINTS = 5  # what is computed of a view and a point: depth difference, its size, has depth, offset, angle of the rays
SPHERE = 3**0.5 / 2  # radius of what encloses the unit cube that objects are normalised to
CHUNK = 1 << 22  # view-point pairs at once, so that memory is bounded


@dataclass(frozen=True)
class Scene:
    """The views that are decoded together, at some resolution.

    Attributes:
        depth: (B, V, 1, H, W) planar, world units, 0 = none: nothing is added to these pixels.
        K: (B, V, 3, 3) for H × W pixels.
        c2w: (B, V, 4, 4).
        orthographic: (B, V) bool.
        given: (B, V, 3, H, W) RGB in [-1, 1] of views whose picture is known, 0 for the others.
        known: (B, V) bool: which these are.
        exact: (B, V) bool: whose depth is as rendered, so that its silhouette is the picture's; others' is an estimate.
    """

    depth: Tensor
    K: Tensor
    c2w: Tensor
    orthographic: Tensor
    given: Tensor
    known: Tensor
    exact: Tensor

    def at(self, height: int, width: int) -> "Scene":
        """The same views at fewer pixels: depth is the mean over each new pixel's part that has some."""
        rows, columns = self.depth.shape[-2:]
        if (rows, columns) == (height, width):
            return self
        there = (self.depth > 0).to(self.depth.dtype)
        share, summed = (_shrink(x, height, width) for x in (there, self.depth))
        depth = torch.where(share > 0, summed / share.clamp(min=1e-6), 0.0)
        K = scale_intrinsics(self.K, width / columns, height / rows)
        return Scene(depth, K, self.c2w, self.orthographic, _shrink(self.given, height, width), self.known, self.exact)

    def pick(self, views: Tensor) -> "Scene":
        """Of each object the views (B, n)."""
        rows = torch.arange(len(views), device=views.device)[:, None]
        fields = (self.depth, self.K, self.c2w, self.orthographic, self.given, self.known, self.exact)
        return Scene(*(field[rows, views] for field in fields))


class EpipolarAttention(nn.Module):
    """(B, V, C, h, w) features of one level → what the other views add to them, the same shape; 0 before training.

    Args:
        channels: C.
        width: of queries, keys and values.
        points: on each pixel's ray.
        reach: how far the points lie from the pixel's depth at most, along its ray, in world units.
        full: take the points along the whole ray through the object's sphere, for every pixel, whatever its depth: the
            conventional epipolar attention, to compare with.
    """

    def __init__(self, channels: int, width: int, points: int, reach: float = 0.1, *, full: bool = False) -> None:
        super().__init__()
        self.width, self.points, self.full = width, points, full
        self.reach = SPHERE if full else reach
        self.shrink = nn.Conv2d(channels, width, 1)
        self.query = nn.Linear(channels + 6, width)
        self.combine = nn.Sequential(
            nn.Linear(width + GATHERED - 2 + HINTS, 2 * width), nn.SiLU(), nn.Linear(2 * width, 2 * width)
        )
        self.disagreement = nn.Parameter(torch.tensor(0.0 if full else 4.0))
        self.nothing = nn.Parameter(torch.zeros(()))
        self.out = nn.Linear(width, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, h: Tensor, scene: Scene) -> Tensor:
        """Args: h: (B, V, C, h, w); scene: of any resolution. Between fewer than two views nothing is added."""
        b, v, c, rows, columns = h.shape
        if v < 2:
            return torch.zeros_like(h)
        here = scene.at(rows, columns)
        there = here.depth > 0
        places, used = pixels_where(torch.ones_like(there) if self.full else there)
        if not places.shape[-1]:
            return torch.zeros_like(h)
        planes = [
            self.shrink(h.flatten(0, 1)).view(b, v, self.width, rows, columns),
            here.given,
            _plane(here.known, here.depth),
        ]
        planes += [here.depth, there.to(h.dtype)]
        source = torch.cat([p.to(h.dtype) for p in planes], 2)
        own = h.flatten(3)
        size = max(1, CHUNK // (b * v * v * self.points))
        added = torch.zeros_like(own)
        for part, valid in zip(torch.split(places, size, 2), torch.split(used, size, 2), strict=True):
            values = self._attend(own, source, here, part) * valid[..., None]
            added = added.scatter_add(3, part[:, :, None].expand(-1, -1, c, -1), values.transpose(2, 3).to(h.dtype))
        return added.view_as(h)

    def _attend(self, own: Tensor, source: Tensor, here: Scene, places: Tensor) -> Tensor:
        """(B, V, M, C) for the pixels `places` (B, V, M) of each view."""
        v, columns = places.shape[1], source.shape[-1]
        with torch.autocast(own.device.type, enabled=False):  # where things are wants float32
            centres = torch.stack([places % columns, places.div(columns, rounding_mode="floor")], -1) + 0.5
            origins, directions = rays(here.K, here.c2w, centres.to(here.K.dtype), orthographic=here.orthographic)
            offsets = stratified(places, self.points, self.reach, drawn=self.training)
            along = self._distance(here, places, origins, directions)[..., None] + offsets
            points = origins[..., None, :] + along[..., None] * directions[..., None, :]  # (B, V, M, N, 3)
            gathered, z, inside, cosine = look_up(source.float(), here, points, directions)
            colour, known, seen, has = gathered[..., self.width :].split_with_sizes([3, 1, 1, 1], -1)
            found = has > 0.1
            apart = ((z[..., None] - seen / has.clamp(min=0.1)) / self.reach).clamp(-3, 3)
            apart = torch.where(found, apart, 3.0)
            if self.full:
                apart, found = torch.zeros_like(apart), torch.zeros_like(found)
            line = pluecker(origins, directions)
        hints = [apart, apart.abs(), found.to(apart.dtype)]
        hints += [(offsets / self.reach)[:, None, ..., None].expand_as(apart), cosine[..., None, None].expand_as(apart)]
        told = torch.cat([gathered[..., : self.width], colour, known, *hints], -1).to(own.dtype)
        keys, values = self.combine(told).chunk(2, -1)
        mine = own.gather(3, places[:, :, None].expand(-1, -1, own.shape[2], -1)).transpose(2, 3)
        query = self.query(torch.cat([mine, line.to(own.dtype)], -1))
        score = (query[:, None, :, :, None] * keys).sum(-1).float() / self.width**0.5
        score = score - self.disagreement * apart[..., 0].square()
        others = ~torch.eye(v, dtype=torch.bool, device=own.device)[None, :, :, None, None]
        score = torch.where(inside & others, score, -torch.inf)
        flat = score.permute(0, 2, 3, 1, 4).flatten(3)  # (B, V, M, V·N)
        nothing = self.nothing.expand(*flat.shape[:3], 1)
        weight = torch.cat([flat, nothing], -1).softmax(-1)[..., :-1].to(values.dtype)
        merged = (weight[..., None] * values.permute(0, 2, 3, 1, 4, 5).flatten(3, 4)).sum(3)
        result: Tensor = self.out(merged)
        return result

    def _distance(self, here: Scene, places: Tensor, origins: Tensor, directions: Tensor) -> Tensor:
        """(B, V, M) along the ray, to the surface; `full`: to where the ray comes nearest to the world's origin."""
        return -(origins * directions).sum(-1) if self.full else to_surface(here, places, origins, directions)


def to_surface(here: Scene, places: Tensor, origins: Tensor, directions: Tensor) -> Tensor:
    """(B, V, M) how far along their rays (B, V, M, 3) the pixels `places` (B, V, M) show a surface, world units."""
    axis, camera = here.c2w[:, :, None, :3, 2], here.c2w[:, :, None, :3, 3]
    depth = here.depth.flatten(2).gather(2, places)
    return (depth - ((origins - camera) * axis).sum(-1)) / (directions * axis).sum(-1)


def stratified(places: Tensor, points: int, reach: float, *, drawn: bool) -> Tensor:
    """(B, V, M, N) distances from the surface: one in each of N equal parts of ±reach, drawn or its middle."""
    shape = (*places.shape, points)
    within = torch.rand(shape, device=places.device) if drawn else torch.full(shape, 0.5).to(places.device)
    return reach * (2 * (torch.arange(points, device=places.device) + within) / points - 1)


def look_up(source: Tensor, here: Scene, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What every view has where points of every view's rays fall.

    Args:
        source: (B, W, C, h, w) of the views that are looked into.
        points: (B, V, M, N, 3).
        directions: (B, V, M, 3) of the rays that they lie on.

    Returns:
        (B, W, V, M, N, C) gathered bilinearly, 0 outside; (B, W, V, M, N) planar depth; whether it is inside; and
        (B, W, V, M) cosine between the ray and the other view's axis.
    """
    b, v, m, n, _ = points.shape
    w, channels, rows, columns = source.shape[1:]
    flat = points.reshape(b, 1, -1, 3)
    local = (flat - here.c2w[:, :, None, :3, 3]) @ here.c2w[..., :3, :3]  # (B, W, VMN, 3)
    z = local[..., 2:]
    parallel = here.orthographic[:, :, None, None]
    plane = torch.cat([local[..., :2] / torch.where(parallel, 1.0, z.clamp(min=1e-6)), torch.ones_like(z)], -1)
    pixels = (plane @ here.K.transpose(-1, -2))[..., :2]
    grid = pixels * (2 / torch.tensor([columns, rows], device=pixels.device)) - 1
    inside = (grid.abs() <= 1).all(-1) & (z[..., 0] > 0)
    grid = grid.clamp(-2, 2).view(b * w, v * m, n, 2).to(source.dtype)
    gathered = F.grid_sample(source.flatten(0, 1), grid, align_corners=False)
    shape = (b, w, v, m, n)
    axis = here.c2w[:, :, :3, 2]
    cosine = torch.einsum("bvmk,bwk->bwvm", directions, axis)
    return gathered.permute(0, 2, 3, 1).view(*shape, channels), z.view(shape), inside.view(shape), cosine


def pixels_where(mask: Tensor) -> tuple[Tensor, Tensor]:
    """The pixels of each view where a mask (B, V, 1, h, w) is true: (B, V, M) row-major, and which of them are real.

    M is the largest number of a view; shorter lists are filled up with other pixels.
    """
    flat = mask.flatten(2)
    order = flat.to(torch.int8).argsort(dim=-1, descending=True, stable=True)
    most = int(flat.sum(-1).max())
    places = order[..., :most]
    return places, flat.gather(2, places)


def _plane(flags: Tensor, like: Tensor) -> Tensor:
    return flags[..., None, None, None].to(like.dtype).expand_as(like)


def _shrink(x: Tensor, height: int, width: int) -> Tensor:
    small = F.adaptive_avg_pool2d(x.flatten(0, 1), (height, width))
    return small.view(*x.shape[:3], height, width)
