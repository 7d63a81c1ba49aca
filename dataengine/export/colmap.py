"""A COLMAP model per object: `images/NN.png` and `sparse/0/{cameras,images,points3D}.txt`.

Format: COLMAP's documentation, "Output Format": PINHOLE cameras with pixel centres at 0.5, world to camera with OpenCV
axes as a quaternion (w, x, y, z) and a translation. Points are taken from the depth of every view, without tracks.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from dataengine.export.asset import ExportAsset

POINTS_PER_VIEW = 1000


def write(asset: ExportAsset, folder: Path, pictures: bool) -> None:
    """Images, cameras, and points where pictures are wanted: their colour and place come from the views."""
    asset.check_perspective()
    model = folder / "sparse" / "0"
    model.mkdir(parents=True)
    width, height = asset.size
    cameras, images = [], []
    for i, camera in enumerate(asset.cameras, 1):
        (fx, _, cx), (_, fy, cy), _ = camera.K
        cameras.append(f"{i} PINHOLE {width} {height} {fx!r} {fy!r} {cx!r} {cy!r}")
        matrix = asset.w2c(i - 1)
        pose = " ".join(repr(float(x) + 0.0) for x in (*quaternion(matrix[:, :3]), *matrix[:, 3]))
        images += [f"{i} {pose} {i} {i - 1:02d}.png", ""]  # the second line: features, of which there are none
    points: list[str] = []
    if pictures:
        (folder / "images").mkdir()
        for i in range(len(asset.cameras)):
            (folder / "images" / f"{i:02d}.png").write_bytes(asset.png(i, "rgba"))
            points += _points(asset, i, len(points))
    for name, lines in (("cameras", cameras), ("images", images), ("points3D", points)):
        (model / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))


def _points(asset: ExportAsset, view: int, before: int) -> list[str]:
    """Lines of points3D.txt: up to POINTS_PER_VIEW pixels of the view, evenly spread over those that have depth."""
    depth, rgba = asset.decoded(view, "depth"), asset.decoded(view, "rgba")
    rows, columns = np.nonzero(depth)
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(POINTS_PER_VIEW, len(rows))).astype(int))
    rows, columns = rows[chosen], columns[chosen]
    z = depth[rows, columns].astype(np.float64)
    (fx, _, cx), (_, fy, cy), _ = asset.cameras[view].K
    local = np.stack([(columns + 0.5 - cx) / fx * z, (rows + 0.5 - cy) / fy * z, z, np.ones_like(z)])
    world = (asset.c2w(view) @ local)[:3].T
    lines = []
    for n, ((x, y, depth_axis), colour) in enumerate(zip(world, rgba[rows, columns, :3], strict=True), before + 1):
        r, g, b = (int(c) for c in colour)
        lines.append(f"{n} {x:.9g} {y:.9g} {depth_axis:.9g} {r} {g} {b} 0")
    return lines


def quaternion(rotation: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(w, x, y, z) of a rotation matrix, w >= 0: the eigenvector of Bar-Itzhack's symmetric matrix (2000).

    Unlike the usual formula it needs no cases, and is right for half turns.
    """
    (a, b, c), (d, e, f), (g, h, i) = rotation
    k = np.array(
        [
            [a - e - i, b + d, c + g, h - f],
            [b + d, e - a - i, f + h, c - g],
            [c + g, f + h, i - a - e, d - b],
            [h - f, c - g, d - b, a + e + i],
        ]
    )
    _, vectors = np.linalg.eigh(k / 3)
    x, y, z, w = vectors[:, -1]
    unit = np.array([w, x, y, z])
    return unit if w >= 0 else -unit
