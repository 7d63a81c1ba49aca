"""A ball whose views are worked out, as batches of views."""

import torch
from torch import Tensor

from dataengine.training.camera_columns import c2w_of, k_of
from dataengine.training.reconstruct.loss import Truth
from tests.training.synthetic import orbit_cameras
from tests.training.test_warp import ball


def ball_views(views: int = 8, side: int = 32, radius: float = 0.4) -> Truth:
    """One object (B = 1): a ball at the origin whose colour says where in the world it is."""
    cameras = torch.from_numpy(orbit_cameras(views, side))
    colour, depth = ball(cameras, side, radius)
    alpha = (depth > 0).float()
    return Truth(*(t[None] for t in (colour, alpha[:, None], depth[:, None], k_of(cameras), c2w_of(cameras))))


def about_z(degrees: float) -> Tensor:
    """(4, 4) turn counter-clockwise from above."""
    angle = torch.tensor(degrees).deg2rad()
    turn = torch.eye(4)
    turn[0, 0], turn[0, 1], turn[1, 0], turn[1, 1] = angle.cos(), -angle.sin(), angle.sin(), angle.cos()
    return turn
