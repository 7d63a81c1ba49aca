"""gsplat is called as it documents, and what it gives is read as what our own rasteriser draws.

There is no CUDA here: a stand-in has the signature of `gsplat.rasterization` (1.5) and does in a plain loop, Gaussian
after Gaussian over whole pictures, what its documentation says.
"""

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from dataengine.geometry import by_gsplat
from dataengine.geometry.gaussians import Gaussians, rotation_matrices
from dataengine.geometry.rasterise import BLUR, NEAR, rasterise


def rasterization(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    near_plane: float = 0.01,
    eps2d: float = 0.3,
    packed: bool = True,
    render_mode: str = "RGB",
    camera_model: str = "pinhole",
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """means (B, N, 3), viewmats (B, C, 4, 4) → (B, C, H, W, 4) premultiplied colour and depth, (B, C, H, W, 1), {}."""
    assert not packed and render_mode == "RGB+D" and means.shape[:-1] == opacities.shape == quats.shape[:-1]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    pictures = torch.zeros(*viewmats.shape[:2], height, width, 4)
    through = torch.ones(*viewmats.shape[:2], height, width)
    for b in range(len(means)):
        for c in range(viewmats.shape[1]):
            R, t, f = viewmats[b, c, :3, :3], viewmats[b, c, :3, 3], Ks[b, c]
            local = means[b] @ R.T + t
            for i in local[:, 2].argsort().tolist():
                px, py, pz = local[i]
                if pz < near_plane:
                    continue
                z = pz if camera_model == "pinhole" else torch.tensor(1.0)
                slope = 0.0 if camera_model == "ortho" else 1.0
                J = torch.tensor(
                    [[f[0, 0] / z, 0, -slope * f[0, 0] * px / z**2], [0, f[1, 1] / z, -slope * f[1, 1] * py / z**2]]
                )
                own = rotation_matrices(quats[b, i]) * scales[b, i]
                covariance = J @ R @ own @ own.T @ R.T @ J.T + eps2d * torch.eye(2)
                away = torch.stack([x - f[0, 0] * px / z - f[0, 2], y - f[1, 1] * py / z - f[1, 2]], -1)
                power = torch.einsum("hwi,ij,hwj->hw", away, covariance.inverse(), away)
                alpha = (opacities[b, i] * torch.exp(-power / 2)).clamp(max=0.999)
                alpha = torch.where(alpha < 1 / 255, 0.0, alpha)
                share = through[b, c] * alpha
                pictures[b, c] += share[..., None] * torch.cat([colors[b, i], pz[None]])
                through[b, c] *= 1 - alpha
    return pictures, (1 - through)[..., None], {}


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("gsplat")
    module.rasterization = rasterization  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gsplat", module)


@pytest.mark.parametrize("orthographic", [False, True])
def test_the_picture_is_ours(orthographic: bool) -> None:
    random = torch.Generator().manual_seed(3)
    centres = torch.rand(2, 12, 3, generator=random) - 0.5
    scales = torch.rand(2, 12, 3, generator=random) * 0.1 + 0.02
    rotations = torch.nn.functional.normalize(torch.randn(2, 12, 4, generator=random), dim=-1)
    opacities, colours = torch.rand(2, 12, generator=random) * 0.9, torch.rand(2, 12, 3, generator=random)
    scene = Gaussians(centres, scales, rotations, opacities, colours)
    turn = rotation_matrices(
        torch.nn.functional.normalize(torch.tensor([[1.0, 0, 0, 0], [0.9, 0.1, -0.3, 0.2]]), dim=-1)
    )
    c2w = torch.eye(4).repeat(2, 2, 1, 1)
    c2w[..., :3, :3] = turn
    c2w[..., :3, 3] = turn @ torch.tensor([0.0, 0.0, -2.5])
    focal = 30.0 if orthographic else 60.0
    K = torch.tensor([[focal, 0, 15.0], [0, focal, 17.0], [0, 0, 1]]).expand(2, 2, 3, 3)
    size = (34, 30)

    theirs = by_gsplat.blend(scene, K, c2w, size, near=NEAR, blur=BLUR, orthographic=orthographic)
    ours = rasterise(scene, K, c2w, size, background=0.0, orthographic=orthographic)
    assert theirs[0].shape == (2, 2, 3, *size) and theirs[1].shape == theirs[2].shape == (2, 2, 1, *size)
    assert float(ours.alpha.max()) > 0.5
    torch.testing.assert_close(theirs[0], ours.colour, atol=2e-4, rtol=0)
    torch.testing.assert_close(theirs[1], ours.alpha, atol=2e-4, rtol=0)
    torch.testing.assert_close(theirs[2], ours.depth * ours.alpha, atol=2e-3, rtol=0)
