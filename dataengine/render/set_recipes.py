"""Recipes that bring several view sets: what a paper, or a field, renders of every object."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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
        {"orbit8": {"rig": "orbit8"}, "orbit24": {"rig": "orbit24"}, "six_views": {"rig": "six_views"}},
        source="ViewMask-1-to-3 (8 views, 30°), VideoMV (24 views), Wonder3D's six for the depth-guided decoder",
        note="ViewMask-1-to-3 publishes neither distance, field of view, light nor normalisation, VideoMV no light: "
        "those are ours. orbit24 stands at VideoMV's inference default of 15°",
    ),
}
