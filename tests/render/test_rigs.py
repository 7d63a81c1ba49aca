import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataengine.errors import UsageError
from dataengine.render.chance import asset_seed
from dataengine.render.recipes import RECIPES, recipe
from dataengine.render.rigs import BOUND, LENS_35_ON_32, Rig, look_at_origin, rig

OURS = ["orbit8", "orbit16", "orbit24", "six_views", "ten_views", "sphere12", "hammersley-7", "hammersley-150"]
ALL = [rig(name) for name in OURS] + [r.rig for r in RECIPES.values()]
ids = [r.name for r in ALL]


def position(camera) -> np.ndarray:
    return np.array(camera.c2w)[:3, 3]


@pytest.mark.parametrize("one", ALL, ids=ids)
def test_cameras_are_rigid_and_say_where_they_stand(one: Rig) -> None:
    for camera in one.cameras(256, seed=5):
        c2w = np.array(camera.c2w)
        np.testing.assert_allclose(c2w[:3, :3].T @ c2w[:3, :3], np.eye(3), atol=1e-12)
        assert np.linalg.det(c2w[:3, :3]) == pytest.approx(1)
        np.testing.assert_array_equal(c2w[3], [0, 0, 0, 1])
        p = position(camera)
        np.testing.assert_allclose(c2w[:3, 2], -p / np.linalg.norm(p), atol=1e-12)  # looks at the origin
        a, e = math.radians(camera.azimuth), math.radians(camera.elevation)
        outward = [math.cos(e) * math.cos(a), math.cos(e) * math.sin(a), math.sin(e)]
        np.testing.assert_allclose(p / np.linalg.norm(p), outward, atol=1e-9)
        assert 0 <= camera.azimuth < 360
        assert 0 < camera.near < camera.far


@pytest.mark.parametrize("one", ALL, ids=ids)
def test_near_and_far_hold_the_bounding_sphere(one: Rig) -> None:
    for camera in one.cameras(64):
        distance = float(np.linalg.norm(position(camera)))
        bound = BOUND[one.normalisation]
        assert camera.near < distance - bound < distance + bound < camera.far


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("resolution", [64, 256])
def test_our_rigs_never_clip_the_bounding_sphere(name: str, resolution: int) -> None:
    sphere = np.random.default_rng(0).normal(size=(4000, 3))
    sphere *= 0.5 / np.linalg.norm(sphere, axis=1, keepdims=True)
    for camera in rig(name).cameras(resolution, seed=3):
        c2w, k = np.array(camera.c2w), np.array(camera.K)
        x, y, z = ((sphere - c2w[:3, 3]) @ c2w[:3, :3]).T
        assert z.min() > 0
        scale = 1 if camera.orthographic else z
        u, v = k[0, 0] * x / scale + k[0, 2], k[1, 1] * y / scale + k[1, 2]
        # a pixel and a half of air: the filter spreads an edge over so much
        assert min(u.min(), v.min()) > 1.5
        assert max(u.max(), v.max()) < resolution - 1.5


def test_orbit8() -> None:
    cameras = rig("orbit8").cameras(256)
    assert [c.azimuth for c in cameras] == [0, 45, 90, 135, 180, 225, 270, 315]
    assert {c.elevation for c in cameras} == {30}
    np.testing.assert_allclose(position(cameras[0])[1], 0, atol=1e-12)
    assert position(cameras[0])[0] > 0  # azimuth 0 is +x
    assert position(cameras[1])[1] > 0  # and it travels towards +y
    c2w = np.array(cameras[0].c2w)
    np.testing.assert_allclose(c2w[:3, 0], [0, 1, 0], atol=1e-12)  # image right, seen from +x, is +y
    assert c2w[2, 1] < 0  # image down is world down
    np.testing.assert_allclose(cameras[0].K, [[280, 0, 128], [0, 280, 128], [0, 0, 1]])


def test_the_count_of_views() -> None:
    counts = {name: len(rig(name).cameras(32)) for name in OURS}
    assert counts == dict(zip(OURS, [8, 16, 24, 6, 10, 12, 7, 150], strict=True))


def test_six_views_are_named_as_wonder3d_names_them() -> None:
    cameras = rig("six_views").cameras(256)
    assert [c.name for c in cameras] == ["front", "front_right", "right", "back", "left", "front_left"]
    assert all(c.orthographic and c.elevation == 0 for c in cameras)
    by_name = {c.name: position(c) for c in cameras}
    np.testing.assert_allclose(by_name["front"], [0, -2, 0], atol=1e-12)
    np.testing.assert_allclose(by_name["right"], [2, 0, 0], atol=1e-12)
    np.testing.assert_allclose(by_name["front_left"], np.array([-2, -2, 0]) / math.sqrt(2), atol=1e-12)


def test_ten_views_are_six_views_and_the_rest_of_the_circle_above_and_below() -> None:
    cameras = rig("ten_views").cameras(256)
    assert all(c.orthographic for c in cameras)
    assert [c.name for c in cameras[:6]] == [c.name for c in rig("six_views").cameras(256)]
    assert sorted(c.azimuth for c in cameras[:8]) == [0, 45, 90, 135, 180, 225, 270, 315]
    assert [(c.name, c.elevation) for c in cameras[8:]] == [("top", 90), ("bottom", -90)]
    for camera, down in zip(
        cameras[8:], (-1, 1), strict=True
    ):  # where a step down in the picture leads: y of the world
        np.testing.assert_allclose(np.array(camera.c2w)[:3, 1], [0, down, 0], atol=1e-12)


