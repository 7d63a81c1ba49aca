import io
import json
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from dataengine.errors import DataengineError
from dataengine.render.blender.protocol import Camera
from dataengine.render.rigs import rig
from dataengine.render.views import (
    Views,
    ViewsHeader,
    cameras_json,
    decode_depth,
    encode_depth,
    load_views,
    parse_cameras,
    read_exr,
    to_members,
    to_srgb,
    view_stem,
)

SETTING = ViewsHeader("orbit8", "studio", "sphere", 0.25, [0.1, -0.2, 0.3])


def write_exr(path: Path, planes: dict[str, np.ndarray]) -> Path:
    header = {"compression": OpenEXR.NO_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {k: np.ascontiguousarray(v, np.float32) for k, v in planes.items()}).write(str(path))
    return path


def passes(view: str, rgba: np.ndarray, z: np.ndarray) -> dict[str, np.ndarray]:
    colour = {f"ViewLayer.Combined.{view}.{c}": rgba[..., i] for i, c in enumerate("RGBA")}
    return {**colour, f"ViewLayer.Depth.{view}.Z": z}


def random_views(count: int = 8, size: int = 24) -> Views:
    random = np.random.default_rng(1)
    rgba = random.integers(0, 256, (count, size, size, 4), np.uint8)
    rgba[rgba[..., 3] == 0] = 0
    cameras = rig(f"hammersley-{count}").cameras(size)
    near, far = (np.array([getattr(c, k) for c in cameras])[:, None, None] for k in ("near", "far"))
    depth = (near + (far - near) * random.random((count, size, size))).astype(np.float32)
    depth[random.random(depth.shape) < 0.3] = 0
    return Views(cameras, rgba, depth)


def test_reads_views_in_the_rigs_order_over_several_files(tmp_path: Path) -> None:
    cameras = rig("orbit16").cameras(4)
    for first in (0, 12):
        planes = {}
        for i in range(first, min(first + 12, 16)):
            rgba = np.full((4, 4, 4), 1.0)
            planes |= passes(f"v{i}", rgba, np.full((4, 4), cameras[i].near + 0.01 * (i + 1)))
        planes |= {f"ViewLayer.Noisy Image.v{first}.R": np.zeros((4, 4))}
        write_exr(tmp_path / f"{first}.exr", planes)
    views = read_exr([tmp_path / "0.exr", tmp_path / "12.exr"], cameras)
    offsets = [float(d[0, 0]) - c.near for d, c in zip(views.depth, cameras, strict=True)]
    np.testing.assert_allclose(offsets, [0.01 * (i + 1) for i in range(16)], atol=1e-6)


def test_wrong_number_of_views_is_refused(tmp_path: Path) -> None:
    path = write_exr(tmp_path / "a.exr", passes("v0", np.ones((4, 4, 4)), np.ones((4, 4))))
    with pytest.raises(DataengineError, match="1 views of 8"):
        read_exr([path], rig("orbit8").cameras(4))
    with pytest.raises(DataengineError, match="more views than the rig's 1"):
        read_exr([path, path], rig("hammersley-1").cameras(4))


def test_colour_is_straight_srgb() -> None:
    linear = np.array([[0.0, 0.0031308, 0.18, 0.5, 1.0, 7.0, np.nan, -1.0]], np.float32)
    full, half = np.ones_like(linear), np.full_like(linear, 0.5)
    expected = [0, 10, 118, 188, 255, 255, 0, 0]
    np.testing.assert_array_equal(to_srgb(linear, linear, linear, full)[0, :, 0], expected)
    straight = to_srgb(linear / 2, linear / 2, linear / 2, half)
    np.testing.assert_array_equal(straight[0, :, 2], expected)
    assert (straight[..., 3] == 128).all()
    assert (to_srgb(full, full, full, np.zeros_like(full)) == 0).all()


@given(hnp.arrays(np.float32, (5, 3), elements=st.floats(0, 1, width=32)))
def test_colour_is_within_rounding_of_the_formula(linear: np.ndarray) -> None:
    x = linear.astype(float)
    exact = 255 * np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)
    got = to_srgb(linear, linear, linear, np.ones_like(linear))[..., 0]
    assert np.abs(got - exact).max() <= 0.53


