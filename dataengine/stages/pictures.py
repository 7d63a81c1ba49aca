"""A corpus of ordinary pictures: planned from tars or folders, each picture a view of its own without a camera.

What `render` is to models, `PictureStage` is to pictures: it fills `views/pictures`. All that follows is as in any
other corpus, the tokens stage first of all.
"""

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from dataengine import isolated
from dataengine.corpus.config import PICTURES, Limits, RenderConfig, ViewSet
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.result import Result
from dataengine.corpus.schema import VIEW_COLUMNS
from dataengine.errors import AssetFailure, ErrorCode, UsageError
from dataengine.machine import usable_cores
from dataengine.render.frozen import RENDER_REVISION
from dataengine.sources.picture_pixels import NUMBERS
from dataengine.sources.pictures import find_pictures, read_picture
from dataengine.stages.plan import PlanSummary, plan_assets
from dataengine.stages.stage import Row, Stage

SHARD_SIZE = 1024
LIMITS = Limits(cpu_seconds=60, wall_seconds=300, memory_bytes=2 << 30, file_bytes=64 << 20, texture_pixels=8192 * 8192)


def plan_pictures(
    url: str | Path, places: Sequence[str], *, resolution: int, shard_size: int = SHARD_SIZE
) -> PlanSummary:
    """Plans a corpus of pictures, or plans it again: what is new is appended, what is there stays.

    Args:
        url: of the corpus: a folder or any fsspec URL.
        places: tars, folders or patterns, see `find_pictures`.
        resolution: side of the squares that the pictures become.
        shard_size: pictures per shard.

    Raises:
        UsageError: if there are no pictures, or shards are committed with other settings.
        DataengineError: if something cannot be read, or the store cannot be written.
    """
    found = [find_pictures(place) for place in places]
    render = RenderConfig(rig=PICTURES, resolution=resolution, limits=LIMITS)
    pictures = ViewSet(name=PICTURES, render=render, numbers=NUMBERS, revision=RENDER_REVISION)
    return plan_assets(url, found, sets=[pictures], shard_size=shard_size)


@dataclass
class PictureStage(Stage):
    """Makes each picture of a plan the one view of an asset. Each is decoded in a process of its own.

    Attributes:
        name: the corpus's `views_stage`.
        workers: pictures at a time.
    """

    schema: ClassVar = VIEW_COLUMNS

    name: str = f"views/{PICTURES}"
    workers: int = field(default_factory=usable_cores)

    def input(self, corpus: Corpus, shard_input: str) -> str:
        return shard_input + corpus.config.view_set().input

    def start(self, corpus: Corpus) -> None:
        if corpus.config.view_set().numbers != NUMBERS:
            raise UsageError(
                f"{corpus.url} was planned by dataengine {corpus.config.version}, and this version makes other pixels "
                f"of pictures: finish it with that version, or plan into a new folder"
            )
        self._render = corpus.config.view_set().render

    def process(self, row: Row) -> Result:
        """From a row of the plan to its view; the caption is a member too, empty where there is none."""
        limits, side = self._render.limits, self._render.resolution
        content = read_picture(row["uri"], limits)
        if hashlib.sha256(content).hexdigest() != row["sha256"]:
            raise AssetFailure(ErrorCode.SHA_MISMATCH, "the picture has changed since it was planned; plan again")
        made = isolated.call(
            "dataengine.sources.picture_pixels:prepare",
            {"content": b64encode(content).decode(), "side": side, "most_pixels": limits.texture_pixels},
            cpu_seconds=limits.cpu_seconds,
            wall_seconds=limits.wall_seconds,
            memory_bytes=limits.memory_bytes,
        )
        members = {
            "00.rgba.png": b64decode(made["png"]),
            "cameras.json": no_camera(side),
            "txt": (row["caption"] or "").encode(),
        }
        return Result({"num_views": 1, "resolution": side, "coverage": [1.0]}, members)


def no_camera(side: int) -> bytes:
    """cameras.json of a view of which no camera is known: all numbers are 0, `far` among them."""
    view = {
        "orthographic": False,
        "near": 0.0,
        "far": 0.0,
        "name": "",
        "azimuth": 0.0,
        "elevation": 0.0,
        "width": side,
        "height": side,
        "K": [[0.0] * 3] * 3,
        "c2w": [[0.0] * 4] * 4,
    }
    head = {"format": "dataengine.cameras/1", "rig": PICTURES, "look": "", "width": side, "height": side}
    return (json.dumps({**head, "views": [view]}, indent=1) + "\n").encode()
