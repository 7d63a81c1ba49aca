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

_CHANNEL = re.compile(
    r"([^.]+)\.(Combined|Depth|backfacing|behind|Normal|IndexOB|channel_[a-z]+)(?:\.[^.]*?(\d+))?\.([RGBAXYZ])"
)
CENTRES = "centres"
"""The layer of what is read in the pixels' centres, where the samples of the colour lie elsewhere."""
_MORE = {"depth": "Z", "faint": "Z", "few": "RGBA", "many": "RGBA", CENTRES: "Z"}
_IN_CENTRES = ("Z", "IndexOB.X", *(f"channel_geometric.{c}" for c in "RGBA"))
_LOOK = re.compile(r"look\d+")
ALPHA_THRESHOLD = 0.5
"""Pixels less covered than this have no depth; more, and they belong to the object."""
NOTHING = 0.05  # alpha of a pixel that shows no surface, also no faint one before those that are culled
RIM = 0.1  # of a bounding sphere of diameter 1: how far the shell of a toon outline lies before what it outlines
DIFFERENT = 1e-3  # of a channel: a path that ended early


@dataclass(frozen=True)
class Passes:
    """The planes of each pass, by its name ('' for the picture itself, `look1` … for it in further looks) and channel;
    (V, H, W) float32.

    Channels are R, G, B, A, Z (planar depth) and X (the share of samples that met the first surface from behind; where
    back faces are culled, how many a sample has passed on its way, and S the sum of their planar depths); of other
    passes `Normal.X`, `IndexOB.X`, `channel_albedo.R` and so on, see channels.py.
    """

    planes: dict[str, dict[str, Float]]

    def depth_and_layer(self, cameras: Sequence[Camera]) -> tuple[Float, npt.NDArray[np.int8]]:
        """The depth (V, H, W), 0 = none, and which of `layers` shows each pixel's surface.

        Where surfaces are partly transparent: of the first that is dense enough, else of the first that is there at
        all, if it and its surroundings cover by half: the alpha of few samples is grainy. Where the picture is not
        covered by half, of none."""
        near, far = (np.array([getattr(c, end) for c in cameras])[:, None, None] for end in ("near", "far"))
        step = (far - near) / 65534
        covered = self.planes[""]["A"] >= ALPHA_THRESHOLD
        found = np.zeros_like(self.planes[""]["Z"])
        layer = np.zeros(found.shape, np.int8)
        for number, name in enumerate(self.layers):
            z = self.planes[name]["Z"]
            enough = covered & (_local_alpha(self.planes[""]["A"]) >= ALPHA_THRESHOLD) if name == "faint" else covered
            known = enough & (found == 0) & (z > near - step / 2) & (z < far + step / 2)
            found = np.where(known, z, found)
            layer[known] = number
        if len(self.layers) == 2:  # where there is no depth: an outline
            layer[(found == 0) & (self.planes["depth"]["A"] <= 0)] = 1
        return found, layer

    @property
    def layers(self) -> tuple[str, ...]:
        """Those that show one surface a sample: the picture, or two of it where surfaces are partly transparent."""
        return ("depth", "faint") if "depth" in self.planes else ("",)

    def plane(self, name: str, layer: npt.NDArray[np.int8]) -> Float:
        """A plane, each pixel from the layer that shows its surface."""
        planes = [self.planes[own][name] for own in self.layers]
        return planes[0] if len(planes) == 1 else np.where(layer == 1, planes[1], planes[0])

    def at(self, names: Sequence[str], layer: npt.NDArray[np.int8], where: npt.NDArray[np.bool_]) -> Float:
        """(N, len(names)): planes at the N pixels where `where` (V, H, W) is true; 0 for what is no number."""
        places = np.flatnonzero(where)
        found = np.empty((len(places), len(names)), np.float32)
        for column, name in enumerate(names):
            found[:, column] = self.plane(name, layer).ravel()[places]
        return np.nan_to_num(found, copy=False, posinf=0.0, neginf=0.0)

    def back_faces(self) -> float | None:
        """Share of the object's pixels whose first surface is seen from behind; None where it was not asked for."""
        covered = self.planes[""]["A"] >= ALPHA_THRESHOLD
        share = self.planes.get("faint", self.planes[""]).get("X")  # where a sample may pass a surface, it adds up
        if share is None or "S" in self.planes[""] or not covered.any():
            return None
        return float(np.clip(share[covered], 0, 1).mean())

    def looks_away(self) -> float:
        """Share of the pixels that show the object, or would, whose culled back faces are passed to something far
        behind them (a rim that outlines its own model lies close) or to nothing."""
        plane = self.planes[""]
        if "S" not in plane:
            return 0.0
        shown, passed = plane["A"] >= ALPHA_THRESHOLD, plane["X"] >= ALPHA_THRESHOLD
        if not (shown | passed).any():
            return 0.0
        gap = plane["Z"] - plane["S"] / np.maximum(plane["X"], ALPHA_THRESHOLD)
        away = passed & ((plane["A"] < NOTHING) | (shown & (gap >= RIM)))
        return float(away.sum() / (shown | passed).sum())

    def cut_short(self) -> float:
        """Share of the object's pixels that the look's limit on transparent surfaces has changed."""
        if "few" not in self.planes:
            return 0.0
        few, many = self.planes["few"], self.planes["many"]
        seen = np.maximum(few["A"], many["A"]) > 0
        changed = np.any([np.abs(few[c] - many[c]) > DIFFERENT for c in "RGBA"], axis=0)
        return float(changed[seen].mean()) if seen.any() else 0.0


def _plane(kind: str, channel: str) -> str:
    """What `Passes` calls a channel of a kind of pass."""
    if kind == "behind":
        return "S"
    return channel if kind in ("Combined", "Depth", "backfacing") else f"{kind}.{channel}"


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
                views = here.setdefault(_plane(match[2], match[4]), {})
                if (number := int(match[3] or 0)) in views:
                    raise DataengineError(f"{path} holds view {number} twice")
                views[number] = plane
    try:
        planes = {n: {c: np.stack([v[i] for i in sorted(v)]) for c, v in some.items()} for n, some in found.items()}
        shapes = {planes[name][channel].shape for name in planes.keys() - {""} for channel in _MORE.get(name, "RGBA")}
        whole = {"depth", "faint"} <= planes.keys() or not {"depth", "faint"} & planes.keys()
        whole &= {"few", "many"} <= planes.keys() or not {"few", "many"} & planes.keys()
        if not whole or shapes - {planes[""]["A"].shape}:
            raise ValueError("some views are in one file and not in another")
        if centres := planes.pop(CENTRES, None):
            planes[""] |= {name: centres[name] for name in _IN_CENTRES if name in centres}
        elif "depth" in planes:
            planes[""].setdefault("Z", planes["depth"]["Z"])
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
