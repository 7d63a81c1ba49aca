import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataengine.errors import DataengineError, UsageError
from dataengine.render.blender.protocol import Camera
from dataengine.render.cameras import export_cameras
from dataengine.render.rigs import look_at_origin, rig
from dataengine.render.views import ViewsHeader, cameras_json

FLIP = np.diag([1.0, -1, -1, 1])
WIDTH, HEIGHT = 96, 64


def content(cameras: list[Camera], width: int = WIDTH, height: int = HEIGHT) -> bytes:
    return cameras_json(cameras, width, height, ViewsHeader("r", "studio", "sphere", 2.0, [1.0, 2.0, 3.0]))


@st.composite
def any_cameras(draw: st.DrawFn) -> Camera:
    pose = look_at_origin(draw(st.floats(0, 360)), draw(st.floats(-90, 90)), draw(st.floats(0.5, 5)))
    roll, focal = draw(st.floats(-math.pi, math.pi)), draw(st.floats(20, 2000))
    c, s = math.cos(roll), math.sin(roll)
    c2w = pose.c2w @ np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    cx, cy = draw(st.floats(0, WIDTH)), draw(st.floats(0, HEIGHT))
    k = [[focal, 0.0, cx], [0.0, focal * draw(st.sampled_from([1.0, 0.5, 1.5])), cy], [0.0, 0.0, 1.0]]
    return Camera(c2w.tolist(), k, draw(st.booleans()), 0.5, 2.5)


@given(any_cameras())
def test_nerf_round_trip(camera: Camera) -> None:
    frame = export_cameras(content([camera]), "nerf")["frames"][0]
    np.testing.assert_allclose(np.array(frame["transform_matrix"]) @ FLIP, camera.c2w, atol=1e-12)
    assert [frame["fl_x"], frame["fl_y"], frame["cx"], frame["cy"]] == [
        camera.K[0][0],
        camera.K[1][1],
        camera.K[0][2],
        camera.K[1][2],
    ]
    assert ("ortho_scale" in frame) == camera.orthographic


@given(any_cameras())
def test_opencv_round_trip(camera: Camera) -> None:
    frame = export_cameras(content([camera]), "opencv")["frames"][0]
    np.testing.assert_allclose(np.linalg.inv(frame["w2c"]), camera.c2w, atol=1e-9)
    assert frame["K"] == camera.K and frame["orthographic"] == camera.orthographic


@given(any_cameras())
def test_blender_round_trip(camera: Camera) -> None:
    """K from Blender's settings by Blender's own rules, as BlenderProc and SyncDreamer write them down."""
    f = export_cameras(content([camera]), "blender")["frames"][0]
    np.testing.assert_allclose(np.array(f["matrix_world"]) @ FLIP, camera.c2w, atol=1e-12)
    assert f["sensor_fit"] == "HORIZONTAL" and min(f["pixel_aspect_x"], f["pixel_aspect_y"]) == 1
    width, height, aspect = f["resolution_x"], f["resolution_y"], f["pixel_aspect_y"] / f["pixel_aspect_x"]
    fx = width / f["ortho_scale"] if camera.orthographic else f["lens"] / f["sensor_width"] * width
    k = [
        [fx, 0, width / 2 - f["shift_x"] * width],
        [0, fx / aspect, height / 2 + f["shift_y"] * width / aspect],
        [0, 0, 1],
    ]
    np.testing.assert_allclose(k, camera.K, rtol=1e-9, atol=1e-9)


def test_nerf_head() -> None:
    cameras = rig("orbit8").cameras(256)
    out = export_cameras(content(cameras, 256, 256), "nerf")
    assert math.degrees(out["camera_angle_x"]) == pytest.approx(49.134, abs=1e-3)
    assert out["camera_model"] == "PINHOLE" and (out["w"], out["h"]) == (256, 256)
    assert [f["file_path"] for f in out["frames"]] == [f"{i:02d}.rgba.png" for i in range(8)]
    assert out["dataengine"] == {"scale": 2.0, "offset": [1.0, 2.0, 3.0]}
    # to instant-ngp these scale the cameras, and nerfstudio takes depth for millimetres
    assert not {"scale", "offset", "aabb"} & out.keys() and "depth_file_path" not in out["frames"][0]
    # NeRF's and Blender's camera looks along its own -z
    np.testing.assert_allclose(np.array(out["frames"][0]["transform_matrix"])[:3, 2] @ [1, 0, 0], math.cos(math.pi / 6))
    json.dumps(out)


def test_orthographic_says_so() -> None:
    cameras = rig("six_views").cameras(256)
    nerf = export_cameras(content(cameras, 256, 256), "nerf")
    assert nerf["camera_model"] == "ORTHOPHOTO" and "camera_angle_x" not in nerf
    blender = export_cameras(content(cameras, 256, 256), "blender")["frames"][0]
    assert blender["type"] == "ORTHO" and blender["ortho_scale"] == pytest.approx(1 / 0.95) and "lens" not in blender
    assert blender["name"] == "front"


def test_unknown_target_and_content() -> None:
    with pytest.raises(UsageError, match="nerf, blender, opencv"):
        export_cameras(content(rig("orbit8").cameras(8)), "colmap")
    with pytest.raises(DataengineError, match=r"not a cameras\.json"):
        export_cameras(b"x", "nerf")
