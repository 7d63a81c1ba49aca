"""What people take away of a reconstruction: files for viewers, a turntable, pictures beside the true ones."""

from pathlib import Path

import torch
from torch import Tensor

from dataengine.corpus.output import whole_file
from dataengine.geometry.gaussians import Gaussians
from dataengine.geometry.rasterise import rasterise
from dataengine.geometry.tensors import scale_intrinsics
from dataengine.training.camera_columns import WIDTH, c2w_of, k_of, turned
from dataengine.training.contact_sheet import to_picture
from dataengine.training.reconstruct.ply import write_points, write_splats
from dataengine.training.reconstruct.true_views import ObjectReconstruction
from dataengine.training.sample import write_views

SIDE = 192  # pixels of the turntable
FRAMES, SECONDS = 48, 4.0
AT_ONCE = 8


def write_scene(out: Path, gaussians: Gaussians, cameras: Tensor) -> list[str]:
    """Writes splats.ply, points.ply and turntable.gif into a folder.

    Args:
        gaussians: (N, …), on the CPU.
        cameras: (V, 30); the turntable turns the first.

    Returns:
        A line per file.

    Raises:
        UsageError: if one cannot be written.
    """
    splats = write_splats(out / "splats.ply", gaussians)
    points = write_points(out / "points.ply", gaussians)
    write_turntable(out / "turntable.gif", gaussians, cameras[0])
    return [
        f"{splats} Gaussians: {out / 'splats.ply'}",
        f"{points} points: {out / 'points.ply'}",
        f"once around: {out / 'turntable.gif'}",
    ]


@torch.no_grad()
def write_turntable(path: Path, gaussians: Gaussians, camera: Tensor) -> None:
    """Renderings from a camera (30,) that turns once around the world's z axis, as a GIF. Raises UsageError."""
    path_around = turned(camera, torch.arange(FRAMES) * (360 / FRAMES))
    factor = SIDE / float(camera[WIDTH])
    K, c2w = scale_intrinsics(k_of(path_around), factor, factor), c2w_of(path_around)
    frames = [
        to_picture(picture)
        for i in range(0, FRAMES, AT_ONCE)
        for picture in rasterise(gaussians, K[i : i + AT_ONCE], c2w[i : i + AT_ONCE], (SIDE, SIDE)).colour
    ]
    with whole_file(path) as file:
        each = round(1000 * SECONDS / FRAMES / 10) * 10  # a GIF counts hundredths
        frames[0].save(file, format="GIF", save_all=True, append_images=frames[1:], duration=each, loop=0)


def write_object(out: Path, made: ObjectReconstruction) -> list[str]:
    """Writes what `write_scene` does, the renderings at all cameras, cameras.json, and sheet.png beside the truth.

    Raises:
        UsageError: if something cannot be written.
    """
    given = ", ".join(map(str, made.given))
    rows = [("true", made.truth.colour), (f"reconstructed from views {given}", made.drawn)]
    write_views(out, made.drawn, made.cameras, rows)
    lines = write_scene(out, made.gaussians, made.cameras)
    if made.measured is not None:
        lines.append(made.measured.line())
    return [*lines, f"true views and renderings: {out / 'sheet.png'}"]
