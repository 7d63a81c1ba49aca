"""The folders of TRELLIS: `renders/<sha256>/` and `renders_cond/<sha256>/`, with metadata.csv beside them.

Read in microsoft/TRELLIS, trellis/datasets and dataset_toolkits/extract_feature.py: OpenGL camera axes,
`camera_angle_x` in radians per frame, normalised = scale * original + offset in the box [-0.5, 0.5]³.
"""

import csv
import json
from pathlib import Path

from dataengine.export.asset import ExportAsset, plain
from dataengine.export.records import Exported


def write(asset: ExportAsset, folder: Path, pictures: bool) -> None:
    """`NNN.png` (RGBA) and transforms.json of one object."""
    asset.check_perspective()
    frames = []
    for i in range(len(asset.cameras)):
        name = f"{i:03d}.png"
        if pictures:
            (folder / name).write_bytes(asset.png(i, "rgba"))
        matrix = plain(asset.c2w(i, "opengl"))
        frames.append({"file_path": name, "camera_angle_x": asset.angle_x(i), "transform_matrix": matrix})
    normalisation = {key: asset.header["normalisation"][key] for key in ("scale", "offset")}
    head = {"aabb": [[-0.5, -0.5, -0.5], [0.5, 0.5, 0.5]], **normalisation}
    (folder / "transforms.json").write_text(json.dumps({**head, "frames": frames}, indent=1))


def index(root: Path, exported: list[Exported]) -> None:
    """metadata.csv, by which its datasets choose: `rendered`, `cond_rendered`, and captions as a JSON list."""
    with (root / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["sha256", "file_identifier", "captions", "rendered", "cond_rendered"])
        for record in exported:
            captions = json.dumps([record.caption]) if record.caption else ""
            table.writerow([record.key, record.uid, captions, True, record.conditions])
