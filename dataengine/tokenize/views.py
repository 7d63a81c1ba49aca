"""One asset of a views shard, read by range and made ready for the encoder."""

import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dataengine.corpus.shards import read_members
from dataengine.corpus.storage import Store
from dataengine.errors import AssetFailure, DataengineError, ErrorCode
from dataengine.tokenize.images import Colour, UInt8, composite, decode_png, scale_down

CAMERA_COLUMNS = (
    *(f"K{row}{column}" for row in range(3) for column in range(3)),
    *(f"c2w{row}{column}" for row in range(4) for column in range(4)),
    "near",
    "far",
    "orthographic",
    "width",
    "height",
)
"""Of a row of `cameras.npy`, one row per view: K in pixels, camera to world (OpenCV axes, z-up world), the depth range,
1 where rays are parallel, and the pixels of the image that K belongs to."""

COLOUR = "rgba"
COLOUR_LIKE = (COLOUR, "normal", "albedo", "orm")
"""Channels whose pictures a tokenizer can take for colours."""


@dataclass(frozen=True)
class AssetViews:
    """What the encoder needs of one asset.

    Attributes:
        rgb: (V, H, W, 3) uint8, composited over the background.
        covered: (V, H, W) bool, alpha above 0.
        cameras: (V, 30) float32, see CAMERA_COLUMNS.
        caption: as it stands in the views shard, or None.
    """

    rgb: npt.NDArray[np.uint8]
    covered: npt.NDArray[np.bool_]
    cameras: npt.NDArray[np.float32]
    caption: bytes | None


def read_views(
    store: Store, row: Mapping[str, Any], background: Colour, resolution: int | None = None, channel: str = COLOUR
) -> AssetViews:
    """Reads one channel of the views of a row of the views fragment.

    Args:
        store, row: where they are.
        background: what they are composited over.
        resolution: side to scale them down to, cameras included; None: as rendered.
        channel: `rgba`, or another that holds colours: `NN.<channel>.png`.

    Raises:
        AssetFailure: SHA_MISMATCH where bytes are missing or have changed, MALFORMED where they are not views.
        UsageError: if the views are smaller than `resolution`.
        DataengineError: if the store cannot be reached.
    """
    members = {m["name"]: m for m in row["members"]}
    of_channel = re.compile(rf"(\d+)\.{re.escape(channel)}\.png")
    names = sorted((m for m in members if of_channel.fullmatch(m)), key=lambda m: int(m.split(".")[0]))
    if not names or "cameras.json" not in members:
        raise AssetFailure(ErrorCode.MALFORMED, f"the views shard has no {channel} or no cameras of it")
    colours = [_colour_of(name) for name in names]
    wanted = [name for name in dict.fromkeys((*names, *colours, "cameras.json", "txt")) if name in members]
    content = dict(zip(wanted, _read(store, row, [members[name] for name in wanted]), strict=True))
    images = []
    for name in names:
        try:
            image = decode_png(content[name])
            images.append(image if channel == COLOUR else _covered_as(image, content.get(_colour_of(name))))
        except DataengineError as e:
            raise AssetFailure(ErrorCode.MALFORMED, f"{name}: {e}") from e
    if len({i.shape for i in images}) > 1:
        raise AssetFailure(ErrorCode.MALFORMED, "its views are not of one size")
    rgba = np.stack(images)
    cameras = pack_cameras(content["cameras.json"], rgba.shape[2], rgba.shape[1])
    if len(cameras) != len(rgba):
        raise AssetFailure(ErrorCode.MALFORMED, f"it has {len(rgba)} views and {len(cameras)} cameras")
    rgb, covered = composite(rgba, background), rgba[..., 3] > 0
    if resolution is not None:
        cameras = scale_cameras(cameras, resolution / rgba.shape[2])
        covered = np.stack([scale_down(c * np.uint8(255), resolution) > 0 for c in covered])
        rgb = np.stack([scale_down(image, resolution) for image in rgb])
    return AssetViews(rgb, covered, cameras, content.get("txt"))


def _colour_of(name: str) -> str:
    """`NN.<channel>.png` → the colour of the same view."""
    return f"{name.split('.')[0]}.{COLOUR}.png"


def _covered_as(image: UInt8, colour: bytes | None) -> UInt8:
    """A channel's picture, (H, W, 4), with the alpha of the colour; without colour, what is black is not covered."""
    alpha = image[..., :3].any(-1) * np.uint8(255) if colour is None else decode_png(colour)[..., 3]
    if alpha.shape != image.shape[:2]:
        raise DataengineError("it is not of the size of its colour")
    return np.dstack([image[..., :3], alpha])


def scale_cameras(cameras: npt.NDArray[np.float32], factor: float) -> npt.NDArray[np.float32]:
    """(…, 30) cameras of the same views at `factor` times the resolution: K and the image's size change."""
    pixels = [*range(6), CAMERA_COLUMNS.index("width"), CAMERA_COLUMNS.index("height")]  # K's last row is 0 0 1
    out = cameras.copy()
    out[..., pixels] *= factor
    return out


def pack_cameras(content: bytes, width: int, height: int) -> npt.NDArray[np.float32]:
    """cameras.json → (V, 30) float32 as in CAMERA_COLUMNS. Raises AssetFailure if it is something else."""
    try:
        rows = [
            [
                *np.asarray(view["K"], np.float64).reshape(9),
                *np.asarray(view["c2w"], np.float64).reshape(16),
                view["near"],
                view["far"],
                float(view["orthographic"]),
                view.get("width", width),
                view.get("height", height),
            ]
            for view in json.loads(content)["views"]
        ]
        return np.asarray(rows, np.float32).reshape(len(rows), len(CAMERA_COLUMNS))
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise AssetFailure(ErrorCode.MALFORMED, f"cameras.json cannot be read: {type(e).__name__}: {e}") from e


def npy(array: npt.NDArray[Any]) -> bytes:
    """The bytes of a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _read(store: Store, row: Mapping[str, Any], members: Sequence[Mapping[str, Any]]) -> list[bytes]:
    try:
        return read_members(store, row["tar"], members)
    except DataengineError as e:
        # A tar that is gone, cut or changed costs the asset; a store that cannot be reached ends the run.
        if e.__cause__ is None or isinstance(e.__cause__, FileNotFoundError):
            raise AssetFailure(ErrorCode.SHA_MISMATCH, str(e)) from e
        raise
