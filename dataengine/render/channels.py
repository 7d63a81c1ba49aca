"""Channels of a view beside colour and depth: from Blender's passes to PNGs, and what cameras.json says of them.

    <uid>.00.normal.png   16-bit RGB: shading normal in the world, n = value / 65535 * 2 - 1
    <uid>.00.albedo.png   8-bit RGB: base colour, sRGB
    <uid>.00.orm.png      8-bit RGB: 255 (no occlusion is rendered), roughness, metallic
    <uid>.00.id.png       16-bit grey: which object

A normal is the mean over the samples that meet the object, and so are albedo and orm; an id is that of the sample that
has the depth. 8 bits a normal would be off by 0.18° in the mean (steps of 2 / 255) and by 0.4° at most, and show as
bands in what is lit by it; 16 bits by 0.0015°.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from dataengine.corpus.schema import CHANNELS
from dataengine.errors import DataengineError
from dataengine.render import png16
from dataengine.render.blender.protocol import RenderRequest
from dataengine.render.colour import to_srgb
from dataengine.render.exr import most_bytes
from dataengine.render.passes import Passes

Array = npt.NDArray[Any]
Float = npt.NDArray[np.float32]
Layer = npt.NDArray[np.int8]

PLANES = {
    "normal": (
        *(f"Normal.{c}" for c in "XYZ"),
        *(f"channel_{kind}.{c}" for kind in ("normal", "geometric") for c in "RGBA"),
    ),
    "albedo": tuple(f"channel_albedo.{c}" for c in "RGBA"),
    "orm": tuple(f"channel_orm.{c}" for c in "RGBA"),
    "id": ("IndexOB.X",),
}
"""What Blender writes for each, beside its picture."""
UNWRITTEN = 0.8
"""Base colour of geometry without a material that its modifiers make: Cycles' own, and no output can be added to it."""
BEYOND = 1 / 255  # outside 0 … 1 by more: clipped

DESCRIPTIONS: Mapping[str, Mapping[str, Any]] = {
    "normal": {
        "encoding": "16-bit RGB, n = value / 65535 * 2 - 1; 0 0 0 = none",
        "space": "world, z up",
        "meaning": "shading normal (smooth shading and normal maps) of the side that is seen",
        "samples": "mean, of length 1 again",
    },
    "albedo": {
        "encoding": "8-bit RGB, sRGB; 0 0 0 where there is none",
        "meaning": "base colour, of metals too; the colour of what only emits light",
        "samples": "mean in linear light",
    },
    "orm": {
        "encoding": "8-bit RGB, linear, value / 255; 0 0 0 where there is none",
        "meaning": "R is 255: no occlusion is rendered; G roughness, B metallic, as in glTF",
        "samples": "mean",
    },
    "id": {
        "encoding": "16-bit grey, the number of an object from 1; 0 = none",
        "meaning": "objects in the order of their names in Blender; instances of one share its number",
        "samples": "one, that of the depth",
    },
}


@dataclass(frozen=True)
class Channels:
    """Of one asset's views, by name, as `decode_channel` reads them back.

    Attributes:
        arrays: normal (V, H, W, 3) float32 of length 1, 0 = none; albedo and orm (V, H, W, 3) uint8; id (V, H, W)
            uint16, 0 = none.
        triangle_normals: (V, H, W, 3) float32, of the flat triangles; only checks need it. None without normals.
        albedo_clipped: share of the object's pixels whose base colour was outside 0 … 1; None without albedo.
    """

    arrays: Mapping[str, Array]
    triangle_normals: Float | None = None
    albedo_clipped: float | None = None


def most_bytes_of(request: RenderRequest) -> int:
    """More than Blender writes for a request."""
    planes = 8 + sum(len(PLANES[name]) for name in request.channels)
    return most_bytes(request.width, request.height, len(request.cameras) * (1 + len(request.more_looks)), planes)


