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
Bool = npt.NDArray[np.bool_]
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
        cycles, shading, flat = (passes.at(PLANES["normal"][i : i + 3], layer, seen) for i in (0, 3, 7))
        written = passes.at(("channel_normal.A",), layer, seen) > 0  # else modifiers made it, without a material
        arrays["normal"] = _spread(unit(np.where(written, shading, cycles)), seen)
        triangles = _spread(unit(flat), seen)
    if "albedo" in names:
        linear = _mean(passes, layer, "channel_albedo", seen, (UNWRITTEN,) * 3)
        outside = nonzero((linear < -BEYOND) | (linear > 1 + BEYOND))
        clipped = float(outside.mean()) if outside.size else 0.0
        srgb = to_srgb(linear[:, 0], linear[:, 1], linear[:, 2], np.ones(len(linear), np.float32))
        arrays["albedo"] = _spread(srgb[:, :3], seen)
    if "orm" in names:
        values = _mean(passes, layer, "channel_orm", seen, (1.0, 1.0, 0.0))
        values[:, 0] = 1
        arrays["orm"] = _spread((np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8), seen)
    if "id" in names:
        index = np.nan_to_num(passes.plane("IndexOB.X", layer))
        arrays["id"] = np.where(depth > 0, np.clip(index, 0, 65535), 0).astype(np.uint16)
    return Channels(arrays, triangles, clipped)


def _mean(passes: Passes, layer: Layer, name: str, seen: Bool, unwritten: Sequence[float]) -> Float:
    """(N, 3): of every pixel that is seen, over the samples that meet the object."""
    total = passes.at([f"{name}.{c}" for c in "RGBA"], layer, seen)
    coverage = passes.at(("A",), layer, seen)
    mean: Float = total[:, :3] / np.where(coverage > 0, coverage, 1)  # 0 where it was infinite
    mean[total[:, 3] <= 0] = unwritten
    return mean


def _spread(values: Array, seen: Bool) -> Array:
    """(N, 3) values of the pixels that are seen → (…, 3), 0 elsewhere."""
    out = np.zeros((seen.size, 3), values.dtype)
    out[np.flatnonzero(seen)] = values
    return out.reshape(*seen.shape, 3)


def nonzero(vectors: Array) -> Bool:
    """Where any of the three components (…, 3) is not 0: what `any(-1)` says, in a sixth of its time."""
    return np.asarray((vectors[..., 0] != 0) | (vectors[..., 1] != 0) | (vectors[..., 2] != 0))


def unit(vectors: Float) -> Float:
    """(N, 3) vectors of length 1; 0 where they cancel."""
    length = np.sqrt(np.einsum("ni,ni->n", vectors, vectors))
    there = length > 1e-6
    return np.asarray(np.where(there[:, None], vectors / np.where(there, length, 1)[:, None], 0), np.float32)


def encode_channel(name: str, view: Array, level: int) -> bytes:
    """One view of a channel, as Channels.arrays has it → its PNG; `level` is zlib's, of all but normals."""
    if name == "normal":
        return png16.encode(normal_to_png(view))
    buffer = io.BytesIO()
    Image.fromarray(view).save(buffer, "png", compress_level=level)
    return buffer.getvalue()


def normal_to_png(normal: Float) -> npt.NDArray[np.uint16]:
    """(H, W, 3) normals, 0 = none → as they are stored."""
    there = nonzero(normal)
    return _spread(
        ((np.clip(normal[there], -1, 1) + 1) * np.float32(32767.5) + np.float32(0.5)).astype(np.uint16), there
    )


def normal_from_png(stored: npt.NDArray[Any]) -> Float:
    """(H, W, 3) uint16, or uint8 where a reader has kept the upper byte → normals of length 1, 0 = none."""
    scale, half = (65535, 0.0) if stored.dtype == np.uint16 else (256, 0.5)
    there = nonzero(stored)
    vectors = (stored[there].astype(np.float32) + np.float32(half)) * np.float32(2 / scale) - 1
    return _spread(unit(vectors), there)


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