def test_depth_needs_a_surface_and_alpha(tmp_path: Path) -> None:
    cameras = rig("hammersley-1").cameras(4)
    near, far = cameras[0].near, cameras[0].far
    z = np.array([[near, far, 1e10, (near + far) / 2], [near - 0.1, far + 0.1, np.nan, 0], [1.5] * 4, [1.5] * 4])
    rgba = np.ones((4, 4, 4))
    rgba[2] = 0.499
    depth = read_exr([write_exr(tmp_path / "a.exr", passes("v0", rgba, z))], cameras).depth[0]
    np.testing.assert_array_equal(depth > 0, [[1, 1, 0, 1], [0] * 4, [0] * 4, [1] * 4])


@given(
    hnp.arrays(np.float64, (4, 5), elements=st.floats(0, 1)),
    hnp.arrays(np.bool_, (4, 5)),
    st.floats(0.01, 100),
    st.floats(0.01, 100),
)
def test_depth_round_trip(t: np.ndarray, known: np.ndarray, near: float, span: float) -> None:
    far = near + span
    depth = np.where(known, near + t * span, 0).astype(np.float32)
    back = decode_depth(encode_depth(depth, near, far), near, far)
    np.testing.assert_array_equal(back > 0, depth > 0)
    assert np.abs(back - depth).max() <= 0.5 * span / 65534 + 3e-7 * far


def test_depth_png_is_what_the_convention_says() -> None:
    png = encode_depth(np.array([[0, 1.0, 2.0, 1.5]], np.float32), 1.0, 2.0)
    image = Image.open(io.BytesIO(png))
    assert image.mode.startswith("I;16")
    np.testing.assert_array_equal(np.asarray(image), [[0, 1, 65535, 32768]])


def test_members_come_back() -> None:
    views = random_views()
    members = to_members(views, SETTING)
    assert sorted(members)[:2] == ["00.depth.png", "00.rgba.png"] and "cameras.json" in members
    assert members == to_members(views, SETTING)
    back = load_views(members)
    assert back.cameras == views.cameras
    np.testing.assert_array_equal(back.rgba, views.rgba)
    step = max(c.far - c.near for c in views.cameras) / 65534
    np.testing.assert_array_equal(back.depth > 0, views.depth > 0)
    assert np.abs(back.depth - views.depth).max() < 0.51 * step + 1e-6


def test_many_views_sort_as_they_count() -> None:
    assert [view_stem(i, 150) for i in (0, 99, 149)] == ["000", "099", "149"]
    assert view_stem(99, 100) == "99"
    assert len(load_views(to_members(random_views(101, 4), SETTING)).cameras) == 101


def test_cameras_json_explains_itself() -> None:
    content = json.loads(cameras_json(rig("six_views").cameras(128), 128, 128, SETTING))
    assert content["normalisation"] == {"mode": "sphere", "scale": 0.25, "offset": [0.1, -0.2, 0.3]}
    assert (content["rig"], content["look"], content["width"], content["height"]) == ("orbit8", "studio", 128, 128)
    assert content["alpha_threshold"] == 0.5
    assert set(content["conventions"]) >= {"world", "c2w", "K", "depth", "colour", "azimuth"}
    view = content["views"][0]
    assert view["name"] == "front" and view["orthographic"] and view["ortho_scale"] == pytest.approx(1 / 0.95)
    assert {"c2w", "K", "near", "far", "azimuth", "elevation", "width", "height"} <= set(view)


finite = st.floats(-1e6, 1e6)


@given(
    st.lists(
        st.builds(
            Camera,
            c2w=st.lists(st.lists(finite, min_size=4, max_size=4), min_size=4, max_size=4),
            K=st.lists(st.lists(st.floats(0.1, 1e5), min_size=3, max_size=3), min_size=3, max_size=3),
            orthographic=st.booleans(),
            near=finite,
            far=finite,
            name=st.text(),
            azimuth=finite,
            elevation=finite,
        ),
        min_size=1,
        max_size=3,
    )
)
def test_cameras_round_trip_exactly(cameras: list[Camera]) -> None:
    assert parse_cameras(cameras_json(cameras, 64, 48, SETTING)) == cameras


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"format": "other/2"}', b"\xff\xfe"])
def test_other_files_are_refused_in_one_line(content: bytes) -> None:
    with pytest.raises(DataengineError, match=r"cameras\.json") as e:
        parse_cameras(content)
    assert "\n" not in str(e.value)


def test_a_missing_member_is_named() -> None:
    members = to_members(random_views(2, 4), SETTING)
    del members["01.depth.png"]
    with pytest.raises(DataengineError, match=r"01\.depth\.png"):
        load_views(members)
