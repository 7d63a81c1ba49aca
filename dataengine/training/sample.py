"""`dataengine sample`: pictures, prompts or an object of a corpus in; views with their cameras out."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dataengine.corpus.storage import Store
from dataengine.errors import UsageError
from dataengine.training import checkpoints
from dataengine.training.camera_columns import NEAR, c2w_of, k_of, turned, view_angles
from dataengine.training.config import TrainStage
from dataengine.training.contact_sheet import Colour, load_image, sheet, to_picture, write_picture
from dataengine.training.model.view_model import ViewModel


@dataclass(frozen=True)
class Trained:
    """A run's averaged weights, ready to sample.

    Attributes:
        checkpoint: where they came from.
        state: what the run is.
        model: in eval mode, on its device.
    """

    checkpoint: Path
    state: checkpoints.RunState
    model: ViewModel

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


def load_run(
    run: Path, stages: tuple[TrainStage, ...] = ("complete", "t2mv", "i2mv", "pretrain"), device: str = "cpu"
) -> Trained:
    """The newest checkpoint of the first of the stages that the run has.

    Raises:
        UsageError: if the run has none of them.
        DataengineError: if the checkpoint is damaged.
    """
    checkpoint = checkpoints.newest_stage(run, stages)
    state = checkpoints.read_state(checkpoint)
    model = ViewModel(state.model).to(device).eval()
    checkpoints.load_weights(checkpoint, model, "ema")
    return Trained(checkpoint, state, model)


def choose_cameras(state: checkpoints.RunState, views: int) -> Tensor:
    """(views, 30): every n-th camera of the run's rig, from the first, or a multiple of the rig's, evenly spaced.

    Raises:
        UsageError: if neither is possible; more than the rig has need a model that is told of poses.
    """
    rig = torch.tensor(state.cameras)
    if views > len(rig) and views % len(rig) == 0 and state.model.camera in ("rays", "matrix"):
        return turned(rig[0], torch.arange(views) * (360 / views))
    if views < 1 or len(rig) % views:
        raise UsageError(f"{views} views cannot be spaced evenly on the run's {len(rig)} cameras: choose a divisor")
    return rig[:: len(rig) // views]


def background_of(tokenizer: Mapping[str, Any]) -> Colour:
    """The colour that the tokenizer's views were composited over; white where the shards do not say."""
    r, g, b = tokenizer.get("background") or (255, 255, 255)
    return int(r), int(g), int(b)


def picture_of(state: checkpoints.RunState, path: Path) -> tuple[Tensor, list[str]]:
    """(3, H, W) in [0, 1] of a run's size from a picture, and what had to be done to it.

    Raises:
        UsageError: if it is no picture.
    """
    grid, factor = state.model.grid, state.tokenizer["factor"]
    pixels, notes = load_image(path, grid[0] * factor, grid[1] * factor, background_of(state.tokenizer))
    return pixels[0] / 2 + 0.5, notes


def write_views(out: Path, pictures: Tensor, cameras: Tensor, rows: list[tuple[str, Tensor]]) -> None:
    """Writes sheet.png, view_00.png … and cameras.json.

    Args:
        out: the folder.
        pictures: (V, 3, H, W) in [0, 1].
        cameras: (V, 30) theirs.
        rows: of the sheet: a label and views each.
    """
    out.mkdir(parents=True, exist_ok=True)
    angles = (view_angles(cameras[None])[0] * (180 / math.pi)).round().int().tolist()
    heads = [f"azimuth {azimuth % 360}, elevation {elevation}" for azimuth, elevation in angles]
    write_picture(sheet(rows, scale=max(1, 160 // pictures.shape[-1]), heads=heads), out / "sheet.png")
    views = []
    for i, (picture, camera) in enumerate(zip(pictures, cameras, strict=True)):
        write_picture(to_picture(picture), out / f"view_{i:02d}.png")
        views.append(
            {
                "view": i,
                "K": k_of(camera).tolist(),
                "c2w": c2w_of(camera).tolist(),
                **dict(zip(("near", "far", "orthographic", "width", "height"), camera[NEAR:].tolist(), strict=True)),
            }
        )
    head = {"conventions": "OpenCV axes (x right, y down, z forward), z-up world, K in pixels, centres at +0.5"}
    Store(out).put("cameras.json", json.dumps({**head, "views": views}, indent=1).encode())
