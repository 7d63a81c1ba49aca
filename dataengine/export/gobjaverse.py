"""The folders of G-Objaverse: `<uid>/campos_512_v4/NNNNN/NNNNN.{png,json}`, `_nd.exr`, `_albedo.png`, `_mr.png`.

Read in modelscope/richdreamer, dataset/gobjaverse, and alibaba/VideoMV, tools/datasets/video_dataset.py: the json has
the camera's axes in the world (OpenCV's: x right, y down, z forward) and its origin; the EXR has world normals in RGB
and planar depth in A, 0 = none; metallic is R of `_mr.png`, roughness G.
"""

import json
import math
from pathlib import Path

import numpy as np

from dataengine.export.asset import ExportAsset
from dataengine.export.encode import png, write_exr
from dataengine.export.records import Exported


def write(asset: ExportAsset, folder: Path, pictures: bool) -> None:
    """All views of one object. Raises UsageError without normals."""
    asset.check_perspective()
    _, height = asset.size
    for i, camera in enumerate(asset.cameras):
        name = f"{i:05d}"
        view = folder / "campos_512_v4" / name
        view.mkdir(parents=True)
        matrix = asset.c2w(i)
        axes = {axis: (matrix[:3, n] + 0.0).tolist() for n, axis in enumerate("xyz")}
        fov = {"x_fov": asset.angle_x(i), "y_fov": 2 * math.atan(height / 2 / camera.K[1][1])}
        text = json.dumps({**axes, "origin": matrix[:3, 3].tolist(), **fov})
        (view / f"{name}.json").write_text(text)
        if pictures:
            _pictures(asset, i, view, name)


def _pictures(asset: ExportAsset, i: int, view: Path, name: str) -> None:
    (view / f"{name}.png").write_bytes(asset.png(i, "rgba"))
    normal = asset.decoded(i, "normal")
    x, y, z = np.moveaxis(normal, -1, 0)
    write_exr(view / f"{name}_nd.exr", R=x, G=y, B=z, A=asset.decoded(i, "depth"))
    if asset.has("albedo"):
        (view / f"{name}_albedo.png").write_bytes(asset.png(i, "albedo"))
    if asset.has("orm"):
        orm = asset.decoded(i, "orm")
        mr = np.dstack([orm[..., 2], orm[..., 1], np.zeros_like(orm[..., 0])])
        pixels = mr if mr.dtype == np.uint8 else np.rint(np.clip(mr, 0, 1) * 255).astype(np.uint8)
        (view / f"{name}_mr.png").write_bytes(png(pixels))


def index(root: Path, exported: list[Exported]) -> None:
    """index.json (VideoMV's `data_list`) and captions.json."""
    (root / "index.json").write_text(json.dumps([record.folder for record in exported], indent=1))
    captions = {record.folder: record.caption or "" for record in exported}
    (root / "captions.json").write_text(json.dumps(captions, indent=1, ensure_ascii=False))
