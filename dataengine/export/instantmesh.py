"""The folders of InstantMesh: `rendering_random_32views/<uid>/`, valid_paths.json.

Read in TencentARC/InstantMesh, src/data/objaverse.py: `NNN.png`, `NNN_normal.png` (world, RGBA), `NNN_depth.png` (8
bits over four units), cameras.npz with `cam_poses` (V, 3, 4), world to camera with OpenGL axes. Its field of view is
a setting (50° by default) and not read from the folder: set `fov` to the rig's.
"""

import json
from pathlib import Path

import numpy as np

from dataengine.errors import UsageError
from dataengine.export.asset import ExportAsset
from dataengine.export.encode import normal_picture, png
from dataengine.export.records import Exported

DEPTH_RANGE = 4.0


def write(asset: ExportAsset, folder: Path, pictures: bool) -> None:
    """Pictures and cameras of one object. Raises UsageError without normals, or where depth passes four units."""
    asset.check_perspective()
    count = len(asset.cameras)
    np.savez(folder / "cameras.npz", cam_poses=np.stack([asset.w2c(i, "opengl") for i in range(count)]))
    for i in range(count if pictures else 0):
        depth = asset.decoded(i, "depth")
        if depth.max() > DEPTH_RANGE:
            raise UsageError(f"the {asset.layout} layout holds depth to {DEPTH_RANGE}; {asset.uid} is farther away")
        normal = normal_picture(asset.decoded(i, "normal"), asset.decoded(i, "rgba"))
        (folder / f"{i:03d}.png").write_bytes(asset.png(i, "rgba"))
        (folder / f"{i:03d}_normal.png").write_bytes(png(normal))
        (folder / f"{i:03d}_depth.png").write_bytes(png(np.rint(depth / DEPTH_RANGE * 255).astype(np.uint8)))


def index(root: Path, exported: list[Exported]) -> None:
    """valid_paths.json: its `good_objs`."""
    paths = {"good_objs": [record.uid for record in exported]}
    (root / "valid_paths.json").write_text(json.dumps(paths, indent=1))
