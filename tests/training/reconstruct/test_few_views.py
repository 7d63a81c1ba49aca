"""A ball from two views of it, by the weights that ship: nothing but the two says what lies between."""

import pytest
import torch

from dataengine.errors import UsageError
from dataengine.tokenize.metrics import psnr
from dataengine.training.camera_columns import ORTHOGRAPHIC
from dataengine.training.reconstruct.few_views import check_views, reconstruct_few
from dataengine.training.reconstruct.weights import load_reconstructor
from tests.training.synthetic import orbit_cameras
from tests.training.test_warp import ball

SIDE = 64
WHITE = (255, 255, 255)


def test_a_view_between_two_is_reconstructed_from_them() -> None:
    cameras = torch.from_numpy(orbit_cameras(12, SIDE))[:3]  # 0, 30 and 60 degrees
    places, depth = ball(cameras, SIDE)
    cubes = (places * 4).floor().sum(1, keepdim=True) % 2  # a ball cut out of a chequered block
    images = torch.where(depth[:, None] > 0, 0.2 + 0.6 * cubes, 1.0).expand(-1, 3, -1, -1)
    scene = reconstruct_few(load_reconstructor(), images[[0, 2]], cameras[[0, 2]])
    seen = scene.render(cameras)
    fade = (images[0] + images[2]) / 2
    assert float(psnr(seen.colour[1:2], images[1:2])) > float(psnr(fade[None], images[1:2])) + 2
    found = scene.depth(cameras)
    both = (found[1] > 0) & (depth[1] > 0)
    assert float(both.sum() / (depth[1] > 0).sum()) > 0.9
    assert float((found[1] - depth[1])[both].abs().median()) < 0.05
    every = reconstruct_few(load_reconstructor(), images[[0, 2]], cameras[[0, 2]], drawn=True).gaussians.opacities
    kept = scene.gaussians.opacities
    assert torch.equal(kept[kept > 0], every[kept > 0])  # what floats is left out, unless views were drawn
    assert int((every > 0).sum()) > int((kept > 0).sum()) > 0.5 * int((every > 0.5).sum())


def test_views_that_cannot_be_reconstructed_from_are_said() -> None:
    cameras = torch.from_numpy(orbit_cameras(4, SIDE))
    check_views(WHITE, cameras)
    with pytest.raises(UsageError, match=r"takes views over white, the run's are over \(0, 0, 0\)"):
        check_views((0, 0, 0), cameras)
    cameras[2, ORTHOGRAPHIC] = 1
    with pytest.raises(UsageError, match="view 2 is orthographic"):
        check_views(WHITE, cameras)
