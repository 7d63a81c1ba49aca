import dataclasses

import numpy as np
import pytest

from dataengine.render.blender.protocol import Camera
from dataengine.render.checks import check_views, depth_agreement, neighbours
from dataengine.render.recipes import RECIPES
from dataengine.render.rigs import rig
from dataengine.render.views import Views
from tests.render.analytic import SCENE, box, depth_map, ellipsoid, rays

SIZE = 128
RIGS = {name: rig(name) for name in ("orbit8", "orbit16", "orbit24", "six_views", "sphere12", "hammersley-24")}
RIGS |= {r.name: r.rig for r in RECIPES.values() if r.name != "trellis"}


def rendered(cameras: list[Camera], scene: list = SCENE) -> np.ndarray:
    return np.stack([depth_map(c, SIZE, scene) for c in cameras])


@pytest.fixture(scope="module")
def depths() -> dict[str, tuple[list[Camera], np.ndarray]]:
    return {name: (cameras := r.cameras(SIZE, seed=4), rendered(cameras)) for name, r in RIGS.items()}


def refocused(camera: Camera, factor: float) -> Camera:
    (fx, s, cx), (_, fy, cy), last = camera.K
    return dataclasses.replace(camera, K=[[fx * factor, s, cx], [0, fy * factor, cy], last])


@pytest.mark.parametrize("name", RIGS)
def test_true_geometry_agrees(name: str, depths: dict) -> None:
    agreement = depth_agreement(*depths[name], 1.0)
    assert agreement.asset is not None and agreement.asset < 2e-3
    assert agreement.footprint is not None and agreement.footprint < 0.3
    assert max(e for e in agreement.views if e is not None) < 4e-3


@pytest.mark.parametrize("name", RIGS)
@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_wrong_focal_length_shows(name: str, factor: float, depths: dict) -> None:
    cameras, depth = depths[name]
    assert depth_agreement([refocused(c, factor) for c in cameras], depth, 1.0).asset > 6e-3


@pytest.mark.parametrize("name", RIGS)
def test_ray_length_taken_for_planar_depth_shows(name: str, depths: dict) -> None:
    cameras, depth = depths[name]
    if cameras[0].orthographic:
        pytest.skip("parallel rays: the two are the same")
    wrong = np.stack([d * np.linalg.norm(rays(c, SIZE, SIZE)[1], axis=-1) for c, d in zip(cameras, depth, strict=True)])
    assert depth_agreement(cameras, wrong.astype(np.float32), 1.0).asset > 4e-3  # right depth is below in every view


@pytest.mark.parametrize("name", RIGS)
def test_a_flipped_azimuth_shows(name: str, depths: dict) -> None:
    cameras, depth = depths[name]
    flip = np.diag([1.0, -1, 1, 1])
    mirrored = [
        dataclasses.replace(c, c2w=(flip @ np.array(c.c2w) @ np.diag([-1.0, 1, 1, 1])).tolist()) for c in cameras
    ]
    assert depth_agreement(mirrored, depth, 1.0).asset > 2e-2


def test_thin_things_agree() -> None:
    cameras = rig("orbit8").cameras(SIZE)
    plate = [box((0, 0, 0), (0.35, 0.002, 0.3))]
    wires = [box((0, 0.06 * i, 0), (0.3, 0.006, 0.006)) for i in range(-5, 6)]
    for scene in (plate, wires):
        agreement = depth_agreement(cameras, rendered(cameras, scene), 1.0)
        assert agreement.asset is None or agreement.asset < 5e-3


def test_transparent_noise_is_tolerated() -> None:
    cameras = rig("orbit8").cameras(SIZE)
    depth = rendered(cameras)
    depth[np.random.default_rng(0).random(depth.shape) < 0.05] = 0
    assert depth_agreement(cameras, depth, 1.0).asset < 2e-3


def test_what_cannot_be_measured_is_none() -> None:
    cameras = rig("orbit8").cameras(SIZE)
    nothing = depth_agreement(cameras, np.zeros((8, SIZE, SIZE), np.float32), 1.0)
    assert nothing.asset is None and nothing.footprint is None and nothing.views == [None] * 8
    one = rig("hammersley-1").cameras(SIZE)
    assert depth_agreement(one, rendered(one), 1.0).asset is None
    dot = [ellipsoid((0, 0, 0), (0.002, 0.002, 0.002))]
    assert depth_agreement(cameras, rendered(cameras, dot), 1.0).asset is None


def test_neighbours_are_near_but_not_the_same() -> None:
    pairs = list(neighbours(rig("orbit8").cameras(64)))
    assert len(pairs) == 16
    assert all((i - j) % 8 in (1, 7) for i, j in pairs)
    assert all((i - j) % 24 in (2, 22) for i, j in neighbours(rig("orbit24").cameras(64)))
    assert {i for i, _ in neighbours(rig("six_views").cameras(64))} == set(range(6))


def views_of(alpha: np.ndarray, colour: np.ndarray | None = None) -> Views:
    cameras = rig("hammersley-1").cameras(alpha.shape[-1])
    rgba = np.zeros((1, *alpha.shape, 4), np.uint8)
    rgba[0, ..., 3] = alpha
    rgba[0, ..., :3] = 188 if colour is None else colour
    return Views(cameras, rgba, np.where(alpha > 127, 1.5, 0).astype(np.float32)[None])


def test_coverage_and_clipping() -> None:
    alpha = np.zeros((10, 10))
    alpha[2:7, 0:4] = 255
    alpha[2:7, 4] = 127
    checks = check_views(views_of(alpha))
    assert checks.coverage == [pytest.approx(0.2)]
    assert checks.clipped == [5]
    assert checks.depth_coverage == [1.0]


def test_luminance_is_linear_and_of_the_object_only() -> None:
    alpha = np.zeros((10, 10))
    alpha[:5] = 255
    colour = np.zeros((10, 10, 3))
    colour[:5, :5], colour[5:] = 255, 99
    checks = check_views(views_of(alpha, colour))
    assert checks.luminance_mean == [pytest.approx(0.5)]
    assert checks.luminance_spread == [pytest.approx(0.5)]
    assert check_views(views_of(alpha)).luminance_mean == [pytest.approx(0.5029, abs=1e-3)]


def test_an_empty_view_is_measured_as_such() -> None:
    checks = check_views(views_of(np.zeros((10, 10))))
    assert (checks.coverage, checks.clipped, checks.luminance_mean, checks.depth_coverage) == ([0], [0], [0], [0])
    assert checks.view_depth_error == [None] and checks.depth_error is None
