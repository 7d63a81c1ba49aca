"""The folders of MV-Adapter and Step1X-3D: WebP pictures, depth as OpenEXR, meta.json.

Read in huanngzh/MV-Adapter, mvadapter/data/multiview.py: `<uid[:2]>/<uid>/render_NNNN.webp`, normals of the world as
RGBA (n / 2 + 0.5), planar depth with 65535 for none in the first of three equal channels, OpenGL camera axes.
Its position maps take a pixel's corner for its centre: they lie half a pixel beside ours.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from dataengine.errors import UsageError
from dataengine.export.asset import ExportAsset, plain
from dataengine.export.encode import normal_picture, webp, write_exr
from dataengine.export.records import Exported

NOTHING = 65535.0


def write(asset: ExportAsset, folder: Path, pictures: bool) -> None:
    """`render_NNNN.webp`, `normal_NNNN.webp` (where the views have normals), `depth_NNNN.exr` and meta.json."""
    kinds = {camera.orthographic for camera in asset.cameras}
    if len(kinds) > 1:
        raise UsageError(f"the {asset.layout} layout has one projection for all views; {asset.uid} has both kinds")
    locations = []
    for i, camera in enumerate(asset.cameras):
        name = f"{i:04d}"
        location: dict[str, Any] = {"index": name, "transform_matrix": plain(asset.c2w(i, "opengl"))}
        if camera.orthographic:
            location["ortho_scale"] = asset.size[0] / camera.K[0][0]
        else:
            location["camera_angle_x"] = asset.angle_x(i)
        locations.append(location)
        if pictures:
            _pictures(asset, i, folder, name)
    shared = {
        key: locations[0][key]
        for key in ("camera_angle_x", "ortho_scale")
        if len({location.get(key) for location in locations}) == 1 and key in locations[0]
    }
    (folder / "meta.json").write_text(json.dumps({**shared, "locations": locations}, indent=1))


def _pictures(asset: ExportAsset, view: int, folder: Path, name: str) -> None:
    rgba = asset.decoded(view, "rgba")
    (folder / f"render_{name}.webp").write_bytes(webp(rgba))
    depth = asset.decoded(view, "depth")
    plane = np.where(depth > 0, depth, np.float32(NOTHING))
    write_exr(folder / f"depth_{name}.exr", R=plane, G=plane, B=plane)
    if asset.has("normal"):
        (folder / f"normal_{name}.webp").write_bytes(webp(normal_picture(asset.decoded(view, "normal"), rgba)))


def index(root: Path, exported: list[Exported]) -> None:
    """scenes.json (its `scene_list`) and prompts.json (its `prompt_db_path`)."""
    (root / "scenes.json").write_text(json.dumps([record.folder for record in exported], indent=1))
    prompts = {record.uid: record.caption for record in exported if record.caption}
    (root / "prompts.json").write_text(json.dumps(prompts, indent=1, ensure_ascii=False))
