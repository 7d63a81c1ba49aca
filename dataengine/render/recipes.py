"""Recipes: published rigs with the look, samples and resolution that went with them.

Each names the script its numbers were read from. The distances and normalisations are the published ones, so that
data made here can stand in for theirs, clipped corners included: a unit cube's bounding sphere (radius 0.866) needs a
distance of 2.08 at 49.13°, and most scripts stand at 1.5. What their random generators left to chance is drawn from
the asset's seed instead.
"""

import difflib
import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from dataengine.corpus.ranges import Range
from dataengine.errors import UsageError
from dataengine.render.chance import Chance
from dataengine.render.looks import STUDIO
from dataengine.render.rigs import (
    BOUND,
    G_OBJAVERSE_FOV,
    LENS_35_ON_32,
    SIX_VIEWS,
    Array,
    Layout,
    Pose,
    Ranges,
    Rig,
    fit_distance,
    hammersley,
    horizon,
    orbit,
    shell,
)


@dataclass(frozen=True)
class Recipe:
    """A published way to render.

    Attributes:
        name: what `--recipe` calls it.
        rig: cameras, distance and normalisation.
        look: name of a look in `looks.py`.
        samples: a pixel.
        engine: as in the corpus' render config.
        resolution: pixels per side.
        source: the script that the numbers come from.
        note: what is ours because it was not published, or differs; empty if nothing.
    """

    name: str
    rig: Rig
    look: str
    samples: int
    engine: Literal["cycles", "eevee"]
    resolution: int
    source: str
    note: str = ""


