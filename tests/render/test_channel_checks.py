"""The channels' checks on depth that is known in closed form: what is true passes, what is wrong shows."""

from dataclasses import replace

import numpy as np
import pytest

from dataengine.geometry import arrays
from dataengine.render.blender.protocol import Camera
from dataengine.render.channel_checks import check_channels, depth_angles, depth_normals, id_disagreement
from dataengine.render.channels import Channels
from dataengine.render.rigs import rig
from dataengine.render.views import Views
from tests.render.analytic import depth_map, ellipsoid, rays

SIZE = 96
BALL = [ellipsoid((0.05, -0.03, 0.02), (0.4, 0.4, 0.4))]


def ball_normals(camera: Camera, depth: np.ndarray) -> np.ndarray:
    origin, direction = rays(camera, SIZE, SIZE)
    normal = (origin + direction * depth[..., None] - BALL[0][1]) / 0.4
    return np.where(depth[..., None] > 0, normal, 0).astype(np.float32)


@pytest.mark.parametrize("name", ["orbit8", "six_views"])
def test_the_normals_of_a_sphere(name: str) -> None:
    for camera in rig(name).cameras(SIZE)[:3]:
        depth = depth_map(camera, SIZE, BALL)
        normals = ball_normals(camera, depth)
        angles = depth_angles(camera, depth, normals)
        assert len(angles) > 500 and np.median(angles) < 0.3 and angles.max() < 5
        v, u = np.nonzero(np.hypot(*(np.mgrid[:SIZE, :SIZE] - SIZE / 2)) < 20)
        found, use = depth_normals(camera, depth, u, v)
        assert use.all()
        assert (np.einsum("ij,ij->i", found, arrays.normals_in_camera(normals[v, u], camera.c2w)) > 0.999).all()
        assert np.median(depth_angles(camera, depth, -normals)) > 175
        in_camera = arrays.normals_in_camera(normals, camera.c2w)
        assert np.median(depth_angles(camera, depth, in_camera)) > 20, "the wrong space shows"


@pytest.mark.parametrize("name", ["orbit8", "six_views"])
def test_the_normals_of_a_plane_are_exact(name: str) -> None:
    for camera in rig(name).cameras(SIZE)[:3]:
        normal = np.array([0.48, 0.36, 0.8]) @ np.array(camera.c2w)[:3, :3].T
        origin, direction = rays(camera, SIZE, SIZE)
        t = -(origin @ normal) / (direction @ normal)
        towards = normal if (direction @ normal).mean() < 0 else -normal
        depth = np.where((t > camera.near) & (t < camera.far), t, 0).astype(np.float32)
        angles = depth_angles(camera, depth, np.broadcast_to(towards, (SIZE, SIZE, 3)).astype(np.float32))
        assert len(angles) > 100 and angles.max() < 0.05


def test_a_view_that_numbers_otherwise_shows() -> None:
    cameras = rig("orbit8").cameras(SIZE)
    depth = np.stack([depth_map(c, SIZE, BALL) for c in cameras])
    points = [arrays.point_map(z, c.K, c.c2w, orthographic=False) for z, c in zip(depth, cameras, strict=True)]
    ids = np.stack([np.where(z > 0, np.where(p[..., 2] > 0, 1, 2), 0) for z, p in zip(depth, points, strict=True)])
    ids = ids.astype(np.uint16)
    assert id_disagreement(cameras, depth, ids) == 0
    swapped = ids.copy()
    swapped[3] = np.where(ids[3] > 0, 3 - ids[3], 0)
    share = id_disagreement(cameras, depth, swapped)
    assert share is not None and 0.2 < share < 0.3, "of eight pairs of views, two"
    assert id_disagreement(cameras, 0 * depth, ids) is None


def test_what_is_not_there_is_not_measured() -> None:
    cameras = rig("orbit8").cameras(SIZE)
    depth = np.stack([depth_map(c, SIZE, BALL) for c in cameras])
    checks = check_channels(Views(cameras, None, depth))
    assert set(vars(checks).values()) == {None}
    normals = np.stack([ball_normals(c, z) for c, z in zip(cameras, depth, strict=True)])
    checks = check_channels(Views(cameras, None, depth, Channels({"normal": normals}, normals)))
    assert checks.normal_depth_angle is not None and checks.normal_depth_angle < 0.3
    assert checks.shading_normal_angle == 0 and checks.ids_seen is None
    nothing = check_channels(Views(cameras, None, 0 * depth, Channels({"normal": 0 * normals}, 0 * normals)))
    assert replace(nothing) == replace(checks, normal_depth_angle=None, shading_normal_angle=None)