def channels_of(passes: Passes, depth: Float, layer: Layer, names: Sequence[str]) -> Channels:
    """The channels of these names.

    Args:
        passes: of one asset.
        depth, layer: as its `depth_and_layer` gives them.
        names: of CHANNELS.

    Raises:
        DataengineError: if Blender left no such planes, or not for all views.
    """
    if not names:
        return Channels({})
    for name in names:
        for own in passes.layers:
            shapes = {passes.planes[own][p].shape if p in passes.planes[own] else None for p in PLANES[name]}
            if shapes != {depth.shape}:
                raise DataengineError(f"Blender left no {name} of some views")
    seen = (passes.plane("A", layer) > 0) & (passes.planes[""]["A"] > 0)
    arrays: dict[str, Array] = {}
    triangles = clipped = None
    if "normal" in names:
        cycles, shading, flat = (_stacked(passes, layer, PLANES["normal"][i : i + 3]) for i in (0, 3, 7))
        written = passes.plane("channel_normal.A", layer)[..., None] > 0  # else modifiers made it, without a material
        arrays["normal"] = unit(np.where(written, shading, cycles), seen)
        triangles = unit(flat, seen)
    if "albedo" in names:
        linear = _mean(passes, layer, "channel_albedo", seen, (UNWRITTEN,) * 3)
        outside = ((linear < -BEYOND) | (linear > 1 + BEYOND)).any(-1)
        clipped = float(outside[seen].mean()) if seen.any() else 0.0
        opaque = seen.astype(np.float32)
        pixels = [to_srgb(view[..., 0], view[..., 1], view[..., 2], a) for view, a in zip(linear, opaque, strict=True)]
        arrays["albedo"] = np.stack(pixels)[..., :3]
    if "orm" in names:
        values = _mean(passes, layer, "channel_orm", seen, (1.0, 1.0, 0.0))
        values[..., 0] = seen
        arrays["orm"] = (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)
    if "id" in names:
        index = np.nan_to_num(passes.plane("IndexOB.X", layer))
        arrays["id"] = np.where(depth > 0, np.clip(index, 0, 65535), 0).astype(np.uint16)
    return Channels(arrays, triangles, clipped)


def _stacked(passes: Passes, layer: Layer, planes: Sequence[str]) -> Float:
    return np.nan_to_num(np.stack([passes.plane(name, layer) for name in planes], -1), posinf=0.0, neginf=0.0)


def _mean(passes: Passes, layer: Layer, name: str, seen: npt.NDArray[np.bool_], unwritten: Sequence[float]) -> Float:
    """(V, H, W, 3): over the samples that meet the object; 0 elsewhere."""
    total = _stacked(passes, layer, [f"{name}.{c}" for c in "RGBA"])
    coverage = np.where(seen, passes.plane("A", layer), 1)
    mean = np.where(seen[..., None], total[..., :3] / coverage[..., None], 0)
    mean[seen & (total[..., 3] <= 0)] = unwritten
    return np.asarray(mean, np.float32)


def unit(vectors: Float, seen: npt.NDArray[np.bool_]) -> Float:
    """(…, 3) vectors of length 1; 0 where nothing is seen, or they cancel."""
    length = np.sqrt(np.einsum("...i,...i->...", vectors, vectors))
    known = seen & (length > 1e-6)
    return np.asarray(np.where(known[..., None], vectors / np.where(known, length, 1)[..., None], 0), np.float32)


def encode_channel(name: str, view: Array, level: int) -> bytes:
    """One view of a channel, as Channels.arrays has it → its PNG, compressed by zlib's level."""
    if name == "normal":
        return png16.encode(normal_to_png(view), level)
    buffer = io.BytesIO()
    Image.fromarray(view).save(buffer, "png", compress_level=level)
    return buffer.getvalue()


def normal_to_png(normal: Float) -> npt.NDArray[np.uint16]:
    """(H, W, 3) normals, 0 = none → as they are stored."""
    values = ((np.clip(normal, -1, 1) + 1) * np.float32(32767.5) + np.float32(0.5)).astype(np.uint16)
    values[~normal.any(-1)] = 0
    return values


def normal_from_png(stored: npt.NDArray[Any]) -> Float:
    """(H, W, 3) uint16, or uint8 where a reader has kept the upper byte → normals of length 1, 0 = none."""
    scale, half = (65535, 0.0) if stored.dtype == np.uint16 else (256, 0.5)
    vectors = (stored.astype(np.float32) + np.float32(half)) * np.float32(2 / scale) - 1
    return unit(vectors, stored.any(-1))


def decode_channel(name: str, png: bytes) -> Array:
    """The inverse of `encode_channel`.

    Raises:
        ValueError: if the file is not what it should be.
    """
    if name == "normal":
        return normal_from_png(png16.decode(png))
    with Image.open(io.BytesIO(png)) as image:
        pixels = np.asarray(image)
    return pixels.astype(np.uint16) if name == "id" else pixels


def describe(names: Iterable[str]) -> dict[str, Any]:
    """What cameras.json says of these channels."""
    return {name: {"member": f"NN.{name}.png", **DESCRIPTIONS[name]} for name in CHANNELS if name in names}
