"""The folders of SyncDreamer: `target/<uid>/NNN.png`, `input/<uid>/NNN.png` with meta.pkl, uid_set.pkl.

Read in liuyuan-pal/SyncDreamer, ldm/data/sync_dreamer.py and blender_script.py: 16 targets and 16 inputs at the same
azimuths; meta.pkl is [K, azimuths, elevations, distances, poses], radians, (V, 3, 4) world to camera, OpenCV axes.
"""

import pickle
from pathlib import Path

import numpy as np

from dataengine.errors import UsageError
from dataengine.export.asset import ExportAsset
from dataengine.export.records import Exported

VIEWS = 16


def write(asset: ExportAsset, folder: Path, pictures: bool) -> None:
    """Pictures and meta.pkl of one object."""
    asset.check_perspective()
    if len(asset.cameras) != VIEWS:
        count = len(asset.cameras)
        raise UsageError(f"the {asset.layout} layout has {VIEWS} views; {asset.uid} has {count}: plan --rig orbit16")
    cameras = asset.cameras
    if pictures:
        for i in range(VIEWS):
            (folder / f"{i:03d}.png").write_bytes(asset.png(i, "rgba"))
    meta = [
        np.array(cameras[0].K, np.float32),
        np.deg2rad([camera.azimuth for camera in cameras]).astype(np.float32),
        np.deg2rad([camera.elevation for camera in cameras]).astype(np.float32),
        np.array([np.linalg.norm(asset.c2w(i)[:3, 3]) for i in range(VIEWS)]),
        np.stack([asset.w2c(i) for i in range(VIEWS)]),
    ]
    (folder / "meta.pkl").write_bytes(pickle.dumps(meta))


def index(root: Path, exported: list[Exported]) -> None:
    """uid_set.pkl: the uids that have both."""
    (root / "uid_set.pkl").write_bytes(pickle.dumps([record.uid for record in exported if record.conditions]))
