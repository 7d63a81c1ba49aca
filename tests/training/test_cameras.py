"""What the model is told of cameras, against arithmetic that was written apart."""

import math

import numpy as np
import torch

from dataengine.training.camera_columns import ORTHOGRAPHIC, c2w_of, k_of
from dataengine.training.model.cameras import patch_rays, relative_poses

from .synthetic import orbit_cameras


def world_rays(camera: torch.Tensor, grid: tuple[int, int], frame: torch.Tensor) -> np.ndarray:  # type: ignore[type-arg]
    """(L, 2, 3) two points of each patch's ray, in the frame of another camera: by unprojection, in float64."""
    k, c2w = k_of(camera).double().numpy(), c2w_of(camera).double().numpy()
    rows, columns = grid
    out = []
    for r in range(rows):
        for c in range(columns):
            pixel = np.array([(c + 0.5) * float(camera[28]) / columns, (r + 0.5) * float(camera[29]) / rows, 1.0])
            u, v, _ = np.linalg.solve(k, pixel)
            ends = [(u, v, 0.0), (u, v, 3.0)] if camera[ORTHOGRAPHIC] else [(u, v, 1.0), (3 * u, 3 * v, 3.0)]
            out.append([np.linalg.solve(frame.double().numpy(), c2w @ np.array([*p, 1.0]))[:3] for p in ends])
    return np.array(out)


def test_plucker_rays_go_through_their_patches_in_perspective_and_orthographic_views() -> None:
    cameras = torch.from_numpy(orbit_cameras(6, size=48))[None, [4, 1, 5, 2]]
    cameras[0, 2, ORTHOGRAPHIC] = 1
    cameras[0, 3, 1], cameras[0, 3, 2] = 3.0, 20.0  # skew, and a principal point off the centre
    rays = patch_rays(cameras, (3, 4))
    assert rays.shape == (1, 4, 12, 6)
    for v in range(4):
        ends = torch.from_numpy(world_rays(cameras[0, v], (3, 4), c2w_of(cameras[0, 0])))
        direction, moment = rays[0, v].double().split(3, -1)
        assert torch.allclose(direction.norm(dim=-1), torch.ones(12, dtype=torch.float64), atol=1e-6)
        for end in ends.unbind(1):
            assert torch.allclose(torch.linalg.cross(end, direction), moment, atol=1e-5), v
        assert ((ends[:, 1] - ends[:, 0]) * direction).sum(-1).min() > 0


def test_rays_do_not_depend_on_where_the_rig_stands() -> None:
    cameras = torch.from_numpy(orbit_cameras(8))
    turned = torch.stack([cameras.roll(-3, 0), cameras])
    assert torch.allclose(*patch_rays(turned[:, :4], (2, 2)), atol=1e-5)  # type: ignore[call-arg]
    assert torch.allclose(relative_poses(turned)[:, 0], torch.eye(4), atol=1e-6)
    quarter = relative_poses(turned)[1, 2]
    assert torch.allclose(quarter[:3, :3].trace(), torch.tensor(1 + 2 * math.cos(math.pi / 2)), atol=1e-5)


def test_the_resolution_that_k_names_does_not_matter() -> None:
    small, large = (torch.from_numpy(orbit_cameras(4, size=s))[None] for s in (32, 128))
    assert torch.allclose(patch_rays(small, (4, 4)), patch_rays(large, (4, 4)), atol=1e-5)
