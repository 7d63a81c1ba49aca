"""The folders of Zero123 (and objaverse-rendering): `<uid>/NNN.png`, `<uid>/NNN.npy`, valid_paths.json.

Read in cvlab-columbia/zero123, ldm/data/simple.py: (3, 4) world to camera with Blender's camera axes, no intrinsics.
Its `total_view` is 12 by default and is what it draws from: set it to the number of views.
"""

import json
from pathlib import Path

import numpy as np

from dataengine.export.asset import ExportAsset
from dataengine.export.records import Exported


def write(asset: ExportAsset, folder: Path, pictures: bool) -> None:
    """RGBA pictures and matrices of one object."""
    asset.check_perspective()
    for i in range(len(asset.cameras)):
        np.save(folder / f"{i:03d}.npy", asset.w2c(i, "opengl"))
        if pictures:
            (folder / f"{i:03d}.png").write_bytes(asset.png(i, "rgba"))


def index(root: Path, exported: list[Exported]) -> None:
    """valid_paths.json: the folders; the last hundredth of them is the reader's validation set."""
    (root / "valid_paths.json").write_text(json.dumps([record.folder for record in exported], indent=1))
