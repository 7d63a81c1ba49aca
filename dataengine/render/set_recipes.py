"""Recipes that bring several view sets: what a paper, or a field, renders of every object."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dataengine.render.recipes import RECIPES


@dataclass(frozen=True)
class SetRecipe:
    """View sets that belong together.

    Attributes:
        sets: name of the set → fields of its RenderConfig; the rest is at its default.
        source: where the numbers come from.
        note: what is ours because it was not published; empty if nothing.
    """

    sets: Mapping[str, Mapping[str, Any]]
    source: str
    note: str = ""


SET_RECIPES: Mapping[str, SetRecipe] = {
    "four-papers": SetRecipe(
        {
            "orbit8": {"rig": "orbit8"},
            "orbit24": {"rig": "orbit24", "elevation": "5..30"},
            "six_views": {"rig": "six_views"},
        },
        source="ViewMask-1-to-3 (8 views, 30°), VideoMV (24 views at one elevation an object, U(5°, 30°)), Wonder3D's "
        "six for the depth-guided decoder",
        note="ViewMask-1-to-3 publishes neither distance, field of view, light nor normalisation, VideoMV no light: "
        "those are ours",
    ),
    "trellis": SetRecipe(
        {"trellis": {"recipe": "trellis"}, "trellis-cond": {"recipe": "trellis-cond"}},
        source="microsoft/TRELLIS dataset_toolkits/render.py and render_cond.py",
        note=RECIPES["trellis-cond"].note,
    ),
    "mv-adapter": SetRecipe(
        {
            "ortho10": {"rig": "ten_views", "resolution": 1024, "channels": ("normal",)},
            "rand6": {"rig": "random-6", "resolution": 1024},
        },
        source="huanngzh/MV-Adapter README: Objaverse-Ortho10View (10 orthographic views of 1024²) as targets, "
        "Objaverse-Rand6View (6 random views) as conditions",
        note="of the ten, six are known to be horizontal (its image model reads 0°, 45°, 90°, 180°, 270° and 315°): "
        "that the others are the two missing azimuths, above and below is ours, and so are the order, all of the six "
        "random cameras, their resolution, light and samples",
    ),
    "hunyuan-paint": SetRecipe(
        {
            "paint-tex": {"rig": "ten_views", "resolution": 512, "channels": ("normal", "albedo", "orm")},
            "paint-cond": {"rig": "ten_views", "resolution": 512, "look": "env+area+point"},
        },
        source="Hunyuan3D-Paint's training folders: render_tex (colour, albedo, metallic-roughness, normal, position) "
        "and render_cond (each view lit by environment, area and point lights)",
        note="that there are three kinds of light and which channels there are is published; cameras (among them "
        "those that it paints first, horizontal at right angles, above and below), resolution, lamps, samples and the "
        "light of paint-tex are ours. Positions come from depth, with point_map",
    ),
}
