"""Pixels: from Blender's passes to the members of a shard, and back.

    <uid>.cameras.json    where each view was taken from, and what the numbers mean (docs/formats.md)
    <uid>.00.rgba.png     8-bit sRGB (Standard view transform), straight alpha
    <uid>.00.WORD.rgba.png  the same in a further look, where a set has several
    <uid>.00.depth.png    16-bit planar depth, linear between the view's near and far; 0 = no depth
    <uid>.00.normal.png   and other channels, see channels.py

More than a hundred views count in three digits. The same pixels give the same bytes.
"""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from dataengine.corpus.schema import CHANNELS
from dataengine.errors import DataengineError
from dataengine.render.blender.protocol import Camera
from dataengine.render.channels import Channels, channels_of, decode_channel, describe, encode_channel
from dataengine.render.colour import to_srgb
from dataengine.render.passes import ALPHA_THRESHOLD, Passes, read_passes

FORMAT = "dataengine.cameras/1"

CONVENTIONS = {
    "world": "z up, right-handed; normalised = scale * original + offset",
    "c2w": "camera to world; camera axes as in OpenCV: x right, y down, z forward",
    "K": "pixels; pixel centres at +0.5; u = fx * x/z + cx, orthographic: u = fx * x + cx (fx = pixels per world unit)",
    "azimuth": "degrees, 0 on +x, counter-clockwise seen from +z",
    "elevation": "degrees above the horizon",
    "depth": "planar z in world units: near + (value - 1) / 65534 * (far - near); 0 = none",
    "colour": "sRGB, straight alpha, Standard view transform",
}

UInt8 = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Views:
    """The rendered views of one asset.

    Attributes:
        cameras: one per view, in the rig's order.
        rgba: (V, H, W, 4) uint8, sRGB, straight alpha; colour is 0 where alpha is. None in a set without colour.
        depth: (V, H, W) float32, planar z in units of the normalised object; 0 = none.
        channels: what else there is of each view.
    """

    cameras: Sequence[Camera]
    rgba: UInt8 | None
    depth: Float
    channels: Channels = field(default_factory=lambda: Channels({}))

    @property
    def covered(self) -> npt.NDArray[np.bool_]:
        """(V, H, W): the pixels that the object covers by half; without colour, those that have depth."""
        return self.depth > 0 if self.rgba is None else self.rgba[..., 3] >= ALPHA_THRESHOLD * 255


@dataclass(frozen=True)
class ViewsHeader:
    """What cameras.json says of all views together.

    Attributes:
        rig, look: names.
        normalisation: the rig's mode: sphere, cube or diagonal.
        scale, offset: normalised = scale * original + offset, in the z-up world.
        drawn: what was left to chance, see docs/formats.md.
    """

    rig: str
    look: str
    normalisation: str
    scale: float
    offset: Sequence[float]
    drawn: Mapping[str, Any] = field(default_factory=dict)


def read_exr(paths: Iterable[str | Path], cameras: Sequence[Camera]) -> Views:
    """Reads what one asset's render calls left behind; see `views_of`."""
    return views_of(read_passes(paths), cameras)


def views_of(passes: Passes, cameras: Sequence[Camera], channels: Iterable[str] = (), *, colour: bool = True) -> Views:
    """The pixels as they are stored.

    Args:
        passes: of the render calls of one asset.
        cameras: of its views.
        channels: names of those that were rendered.
        colour: whether colour was.

    Raises:
        DataengineError: if there are more or fewer views than cameras, or no depth of them.
    """
    picture = passes.planes.get("", {})
    if not {"R", "G", "B", "A", "Z"} <= picture.keys() or len(picture["A"]) != len(cameras):
        found = len(picture.get("A", []))
        raise DataengineError(f"Blender left {found} views of {len(cameras)}, or no depth of them")
    rgba = [to_srgb(*planes) for planes in zip(*(picture[c] for c in "RGBA"), strict=True)] if colour else []
    depth, layer = passes.depth_and_layer(cameras)
    more = channels_of(passes, depth, layer, tuple(channels))
    return Views(cameras, np.stack(rgba) if colour else None, depth, more)


def encode_depth(depth: Float, near: float, far: float) -> bytes:
    """(H, W) planar depth, 0 = none, as a 16-bit PNG: 1 at near, 65535 at far."""
    values = np.clip((depth - near) * (65534 / (far - near)) + 1.5, 1, 65535).astype(np.uint16)
    values[depth <= 0] = 0
    return _png(Image.fromarray(values))


def decode_depth(png: bytes, near: float, far: float) -> Float:
    """The inverse of `encode_depth`: (H, W) float32 planar depth in world units, 0 where there is none.

    Args:
        png: a `NN.depth.png`.
        near, far: of the same view, from cameras.json.
    """
    values = np.asarray(Image.open(io.BytesIO(png)), np.float32)
    depth = np.float32(near) + (values - 1) * np.float32((far - near) / 65534)
    return np.where(values > 0, depth, np.float32(0))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "png", compress_level=PNG_LEVEL)
    return buffer.getvalue()


# Of a textured view's bytes, level 4 saves 12 % over level 1 for a fifth more time; 6 saves 3 % more for 2.5 times it.
PNG_LEVEL = 4


