"""cameras.json in the words of other tools: NeRF's transforms.json, Blender's own, OpenCV's.

All three are exact changes of notation; nothing is resampled or rounded.
"""

import json
import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from dataengine.errors import UsageError
from dataengine.render.blender.protocol import Camera
from dataengine.render.views import parse_cameras, view_stem

Target = Literal["nerf", "blender", "opencv"]

# OpenCV's camera looks along +z with y down, OpenGL's, NeRF's and Blender's along -z with y up.
_FLIP_YZ = np.diag([1.0, -1.0, -1.0, 1.0])

SENSOR_WIDTH = 32.0  # mm; only its ratio to the focal length means anything


def export_cameras(cameras_json: bytes, to: str) -> dict[str, Any]:
    """One asset's cameras for another tool.

    Args:
        cameras_json: the content of the asset's `cameras.json`.
        to: 'nerf' – a transforms.json as nerfstudio and instant-ngp read it: camera-to-world with OpenGL axes, focal
            lengths in pixels, per frame, `camera_angle_x` where all frames share it. Orthographic views are of
            nerfstudio's model ORTHOPHOTO, whose `fl_x` is pixels per world unit, and carry `ortho_scale`. What is
            ours stands under `dataengine`: top-level `scale`, `offset` and `aabb` scale the cameras in instant-ngp,
            and nerfstudio takes depth files for millimetres, which ours are not.
            'blender' – `matrix_world`, lens and sensor in mm, shifts, `ortho_scale`, resolution, to be assigned as they
            are.
            'opencv' – `w2c` 4×4, `K` 3×3, `dist` (five zeros). Orthographic: u = K[0][0] * x + K[0][2].

    Returns:
        What `json.dump` writes. Each frame names its `file_path` and, but for 'nerf', its `depth_file_path` (planar
        z, 16 bits, with the view's near and far).

    Raises:
        UsageError: if there is no such target.
        DataengineError: if the content is no cameras.json.
    """
    if to not in _EXPORTERS:
        raise UsageError(f"cameras cannot be exported to {to!r} (known: {', '.join(get_args(Target))})")
    cameras = parse_cameras(cameras_json)
    head = json.loads(cameras_json)
    frames = []
    for i, camera in enumerate(cameras):
        stem = view_stem(i, len(cameras))
        files = {"file_path": f"{stem}.rgba.png"}
        if to != "nerf":
            files["depth_file_path"] = f"{stem}.depth.png"
        depth = {"name": camera.name, "near": camera.near, "far": camera.far}
        frames.append({**files, **depth, **_EXPORTERS[to](camera, head["width"], head["height"])})
    result: dict[str, Any] = {"w": head["width"], "h": head["height"]}
    normalisation = {key: head["normalisation"][key] for key in ("scale", "offset")}
    if to == "nerf":
        return {**result, **_nerf_head(cameras, head["width"]), "dataengine": normalisation, "frames": frames}
    return {**result, **normalisation, "frames": frames}


def _nerf_head(cameras: list[Camera], width: int) -> dict[str, Any]:
    orthographic = {camera.orthographic for camera in cameras} == {True}
    head: dict[str, Any] = {"camera_model": "ORTHOPHOTO" if orthographic else "PINHOLE"}
    focal = {camera.K[0][0] for camera in cameras}
    if not orthographic and len(focal) == 1:
        head["camera_angle_x"] = 2 * math.atan(width / 2 / focal.pop())
    return head


def _matrix(rows: npt.NDArray[np.float64]) -> list[list[float]]:
    # Adding zero turns -0.0, which the flip leaves behind, into 0.0.
    return [[float(x) + 0.0 for x in row] for row in rows]


def _nerf(camera: Camera, width: int, height: int) -> dict[str, Any]:
    (fx, _, cx), (_, fy, cy), _ = camera.K
    frame: dict[str, Any] = {"fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy, "w": width, "h": height}
    if camera.orthographic:
        frame["ortho_scale"] = width / fx
    return {**frame, "transform_matrix": _matrix(np.array(camera.c2w) @ _FLIP_YZ)}


def _blender(camera: Camera, width: int, height: int) -> dict[str, Any]:
    """Sensor fit is horizontal: lens, shifts and ortho_scale then refer to the frame's width, whatever its height."""
    (fx, _, cx), (_, fy, cy), _ = camera.K
    frame: dict[str, Any] = {
        "type": "ORTHO" if camera.orthographic else "PERSP",
        "sensor_fit": "HORIZONTAL",
        "sensor_width": SENSOR_WIDTH,
        "shift_x": (width / 2 - cx) / width,
        # Blender divides by the width in both directions, after the pixel's aspect
        "shift_y": (cy - height / 2) / width * (fx / fy),
        "resolution_x": width,
        "resolution_y": height,
        # non-square pixels: Blender squeezes the image by the ratio of the two
        "pixel_aspect_x": max(1.0, fy / fx),
        "pixel_aspect_y": max(1.0, fx / fy),
        "matrix_world": _matrix(np.array(camera.c2w) @ _FLIP_YZ),
    }
    if camera.orthographic:
        frame["ortho_scale"] = width / fx
    else:
        frame["lens"] = fx / width * SENSOR_WIDTH
    return frame


def _opencv(camera: Camera, width: int, height: int) -> dict[str, Any]:
    rotation, position = np.array(camera.c2w)[:3, :3], np.array(camera.c2w)[:3, 3]
    w2c = np.eye(4)
    w2c[:3, :3] = rotation.T
    w2c[:3, 3] = -rotation.T @ position
    return {
        "w2c": _matrix(w2c),
        "K": camera.K,
        "dist": [0.0] * 5,
        "orthographic": camera.orthographic,
        "width": width,
        "height": height,
    }


_EXPORTERS: dict[str, Callable[[Camera, int, int], dict[str, Any]]] = {
    "nerf": _nerf,
    "blender": _blender,
    "opencv": _opencv,
}
