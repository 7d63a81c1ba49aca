"""An object from views that lie closely together, or from fewer than the network takes: each is then given again.

The network was trained on four views, mostly from all around. Of two that it is given twice it makes what they show in
common: where their silhouettes meet, and how deep, by what one looks like in the other.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dataengine.geometry.gaussians import Gaussians
from dataengine.geometry.rasterise import Rendering, rasterise
from dataengine.training.camera_columns import ORTHOGRAPHIC, c2w_of, intrinsics
from dataengine.training.contact_sheet import Colour
from dataengine.training.reconstruct.floaters import without_floaters
from dataengine.training.reconstruct.network import Reconstructor
from dataengine.training.reconstruct.view_choice import VIEWS, check_background, check_cameras

SOLID = 0.5  # opacity from which on a rendering is taken for the object


@dataclass(frozen=True)
class Scene:
    """What was reconstructed.

    Attributes:
        gaussians: (1, N, …).
        size: height and width of the views that it was made of.
    """

    gaussians: Gaussians
    size: tuple[int, int]

    @torch.no_grad()
    def render(self, cameras: Tensor) -> Rendering:
        """Colour over white (V, 3, H, W), alpha and planar depth (V, 1, H, W) at cameras (V, 30)."""
        device = self.gaussians.centres.device
        K, c2w = intrinsics(cameras, *self.size).to(device), c2w_of(cameras).to(device)
        colour, alpha, depth = (field[0] for field in rasterise(self.gaussians, K[None], c2w[None], self.size))
        return Rendering(colour.clamp(0, 1), alpha.clamp(0, 1), depth)

    def depth(self, cameras: Tensor) -> Tensor:
        """(V, H, W) planar, world units, 0 where there is no object."""
        seen = self.render(cameras)
        return torch.where(seen.alpha > SOLID, seen.depth, 0.0)[:, 0]


def check_views(background: Colour, cameras: Tensor) -> None:
    """Raises UsageError if views over that colour by cameras (V, 30) are not what the network takes."""
    check_background(background)
    check_cameras(c2w_of(cameras), cameras[:, ORTHOGRAPHIC] > 0.5)


@torch.no_grad()
def reconstruct_few(model: Reconstructor, images: Tensor, cameras: Tensor, *, drawn: bool = False) -> Scene:
    """From one to four views.

    Args:
        model: in eval mode.
        images: (V, 3, H, W) in [0, 1] over white.
        cameras: (V, 30), such that `check_views` passes.
        drawn: most of them were drawn, so what one shows is no reason to leave out what others do.
    """
    device = next(model.parameters()).device
    again = torch.arange(VIEWS) % len(images)
    size = (images.shape[-2], images.shape[-1])
    K = intrinsics(cameras, *size)[again].to(device)
    made = model(images[again][None].to(device), K[None], c2w_of(cameras)[again][None].to(device))
    return Scene(made.gaussians if drawn else without_floaters(made), size)
