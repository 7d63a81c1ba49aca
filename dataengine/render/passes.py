"""What Blender's render calls leave behind: multilayer EXR files, and what they say of one asset.

The layer `colour` holds colours (scene-linear, premultiplied) and depth; other layers, of other files, say more of the
same views, see `blender/cameras.py`. View i is `v<i>` in the channels' names, over the whole rig.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dataengine.errors import DataengineError
from dataengine.render import exr
from dataengine.render.blender.protocol import Camera

Float = npt.NDArray[np.float32]

_CHANNEL = re.compile(r"([^.]+)\.(?:Combined|Depth|backfacing)(?:\.[^.]*?(\d+))?\.([RGBAXZ])")
_MORE = {"depth": "Z", "faint": "Z", "few": "RGBA", "many": "RGBA"}
_LOOK = re.compile(r"look\d+")
ALPHA_THRESHOLD = 0.5
"""Pixels less covered than this have no depth; more, and they belong to the object."""
DIFFERENT = 1e-3  # of a channel: a path that ended early


@dataclass(frozen=True)
class Passes:
    """The planes of each pass, by its name ('' for the picture itself, `look1` … for it in further looks) and channel;
    (V, H, W) float32.

    Channels are R, G, B, A, Z (planar depth) and X (the share of samples that met the first surface from behind).
    """

    planes: dict[str, dict[str, Float]]

    def depth(self, cameras: Sequence[Camera]) -> Float:
        """(V, H, W), 0 = none. Where surfaces are partly transparent: of the first that is dense enough, else of the
        first that is there at all, if it and its surroundings cover by half: the alpha of few samples is grainy. Where
        the picture is not covered by half, of none."""
        near, far = (np.array([getattr(c, end) for c in cameras])[:, None, None] for end in ("near", "far"))
        step = (far - near) / 65534
        covered = self.planes[""]["A"] >= ALPHA_THRESHOLD
        found = np.zeros_like(self.planes[""]["Z"])
        for name in ("depth", "faint") if "depth" in self.planes else ("",):
            z = self.planes[name]["Z"]
            enough = covered & (_local_alpha(self.planes[""]["A"]) >= ALPHA_THRESHOLD) if name == "faint" else covered
            known = enough & (found == 0) & (z > near - step / 2) & (z < far + step / 2)
            found = np.where(known, z, found)
        return found

    def back_faces(self) -> float | None:
        """Share of the object's pixels whose first surface is seen from behind; None where it was not asked for."""
        covered = self.planes[""]["A"] >= ALPHA_THRESHOLD
        share = self.planes.get("faint", self.planes[""]).get("X")  # where a sample may pass a surface, it adds up
        if share is None or not covered.any():
            return None
        return float(np.clip(share[covered], 0, 1).mean())

    def cut_short(self) -> float:
        """Share of the object's pixels that the look's limit on transparent surfaces has changed."""
        if "few" not in self.planes:
            return 0.0
        few, many = self.planes["few"], self.planes["many"]
        seen = np.maximum(few["A"], many["A"]) > 0
        changed = np.any([np.abs(few[c] - many[c]) > DIFFERENT for c in "RGBA"], axis=0)
        return float(changed[seen].mean()) if seen.any() else 0.0


def read_passes(paths: Iterable[str | Path]) -> Passes:
    """Reads the files of one asset; views in order of their numbers.

    Raises:
        NotOurs: see `exr.read`.
        DataengineError: for a view that is there twice, or planes that do not go together.
    """
    found: dict[str, dict[str, dict[int, Float]]] = {}
    for path in paths:
        for name, plane in exr.read(Path(path)).items():
            if match := _CHANNEL.fullmatch(name):
                own = match[1] in _MORE or _LOOK.fullmatch(match[1])
                here = found.setdefault(match[1] if own else "", {})
                views = here.setdefault(match[3], {})
                if (number := int(match[2] or 0)) in views:
                    raise DataengineError(f"{path} holds view {number} twice")
                views[number] = plane
    try:
        planes = {n: {c: np.stack([v[i] for i in sorted(v)]) for c, v in some.items()} for n, some in found.items()}
        shapes = {planes[name][channel].shape for name in planes.keys() - {""} for channel in _MORE.get(name, "RGBA")}
        whole = {"depth", "faint"} <= planes.keys() or not {"depth", "faint"} & planes.keys()
        whole &= {"few", "many"} <= planes.keys() or not {"few", "many"} & planes.keys()
        if not whole or shapes - {planes[""]["A"].shape}:
            raise ValueError("some views are in one file and not in another")
    except (KeyError, ValueError) as error:
        raise DataengineError(f"Blender's passes do not go together: {error}") from error
    return Passes(planes)


def _local_alpha(planes: Float) -> Float:
    """(V, H, W): the mean over each pixel and those of its eight neighbours that are covered at all."""
    wide = np.pad(np.clip(planes, 0, 1), ((0, 0), (1, 1), (1, 1)))
    height, width = planes.shape[1:]
    near = [wide[:, y : y + height, x : x + width] for y in range(3) for x in range(3)]
    covered = np.sum([part > 0 for part in near], axis=0)
    return np.asarray(np.sum(near, axis=0) / np.maximum(covered, 1), np.float32)
