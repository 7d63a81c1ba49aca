"""Gaussians as files that others open: splats.ply for viewers of Gaussian splatting, points.ply for everything else.

splats.ply has the properties that Kerbl et al. 2023's code writes (gaussian-splatting, `scene/gaussian_model.py`), with
colour alone (degree 0): opacity as its logit, scales as logarithms, rotations w, x, y, z, colour as the factor of the
constant spherical harmonic.
"""

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from dataengine.corpus.output import whole_file
from dataengine.geometry.gaussians import Gaussians

CONSTANT = 0.5 / math.sqrt(math.pi)
"""The spherical harmonic of degree 0: colour = 0.5 + CONSTANT × f_dc."""
SPLAT = [
    *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
]
VISIBLE = 1 / 255  # of opacity, below which a Gaussian changes no picture
SOLID = 0.5  # of opacity, above which a centre counts as a point of the surface


def write_splats(path: Path, gaussians: Gaussians) -> int:
    """Writes one scene's Gaussians (N, …) that can be seen, and says how many. Raises UsageError if it cannot."""
    seen = gaussians.opacities > VISIBLE
    g = Gaussians(*(values[seen].float() for values in gaussians))
    columns = torch.cat(
        [
            g.centres,
            torch.zeros_like(g.centres),
            (g.colours - 0.5) / CONSTANT,
            g.opacities.clamp(1e-6, 1 - 1e-6).logit()[:, None],
            g.scales.clamp(min=1e-9).log(),
            g.rotations,
        ],
        1,
    )
    rows = np.ascontiguousarray(columns.numpy().astype("<f4")).view([(name, "<f4") for name in SPLAT])
    _write(path, rows[:, 0])
    return len(rows)


def write_points(path: Path, gaussians: Gaussians) -> int:
    """Writes the centres of the opaque Gaussians with their colours, and says how many. Raises UsageError as above."""
    solid = gaussians.opacities > SOLID
    rows = np.empty(int(solid.sum()), [(n, "<f4") for n in "xyz"] + [(n, "u1") for n in ("red", "green", "blue")])
    centres = gaussians.centres[solid].float().numpy()
    colours = (gaussians.colours[solid].float() * 255).round().byte().numpy()
    for i, (place, colour) in enumerate(zip("xyz", ("red", "green", "blue"), strict=True)):
        rows[place], rows[colour] = centres[:, i], colours[:, i]
    _write(path, rows)
    return len(rows)


def _write(path: Path, rows: npt.NDArray[np.void]) -> None:
    """A binary little-endian PLY of vertices."""
    types = {"<f4": "float", "|u1": "uchar"}
    names = [f"property {types[rows.dtype[name].str]} {name}" for name in rows.dtype.names or ()]
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}", *names, "end_header", ""]
    with whole_file(path) as file:
        file.write("\n".join(head).encode("ascii"))
        file.write(rows.tobytes())
