"""Gaussians drawn by gsplat's CUDA kernels, where it is installed (extra `gsplat`): what rasterise.py says, faster.

gsplat (nerfstudio-project/gsplat 1.5, `gsplat.rasterization`) holds alpha at 0.999 where we hold it at 0.99.
"""

from functools import cache
from importlib.util import find_spec

from torch import Tensor

from dataengine.geometry.gaussians import Gaussians
from dataengine.geometry.tensors import inverse_pose


@cache
def is_installed() -> bool:
    return find_spec("gsplat") is not None


def blend(
    gaussians: Gaussians,
    K: Tensor,
    c2w: Tensor,
    size: tuple[int, int],
    *,
    near: float,
    blur: float,
    orthographic: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Draws each scene from its cameras.

    Args:
        gaussians: (B, N, …) of B scenes, on a CUDA device.
        K, c2w: (B, V, 3, 3) without skew and (B, V, 4, 4), OpenCV axes, the first pixel's centre at (0.5, 0.5).
        size: height and width in pixels.
        near: world units; what is nearer is not drawn.
        blur: square pixels that each Gaussian is widened by.
        orthographic: whether the cameras' rays are parallel.

    Returns:
        (B, V, 3, H, W) colour times alpha, (B, V, 1, H, W) alpha, and planar depth times alpha.
    """
    from gsplat import rasterization

    height, width = size
    drawn, alpha, _ = rasterization(
        gaussians.centres,
        gaussians.rotations,
        gaussians.scales,
        gaussians.opacities,
        gaussians.colours,
        inverse_pose(c2w),
        K.contiguous(),
        width,
        height,
        near_plane=near,
        eps2d=blur,
        packed=False,
        render_mode="RGB+D",
        camera_model="ortho" if orthographic else "pinhole",
    )
    planes = drawn.movedim(-1, -3)
    return planes[..., :3, :, :], alpha.movedim(-1, -3), planes[..., 3:, :, :]
