"""An asset as a recording for the rerun viewer: cameras, their pictures, and depth as coloured points.

    world                 z up, right-handed, units of the normalised object
    world/views/NN        a camera, at `view` = NN of the timeline: its pose and, where it is perspective, its pinhole
    world/views/NN/colour the picture, as it is stored
    world/points/NN       the surfaces that the view's depth shows, one point per pixel, a pixel wide
    facts                 what `inspect` prints

rerun's own conventions (archetypes Pinhole and ViewCoordinates of its SDK): camera axes RDF, which are ours, x right, y
down, z forward; a picture spans (0, 0) to (width, height), so that pixel centres lie at halves as in cameras.json. It
has no orthographic cameras: of these the outline of the picture is drawn, at the nearest depth.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from dataengine.geometry.arrays import footprint, point_map
from dataengine.render.blender.protocol import Camera
from dataengine.render.views import load_views, view_stem
from dataengine.report.asset import Asset
from dataengine.report.sheet import facts
from dataengine.visible import visible

PLANE = 0.3  # how far from a camera its picture is drawn; the object is about one unit wide


def recording_of(asset: Asset) -> bytes:
    """The content of a .rrd file; needs the extra `rerun`.

    Raises:
        DataengineError: if the asset has no views, or they cannot be read.
    """
    import rerun as rr
    import rerun.blueprint as rrb

    members = asset.contents() or {"": asset.read("cameras.json")}
    views = load_views(members)
    recording = rr.RecordingStream("dataengine", recording_id=asset.uid)
    memory = recording.memory_recording()
    panels = rrb.Horizontal(
        rrb.Spatial3DView(origin="/world", name="Views"),
        rrb.TextDocumentView(origin="/facts", name="Facts"),
        column_shares=[3, 1],
    )
    recording.send_blueprint(rrb.Blueprint(panels, collapse_panels=True))
    recording.send_recording_name(visible(asset.title))
    lines = "\n".join(f"{label}: {value}" for label, value in facts(asset))  # rerun's letters differ in width
    recording.log("facts", rr.TextDocument(visible(lines)), static=True)
    recording.log("world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    for number, (camera, depth) in enumerate(zip(views.cameras, views.depth, strict=True)):
        stem = view_stem(number, len(views.cameras))
        recording.set_time("view", sequence=number)
        _log_camera(recording, f"world/views/{stem}", camera, depth.shape)
        if views.rgba is not None and not camera.orthographic:
            picture = rr.EncodedImage(contents=members[f"{stem}.rgba.png"], media_type="image/png")
            recording.log(f"world/views/{stem}/colour", picture)
        colours = None if views.rgba is None else views.rgba[number][depth > 0, :3]
        points = point_map(depth, camera.K, camera.c2w, orthographic=camera.orthographic)[depth > 0]
        radii = footprint(camera.K, depth[depth > 0], orthographic=camera.orthographic) / 2
        recording.log(f"world/points/{stem}", rr.Points3D(points, colors=colours, radii=radii))
    content: bytes = memory.drain_as_bytes()
    return content


def _log_camera(recording: Any, place: str, camera: Camera, shape: tuple[int, ...]) -> None:
    import rerun as rr

    height, width = shape
    pose = np.array(camera.c2w)
    recording.log(place, rr.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]))
    if camera.orthographic:
        recording.log(f"{place}/outline", rr.LineStrips3D([_outline(camera, width, height)]))
        return
    pinhole = rr.Pinhole(
        image_from_camera=camera.K,
        resolution=[width, height],
        camera_xyz=rr.ViewCoordinates.RDF,
        image_plane_distance=PLANE,
    )
    recording.log(place, pinhole)


def _outline(camera: Camera, width: int, height: int) -> npt.NDArray[np.float64]:
    """(5, 3) the corners of an orthographic view's picture at its near depth, in the camera's axes, once around."""
    (fx, _, cx), (_, fy, cy), _ = camera.K
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height), (0, 0)], float)
    x, y = (corners[:, 0] - cx) / fx, (corners[:, 1] - cy) / fy
    return np.stack([x, y, np.full(len(x), camera.near)], 1)
