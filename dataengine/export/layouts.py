"""The layouts that a corpus can be exported to."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dataengine.errors import UsageError
from dataengine.export import colmap, gobjaverse, instantmesh, mv_adapter, nerf, syncdreamer, trellis, zero123
from dataengine.export.asset import ExportAsset
from dataengine.export.records import Exported

Write = Callable[[ExportAsset, Path, bool], None]
Index = Callable[[Path, list[Exported]], None]


@dataclass(frozen=True)
class Layout:
    """A reader's folder.

    Attributes:
        write: puts one object's files into an empty folder; the last argument: pictures too, or cameras alone.
        folder: where that folder is, of `{uid}`, `{key}` and `{start}`, the uid's first two digits.
        index: writes the lists beside the folders; None: readers of single scenes are given one folder.
        conditions: where the views of a second set go; None: the layout has no place for them.
        needs_conditions: whether its reader does not go without; the same views then stand in both places.
        key_is_sha256: objects go by the SHA-256 of their main file.
        reader: which code reads it.
    """

    write: Write
    reader: str
    folder: str = "{uid}"
    index: Index | None = None
    conditions: str | None = None
    needs_conditions: bool = False
    key_is_sha256: bool = False


LAYOUTS: dict[str, Layout] = {
    "nerf": Layout(nerf.write, "nerfstudio, instant-ngp, and whatever reads transforms.json"),
    "gobjaverse": Layout(gobjaverse.write, "richdreamer, VideoMV", index=gobjaverse.index),
    "trellis": Layout(
        trellis.write,
        "TRELLIS",
        folder="renders/{key}",
        index=trellis.index,
        conditions="renders_cond/{key}",
        key_is_sha256=True,
    ),
    "mv-adapter": Layout(mv_adapter.write, "MV-Adapter, Step1X-3D", folder="{start}/{uid}", index=mv_adapter.index),
    "zero123": Layout(zero123.write, "Zero123, objaverse-rendering's readers", index=zero123.index),
    "syncdreamer": Layout(
        syncdreamer.write,
        "SyncDreamer",
        folder="target/{uid}",
        index=syncdreamer.index,
        conditions="input/{uid}",
        needs_conditions=True,
    ),
    "instantmesh": Layout(
        instantmesh.write, "InstantMesh", folder="rendering_random_32views/{uid}", index=instantmesh.index
    ),
    "colmap": Layout(colmap.write, "COLMAP, gsplat, and whatever reads sparse models"),
}


def layout(name: str) -> Layout:
    """The layout of a name. Raises UsageError if there is none; names the nearest."""
    if name in LAYOUTS:
        return LAYOUTS[name]
    near = difflib.get_close_matches(name, LAYOUTS, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UsageError(f"there is no layout {name!r}{hint} (known: {', '.join(LAYOUTS)})")
