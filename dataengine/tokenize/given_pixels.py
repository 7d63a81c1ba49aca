"""What a given picture shows of the surface that a pixel shows, and what it takes of that.

A picture that is known has what its tokens have lost: text, thin stripes, grain. Where another view shows the same
surface, that can be carried over. Attention at the levels of a decoder (`epipolar.py`) has to learn how to turn colours
into features that its last layers turn into those colours again; here the carried pixels are added to the decoded ones,
so there is only to learn where they can be trusted:

- Around a pixel's depth, points are taken on its ray and looked up in the given picture. Which of them is the right one
  is told by the given view's own depth there and by what plain decoding shows of both views, which is alike in both.
- Of the best, two things can be added: what decoding has lost in the given view, and the difference from its colour.
  How much of each is decided by a few convolutions, which see whether the neighbours fit, too.

Without a given view, on pixels without depth, and before training, nothing is added. What was carried comes out beside
it: a network that sees more of the picture (`depth_edges.py`) can make more of it. Tensors as in `epipolar.py`.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dataengine.geometry.tensors import rays
from dataengine.tokenize.epipolar import CHUNK, Scene, look_up, pixels_where, stratified, to_surface

DESCRIBED = 8  # channels that pixels are compared by
WIDTH = 24
CARRIED = 10  # channels that are carried to a pixel: lost, given, weight, disagreement in depth and look, cosine


class Carried(NamedTuple):
    """What the given pictures add to the views, (B, V, 3, H, W), and all that was carried, (B, V, CARRIED, H, W): of
    the given colour its difference from the decoded one."""

    added: Tensor
    seen: Tensor


class GivenPixels(nn.Module):
    """Pictures of views, decoded together and each alone → what the given ones say of them.

    Args:
        points: on each pixel's ray.
        reach: how far they lie from the pixel's depth at most, world units.
    """

    def __init__(self, points: int, reach: float = 0.1) -> None:
        super().__init__()
        self.points, self.reach = points, reach
        self.describe = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, DESCRIBED, 3, padding=2, dilation=2)
        )
        self.compare = nn.Sequential(nn.Linear(DESCRIBED + 8, 32), nn.SiLU(), nn.Linear(32, 1))
        self.disagreement = nn.Parameter(torch.tensor(4.0))
        self.trust = nn.Sequential(
            nn.Conv2d(CARRIED + 6, WIDTH, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(WIDTH, 2, 3, padding=1),
        )
        nn.init.zeros_(self.trust[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.trust[-1].bias)  # type: ignore[arg-type]

    def forward(self, decoded: Tensor, alone: Tensor, scene: Scene) -> Carried:
        """Args: decoded, alone: (B, V, 3, H, W), about [-1, 1], of the views together and each by itself."""
        here = scene.at(*decoded.shape[-2:])
        there = (here.depth > 0) & ~here.known[..., None, None, None]
        places, used = pixels_where(there)
        if not places.shape[-1] or not here.known.any():
            return Carried(torch.zeros_like(decoded), no_pixels(decoded))
        rows, columns = decoded.shape[-2:]
        carried = no_pixels(decoded).flatten(3)
        size = max(1, CHUNK // (here.known.numel() * int(here.known.sum(1).max()) * self.points))
        for part, valid in zip(torch.split(places, size, 2), torch.split(used, size, 2), strict=True):
            with torch.autocast(decoded.device.type, enabled=False):
                values = self._carry(alone.float(), here, part) * valid[:, :, None]
            index = part[:, :, None].expand(-1, -1, CARRIED, -1)
            carried = carried.scatter_add(3, index, values.to(decoded.dtype))
        carried = carried.view(*decoded.shape[:2], CARRIED, rows, columns)
        lost, given, weight = carried[:, :, :3], carried[:, :, 3:6], carried[:, :, 6:7]
        change = given - weight * decoded
        told = torch.cat([carried, change, decoded], 2)
        trust = self.trust(told.flatten(0, 1)).view(*decoded.shape[:2], 2, rows, columns) * there
        seen = torch.cat([lost, change, carried[:, :, 6:]], 2)
        return Carried(trust[:, :, :1] * lost + trust[:, :, 1:] * change, seen)

    def _carry(self, alone: Tensor, here: Scene, places: Tensor) -> Tensor:
        """(B, V, CARRIED, M) for the pixels `places` (B, V, M) of each view."""
        b, v, _ = places.shape
        size = alone.shape[-2:]
        looks = self.describe(alone.flatten(0, 1)).view(b, v, DESCRIBED, *size)
        own = torch.cat([looks, alone], 2).flatten(3)
        own = own.gather(3, places[:, :, None].expand(-1, -1, own.shape[2], -1)).transpose(2, 3)  # (B, V, M, C)
        order = here.known.to(torch.int8).argsort(dim=1, descending=True, stable=True)
        chosen = order[:, : int(here.known.sum(1).max())]  # the given views, and others where an object has fewer
        rows = torch.arange(b, device=places.device)[:, None]
        seen = here.pick(chosen)
        has = (seen.depth > 0).to(alone.dtype)
        planes = [looks[rows, chosen], alone[rows, chosen], seen.given, seen.depth, has]
        centres = torch.stack([places % size[1], places.div(size[1], rounding_mode="floor")], -1) + 0.5
        origins, directions = rays(here.K, here.c2w, centres.to(here.K.dtype), orthographic=here.orthographic)
        offsets = stratified(places, self.points, self.reach, drawn=self.training)
        along = to_surface(here, places, origins, directions)[..., None] + offsets
        points = origins[..., None, :] + along[..., None] * directions[..., None, :]
        gathered, z, inside, cosine = look_up(torch.cat(planes, 2), seen, points, directions)
        look, plain, given, depth, has = gathered.split_with_sizes([DESCRIBED, 3, 3, 1, 1], -1)
        apart = torch.where(has > 0.1, ((z[..., None] - depth / has.clamp(min=0.1)) / self.reach).clamp(-3, 3), 3.0)
        own_look, own_plain = own[:, None, :, :, None].split_with_sizes([DESCRIBED, 3], -1)
        like = torch.cat([(look - own_look).square(), (plain - own_plain).abs()], -1)
        angle = cosine[..., None, None].expand_as(apart)
        hints = [apart, apart.abs(), has, (offsets / self.reach)[:, None, ..., None].expand_as(apart), angle]
        score = self.compare(torch.cat([like, *hints], -1))[..., 0] - self.disagreement * apart[..., 0].square()
        valid = inside & seen.known[:, :, None, None, None]
        score = torch.where(valid, score, -torch.inf).permute(0, 2, 3, 1, 4).flatten(3)  # (B, V, M, W·N)
        weight = F.pad(score, (0, 1)).softmax(-1)[..., :-1]  # the last one, with score 0, is nothing
        unlike = like.mean(-1, keepdim=True)
        values = torch.cat([given - plain, given, torch.ones_like(apart), apart.square(), unlike, angle], -1)
        values = values.permute(0, 2, 3, 1, 4, 5).flatten(3, 4)
        carried: Tensor = (weight[..., None] * values).sum(3).transpose(2, 3)
        return carried


def no_pixels(decoded: Tensor) -> Tensor:
    """(B, V, 3, H, W) → zeros in the shape of `Carried.seen`: nothing was carried."""
    b, v, _, rows, columns = decoded.shape
    return decoded.new_zeros((b, v, CARRIED, rows, columns))