def to_members(views: Views, header: ViewsHeader) -> dict[str, bytes]:
    """The shard members of one asset: {extension: content}, cameras.json first."""
    height, width = views.depth.shape[1:]
    channels = views.channels.arrays
    colour = views.rgba is not None
    members = {"cameras.json": cameras_json(views.cameras, width, height, header, tuple(channels), colour=colour)}
    for i, (camera, depth) in enumerate(zip(views.cameras, views.depth, strict=True)):
        stem = view_stem(i, len(views.cameras))
        if views.rgba is not None:
            members[f"{stem}.rgba.png"] = _png(Image.fromarray(views.rgba[i]))
        members[f"{stem}.depth.png"] = encode_depth(depth, camera.near, camera.far)
        members |= {f"{stem}.{name}.png": encode_channel(name, all_[i], PNG_LEVEL) for name, all_ in channels.items()}
    return members


def look_members(passes: Passes, words: Mapping[str, str]) -> dict[str, bytes]:
    """The colour of further looks: {`NN.<word>.rgba.png`: content}.

    Args:
        passes: of the asset.
        words: layer of a look in the passes → what its members are called.

    Raises:
        DataengineError: if Blender left no picture of a look.
    """
    members = {}
    for layer, word in words.items():
        planes = passes.planes.get(layer)
        if planes is None or not set("RGBA") <= planes.keys():
            raise DataengineError(f"Blender left no picture in the look {word}")
        count = len(planes["A"])
        for i, picture in enumerate(zip(*(planes[c] for c in "RGBA"), strict=True)):
            members[f"{view_stem(i, count)}.{word}.rgba.png"] = _png(Image.fromarray(to_srgb(*picture)))
    return members


def view_stem(index: int, count: int) -> str:
    """`00`, `01` … — as many digits as the last view needs, at least two."""
    return f"{index:0{max(2, len(str(count - 1)))}d}"


def cameras_json(
    cameras: Sequence[Camera],
    width: int,
    height: int,
    header: ViewsHeader,
    channels: Iterable[str] = (),
    *,
    colour: bool = True,
) -> bytes:
    """The bytes of cameras.json, one view a line."""
    head = {
        "format": FORMAT,
        "rig": header.rig,
        "look": header.look,
        "width": width,
        "height": height,
        "alpha_threshold": ALPHA_THRESHOLD,
        "normalisation": {
            "mode": header.normalisation,
            "scale": float(header.scale),
            "offset": [float(x) for x in header.offset],
        },
        **({"drawn": dict(header.drawn)} if header.drawn else {}),
        "conventions": {name: words for name, words in CONVENTIONS.items() if colour or name != "colour"},
    }
    if described := describe(channels):
        head["channels"] = described
    views = []
    for camera in cameras:
        view = {key: value for key, value in asdict(camera).items() if key not in ("c2w", "K")}
        view |= {key: float(view[key]) for key in ("near", "far", "azimuth", "elevation")}
        if camera.orthographic:
            view["ortho_scale"] = width / camera.K[0][0]
        views.append(json.dumps({**view, "width": width, "height": height, "K": camera.K, "c2w": camera.c2w}))
    text = json.dumps(head, indent=1)[:-2]
    return (text + ',\n "views": [\n  ' + ",\n  ".join(views) + "\n ]\n}\n").encode()


def parse_cameras(content: bytes) -> list[Camera]:
    """The cameras of a cameras.json.

    Raises:
        DataengineError: if it is something else.
    """
    try:
        data = json.loads(content)
        if data["format"] != FORMAT:
            raise DataengineError(f"cameras.json is of format {data['format']!r}, this reads {FORMAT!r}")
        names = Camera.__dataclass_fields__
        return [Camera(**{k: v for k, v in view.items() if k in names}) for view in data["views"]]
    except (ValueError, KeyError, TypeError) as e:
        raise DataengineError(f"not a cameras.json: {e}") from e


def load_views(members: Mapping[str, bytes]) -> Views:
    """The inverse of `to_members`.

    Args:
        members: {extension: content} of one uid, as any WebDataset reader or `read_member` gives them.

    Returns:
        Views; depth is true to within half a step, (far - near) / 131068.

    Raises:
        DataengineError: if a member is missing.
    """
    try:
        cameras = parse_cameras(members["cameras.json"])
        stems = [view_stem(i, len(cameras)) for i in range(len(cameras))]
        colour = "colour" in json.loads(members["cameras.json"]).get("conventions", CONVENTIONS)
        rgba = [np.asarray(Image.open(io.BytesIO(members[f"{s}.rgba.png"]))) for s in stems if colour]
        depth = [decode_depth(members[f"{s}.depth.png"], c.near, c.far) for s, c in zip(stems, cameras, strict=True)]
        present = [c for c in CHANNELS if f"{stems[0]}.{c}.png" in members]
        channels = {c: np.stack([decode_channel(c, members[f"{s}.{c}.png"]) for s in stems]) for c in present}
    except KeyError as e:
        raise DataengineError(f"the asset has no member {e.args[0]}") from e
    return Views(cameras, np.stack(rgba) if colour else None, np.stack(depth), Channels(channels))
