"""What depth tells of a picture at its own pixels: where the object and its parts end, and how surfaces lie.

Tokens keep edges to about a pixel, and most of what decoding loses on an object is there. Depth has them to the pixel.
A small U-Net sees the decoded picture and, of the depth, which pixels have some, how far each lies before or behind the
mean around it, and normals; it says what to add. Whether the depth is as rendered or an estimate is an input, too: an
estimate's silhouette is often a few pixels off, and a network that trusted it would draw a wrong edge. Where a picture
is given, what was carried over from it (`given_pixels.py`) is one more: together they tell what is on an edge's sides.

Pixels without depth stay as they are, and before training all do. Tensors as in `epipolar.py`.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dataengine.tokenize.epipolar import Scene
from dataengine.tokenize.given_pixels import CARRIED
from dataengine.tokenize.small import Block

WINDOWS = ((3, 0.02), (9, 0.1))  # pixels a side, and the difference in world units at which the relief is full
SLOPE = 0.05  # world units between neighbours above which they are of two surfaces
TOLD = 2 * len(WINDOWS) + 5  # of the depth: relief and share in each window, has depth, normal (3), as rendered


class DepthEdges(nn.Module):
    """Decoded views → what is added to them, (B, V, 3, H, W).

    Args:
        width: channels at the views' own pixels; half as many again at each of two coarser levels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = (width, width * 3 // 2, width * 2)
        self.enter = nn.Conv2d(3 + TOLD + CARRIED, width, 3, padding=1)
        self.down = nn.ModuleList(Block(w) for w in widths)
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.grow = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.up = nn.ModuleList(Block(w) for w in widths[:-1])
        self.leave = nn.Conv2d(width, 3, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, decoded: Tensor, carried: Tensor, scene: Scene) -> Tensor:
        """Args: decoded: (B, V, 3, H, W), about [-1, 1]; H and W are multiples of 4. carried: (B, V, CARRIED, H, W),
        see `given_pixels.Carried`. scene: of any resolution."""
        here = scene.at(*decoded.shape[-2:])
        with torch.autocast(decoded.device.type, enabled=False):
            told = relief(here)
        x = self.enter(torch.cat([decoded, told.to(decoded.dtype), carried], 2).flatten(0, 1))
        kept = []
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else self.shrink[i - 1](x))
            kept.append(x)
        for grow, block, fine in zip(reversed(self.grow), reversed(self.up), reversed(kept[:-1]), strict=True):
            x = block(fine + F.interpolate(grow(x), scale_factor=2.0, mode="nearest"))
        added: Tensor = self.leave(F.silu(x)).view_as(decoded) * (here.depth > 0)
        return added


def relief(scene: Scene) -> Tensor:
    """(B, V, TOLD, H, W): what the network is told of a scene's depth."""
    depth = scene.depth
    there = (depth > 0).to(depth.dtype)
    told = [there, scene.exact[..., None, None, None].to(depth.dtype).expand_as(depth), normals(scene)]
    for window, full in WINDOWS:
        summed, share = (F.avg_pool2d(x.flatten(0, 1), window, 1, window // 2).view_as(depth) for x in (depth, there))
        around = summed / share.clamp(min=1e-6)
        told += [((depth - around) / full).clamp(-1, 1) * there, share]
    return torch.cat(told, 2)


def normals(scene: Scene) -> Tensor:
    """(B, V, 3, H, W) unit normals in each camera's frame, towards it; 0 where neighbours are of another surface."""
    depth = scene.depth[:, :, 0]
    rows, columns = depth.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(rows, device=depth.device) + 0.5, torch.arange(columns, device=depth.device) + 0.5, indexing="ij"
    )
    K = scene.K[..., None, None]
    plane = torch.stack([(x - K[:, :, 0, 2]) / K[:, :, 0, 0], (y - K[:, :, 1, 2]) / K[:, :, 1, 1]], 2)
    reach = torch.where(scene.orthographic[..., None, None], 1.0, depth)
    points = torch.cat([plane * reach[:, :, None], depth[:, :, None]], 2)
    right, right_whole = _difference(points, depth, 3)
    down, down_whole = _difference(points, depth, 2)
    normal = F.normalize(torch.linalg.cross(down, right, dim=2), dim=2)
    return normal * (right_whole & down_whole)[:, :, None]


def _difference(points: Tensor, depth: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """From the neighbour before to that after, by rows (axis 2) or columns (3), and whether all are one surface."""
    count = depth.shape[axis]
    before = torch.arange(count, device=depth.device).sub(1).clamp(min=0)
    after = torch.arange(count, device=depth.device).add(1).clamp(max=count - 1)
    near, far = depth.index_select(axis, before), depth.index_select(axis, after)
    whole = (near > 0) & (far > 0) & (depth > 0) & ((far - near).abs() < SLOPE)
    return points.index_select(axis + 1, after) - points.index_select(axis + 1, before), whole
