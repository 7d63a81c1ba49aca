"""transforms.json as nerfstudio and instant-ngp read it, one folder per object.

Conventions: nerfstudio's documentation, "Data conventions". Readers that centre and scale cameras do so here too:
`--orientation-method none --center-method none --auto-scale-poses False` keeps nerfstudio in our units.
"""

import json
from pathlib import Path

import numpy as np

from dataengine.export.asset import ExportAsset
from dataengine.export.encode import png
from dataengine.render.cameras import export_cameras

MILLIMETRES = 1000.0  # nerfstudio's depth_unit_scale_factor is 1e-3


def write(asset: ExportAsset, folder: Path, pictures: bool) -> None:
    """`images/NN.png`, `depth/NN.png` and transforms.json.

    Depth is planar z, 16 bits, a thousand steps per unit of the normalised object; 0 = none.
    """
    transforms = export_cameras(asset.members["cameras.json"], "nerf")
    for i, frame in enumerate(transforms["frames"]):
        name = f"{i:02d}.png"
        frame["file_path"] = f"images/{name}"
        if not pictures:
            continue
        for kind in ("images", "depth"):
            (folder / kind).mkdir(exist_ok=True)
        depth = np.rint(asset.decoded(i, "depth") * MILLIMETRES).astype(np.uint16)
        (folder / "images" / name).write_bytes(asset.png(i, "rgba"))
        (folder / "depth" / name).write_bytes(png(depth))
        frame["depth_file_path"] = f"depth/{name}"
    (folder / "transforms.json").write_text(json.dumps(transforms, indent=1))
