"""`dataengine sample`: an image or a prompt in, views of the object with their cameras out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dataengine.corpus.storage import Store
from dataengine.errors import UsageError
from dataengine.training import checkpoints
from dataengine.training.config import Sampling, TrainStage
from dataengine.training.contact_sheet import (
    Codec,
    Colour,
    decode_views,
    load_image,
    sheet,
    to_picture,
    write_picture,
)
from dataengine.training.data.camera_columns import c2w_of, k_of, view_angles
from dataengine.training.model.view_model import ViewModel
from dataengine.training.sampler import generate
from dataengine.training.text import text_tokenizer


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


def load_run(run: Path, stages: tuple[TrainStage, ...] = ("t2mv", "i2mv", "pretrain"), device: str = "cpu") -> Trained:
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


def sample(
    run: Path,
    out: Path,
    codec: Codec,
    *,
    image: Path | None = None,
    prompt: str = "",
    views: int = 4,
    sampling: Sampling,
    seed: int = 0,
    device: str = "cpu",
) -> list[str]:
    """Draws one object.

    Args:
        run: with a checkpoint of stage i2mv (for an image; t2mv will do) or t2mv (for a prompt alone).
        out: folder for sheet.png, view_00.png …, and cameras.json.
        codec: the run's tokenizer.
        image: what view 0 shows; kept as it is, up to the tokenizer's own loss.
        prompt: a caption; may accompany an image.
        views: how many, evenly spaced on the cameras that the run was trained on.
        sampling, seed: see sampler.py.

    Returns:
        Lines for the person who asked: what was done to the image, what was written.

    Raises:
        UsageError: if there is neither image nor prompt, or the run's cameras do not allow so many views.
    """
    if image is None and not prompt:
        raise UsageError("give --image, --prompt or both")
    trained = load_run(run, ("i2mv", "t2mv") if image is not None else ("t2mv",), device)
    state, grid = trained.state, trained.state.model.grid
    cameras = choose_cameras(state, views)
    codes = torch.full((1, views, state.model.view_tokens), state.model.mask)
    notes: list[str] = []
    if image is not None:
        factor = state.tokenizer["factor"]
        pixels, notes = load_image(image, grid[0] * factor, grid[1] * factor, background_of(state.tokenizer))
        codes[0, 0] = codec.encode(pixels.to(trained.device)).flatten().cpu()
    text = text_tokenizer().encode([prompt])
    angles = view_angles(cameras[None])
    pictures = decode_views(codec, generate(trained.model, text, codes, angles, sampling, seed), grid)[0]
    _write(out, pictures, cameras, prompt or (image.name if image else ""))
    return [*notes, f"{views} views of {trained.checkpoint}: {out / 'sheet.png'}"]


def choose_cameras(state: checkpoints.RunState, views: int) -> Tensor:
    """(views, 30): every n-th camera of the run's rig, from the first.

    Raises:
        UsageError: if the rig's number of cameras is not a multiple of `views`.
    """
    rig = torch.tensor(state.cameras)
    if views < 1 or len(rig) % views:
        raise UsageError(f"{views} views cannot be spaced evenly on the run's {len(rig)} cameras: choose a divisor")
    return rig[:: len(rig) // views]


def background_of(tokenizer: Mapping[str, Any]) -> Colour:
    """The colour that the tokenizer's views were composited over; white where the shards do not say."""
    r, g, b = tokenizer.get("background") or (255, 255, 255)
    return int(r), int(g), int(b)


def _write(out: Path, pictures: Tensor, cameras: Tensor, title: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_picture(sheet([(title, pictures)]), out / "sheet.png")
    rows = []
    for i, (picture, camera) in enumerate(zip(pictures, cameras, strict=True)):
        write_picture(to_picture(picture), out / f"view_{i:02d}.png")
        rows.append({"view": i, "K": k_of(camera).tolist(), "c2w": c2w_of(camera).tolist()})
    head = {"conventions": "OpenCV axes (x right, y down, z forward), z-up world, K in pixels, centres at +0.5"}
    Store(out).put("cameras.json", json.dumps({**head, "views": rows}, indent=1).encode())