@pytest.mark.parametrize("name", ["sphere12", "hammersley-20"])
def test_random_rigs_follow_their_seed(name: str) -> None:
    one = rig(name)
    assert one.random
    assert one.cameras(64, seed=1) == one.cameras(64, seed=1)
    assert one.cameras(64, seed=1) != one.cameras(64, seed=2)


def test_the_draws_are_the_same_on_every_machine() -> None:
    assert asset_seed(0, "0" * 32) == 1866568677
    assert rig("sphere12").cameras(64, seed=7)[0].azimuth == pytest.approx(243.22635526835765, abs=1e-9)


@given(st.integers(0, 2**31 - 1), st.text(alphabet="0123456789abcdef", min_size=32, max_size=32))
def test_asset_seed_has_31_bits(seed: int, uid: str) -> None:
    assert 0 <= asset_seed(seed, uid) < 2**31


@given(st.floats(-720, 720), st.floats(-90, 90), st.floats(0.1, 10))
def test_look_at_origin_is_defined_everywhere(azimuth: float, elevation: float, distance: float) -> None:
    c2w = look_at_origin(azimuth, elevation, distance).c2w
    np.testing.assert_allclose(c2w[:3, :3].T @ c2w[:3, :3], np.eye(3), atol=1e-12)
    np.testing.assert_allclose(c2w[:3, 3], -distance * c2w[:3, 2], atol=1e-12)
    assert c2w[2, 0] == 0  # the horizon is level


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ("orbit9", "orbit8"),
        ("hammersley-0", "known"),
        ("hammersley", "hammersley-150"),
        ("", "known"),
        ("../x", "known"),
    ],
)
def test_unknown_rigs(wrong: str, expected: str) -> None:
    with pytest.raises(UsageError, match=expected) as e:
        rig(wrong)
    assert "\n" not in str(e.value)


def test_unknown_recipes() -> None:
    with pytest.raises(UsageError, match="did you mean zero123"):
        recipe("zero12")


def test_recipe_objaverse_stands_where_the_script_stands() -> None:
    r = recipe("objaverse")
    cameras = r.rig.cameras(r.resolution)
    assert (len(cameras), r.samples, r.resolution, r.look) == (12, 32, 512, "objaverse")
    for i, camera in enumerate(cameras):
        theta, phi = i / 12 * 2 * math.pi, math.radians(60)
        expected = 1.5 * np.array([math.sin(phi) * math.cos(theta), math.sin(phi) * math.sin(theta), math.cos(phi)])
        np.testing.assert_allclose(position(camera), expected, atol=1e-12)
        assert camera.K[0][0] == pytest.approx(512 * 35 / 32)
    assert r.rig.normalisation == "cube"


def test_published_ranges() -> None:
    for name in ("zero123", "objaverse-xl"):
        distances = [np.linalg.norm(position(c)) for s in range(20) for c in recipe(name).rig.cameras(64, s)]
        assert 1.5 <= min(distances) < 1.55 and 2.15 < max(distances) <= 2.2
    sync = recipe("syncdreamer").rig.cameras(256)
    assert len(sync) == 16 and sync[0].K[0][0] == pytest.approx(280)
    assert {round(float(np.linalg.norm(position(c))), 9) for c in sync} == {1.5}
    trellis = recipe("trellis").rig.cameras(512)
    assert len(trellis) == 150 and {round(float(np.linalg.norm(position(c))), 9) for c in trellis} == {2.0}
    elevations = np.array([c.elevation for c in trellis])
    assert elevations.min() < -70 and elevations.max() > 70
    videomv = recipe("videomv").rig
    assert videomv.fov == pytest.approx(39.6, abs=0.01) and len(videomv.cameras(256)) == 24
    assert pytest.approx(49.13, abs=0.005) == LENS_35_ON_32


@pytest.mark.parametrize(("name", "count", "samples"), [("trellis-cond", 24, 128), ("trellis2", 16, 32)])
def test_conditions_of_trellis(name: str, count: int, samples: int) -> None:
    """microsoft/TRELLIS render_cond.py: 24 views, fov 10..70 a view, radius (sqrt(3)/2)/sin(fov/2), 1024².

    TRELLIS.2's has 16 views and 32 samples.
    """
    published = recipe(name)
    assert (published.resolution, published.samples, published.rig.normalisation) == (1024, samples, "cube")
    fovs = []
    for seed in range(20):
        cameras = published.rig.cameras(1024, seed)
        assert len(cameras) == count
        for camera in cameras:
            half = math.atan(512 / camera.K[0][0])
            fovs.append(math.degrees(2 * half))
            theirs = math.sqrt(3) / 2 / math.sin(half)
            assert theirs < float(np.linalg.norm(position(camera))) < 1.06 * theirs  # 5 % of the frame is air
    assert 10 <= min(fovs) < 11 and 69 < max(fovs) <= 70 and len(set(fovs)) == len(fovs)


def test_wonder3d_turns_all_six_cameras_together() -> None:
    plain = [np.array(c.c2w) for c in rig("six_views").cameras(512)]
    for seed in range(10):
        cameras = recipe("wonder3d").rig.cameras(512, seed)
        turns = [np.array(c.c2w) @ np.linalg.inv(p) for c, p in zip(cameras, plain, strict=True)]
        for turn in turns[1:]:
            np.testing.assert_allclose(turn, turns[0], atol=1e-12)
        assert -15 <= np.degrees(np.arcsin(-turns[0][2, 1])) <= 30  # the turn about x lifts what stands on -y
        assert cameras[0].K[0][0] == pytest.approx(512 / 1.35)