def recipe(name: str) -> Recipe:
    """A published recipe.

    Raises:
        UsageError: if there is none of that name; names the known ones.
    """
    if name in RECIPES:
        return RECIPES[name]
    near = difflib.get_close_matches(name, RECIPES, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UsageError(f"there is no recipe {name!r}{hint} (known: {', '.join(RECIPES)})")


def rigidly_turned(layout: Layout, yaw: tuple[float, float], pitch: tuple[float, float]) -> Layout:
    """All cameras of a layout turned together, as Wonder3D's `--random_pose`: about world z, then about world x.

    Args:
        layout: the cameras before; takes nothing from the asset's generator itself.
        yaw, pitch: ranges in degrees, uniform. Positive pitch lifts a camera on -y.
    """

    def turned(chance: Chance) -> list[Pose]:
        poses, dice = layout(chance), chance.generator()
        about_z = math.radians(yaw[0] + (yaw[1] - yaw[0]) * dice.random())
        about_x = math.radians(pitch[0] + (pitch[1] - pitch[0]) * dice.random())
        turn = np.eye(4)
        c, s = math.cos(about_x), math.sin(-about_x)
        turn[:3, :3] = [[1, 0, 0], [0, c, -s], [0, s, c]]
        c, s = math.cos(about_z), math.sin(about_z)
        turn[:3, :3] = turn[:3, :3] @ [[c, -s, 0], [s, c, 0], [0, 0, 1]]
        return [_replaced(pose, turn @ pose.c2w) for pose in poses]

    return turned


def _replaced(pose: Pose, c2w: Array) -> Pose:
    x, y, z = c2w[:3, 3]
    azimuth = math.degrees(math.atan2(y, x)) % 360
    return Pose(c2w, azimuth, math.degrees(math.atan2(z, math.hypot(x, y))), pose.name)


def _cube(name: str, layout: Layout, fov: float, *, random: bool = False) -> Rig:
    return Rig(name, layout, normalisation="cube", fov=fov, random=random)


def _conditions(name: str, count: int) -> Rig:
    """TRELLIS' condition cameras: each with a field of view from 10° to 70°, and as far as the object then fits."""
    cameras = _cube(name, hammersley(count, fit_distance(40, BOUND["cube"])), 40.0, random=True)
    return replace(cameras, ranges=Ranges(fov=Range(10, 70), per_view=True))


_CONDITIONS_NOTE = (
    "the angle is drawn uniformly, theirs so that 1 / distance² is; 5 % of the frame is air, theirs has none"
)

RECIPES = {
    r.name: r
    for r in (
        Recipe(
            "objaverse",
            _cube("objaverse", orbit(12, 30, 1.5), LENS_35_ON_32),
            "objaverse",
            samples=32,
            engine="cycles",
            resolution=512,
            source="allenai/objaverse-rendering scripts/blender_script.py",
        ),
        Recipe(
            "objaverse-xl",
            _cube("objaverse-xl", shell(12, 1.5, 2.2), LENS_35_ON_32, random=True),
            "objaverse-xl",
            samples=128,
            engine="cycles",
            resolution=512,
            source="allenai/objaverse-xl scripts/rendering/blender_script.py",
        ),
        Recipe(
            "zero123",
            _cube("zero123", shell(12, 1.5, 2.2), LENS_35_ON_32, random=True),
            "zero123",
            samples=128,
            engine="cycles",
            resolution=512,
            source="cvlab-columbia/zero123 objaverse-rendering/scripts/blender_script.py",
            note="12 views as in the released set; the script's default is 8",
        ),
        Recipe(
            "syncdreamer",
            _cube("syncdreamer", orbit(16, 30, 1.5), LENS_35_ON_32),
            "syncdreamer",
            samples=128,
            engine="cycles",
            resolution=256,
            source="liuyuan-pal/SyncDreamer blender_script.py, --camera_type fixed",
        ),
        Recipe(
            "wonder3d",
            Rig(
                "wonder3d",
                rigidly_turned(horizon(SIX_VIEWS, 2.0), yaw=(-60, 60), pitch=(-15, 30)),
                normalisation="diagonal",
                ortho_scale=1.35,
                random=True,
            ),
            "wonder3d",
            samples=1024,
            engine="cycles",
            resolution=512,
            source="xxlong0/Wonder3D render_codes/blenderProc_ortho.py as called by render_batch_ortho.sh",
            note="the six views that training uses, of thirteen",
        ),
        Recipe(
            "trellis",
            _cube("trellis", hammersley(150, 2.0), 40.0, random=True),
            "trellis",
            samples=128,
            engine="cycles",
            resolution=512,
            source="microsoft/TRELLIS dataset_toolkits/render.py",
        ),
        Recipe(
            "trellis-cond",
            _conditions("trellis-cond", 24),
            "trellis",
            samples=128,
            engine="cycles",
            resolution=1024,
            source="microsoft/TRELLIS dataset_toolkits/render_cond.py",
            note=_CONDITIONS_NOTE,
        ),
        Recipe(
            "trellis2",
            _conditions("trellis2", 16),
            "point",
            samples=32,
            engine="cycles",
            resolution=1024,
            source="microsoft/TRELLIS.2 data_toolkit/render_cond.py",
            note=f"{_CONDITIONS_NOTE}; light is ours, one point and a grey world (theirs: 1 to 3 points, drawn, and a "
            "white world)",
        ),
        Recipe(
            "videomv",
            _cube("videomv", orbit(24, 15, 2.0), G_OBJAVERSE_FOV),
            "studio",
            samples=STUDIO.samples,
            engine="cycles",
            resolution=512,
            source="alibaba/VideoMV tools/datasets/video_dataset.py on G-Objaverse (modelscope/richdreamer)",
            note="the renderer was not released: elevation is VideoMV's inference default, distance that of 39.6° "
            "rigs of its kind, light and samples ours",
        ),
        Recipe(
            "videomv-train",
            replace(_cube("videomv-train", orbit(24, 15, 2.0), G_OBJAVERSE_FOV), ranges=Ranges(elevation=Range(5, 30))),
            "studio",
            samples=STUDIO.samples,
            engine="cycles",
            resolution=512,
            source="VideoMV's paper: 24 views at one elevation per object, drawn from U(5°, 30°); else as videomv",
            note="as videomv",
        ),
    )
}
