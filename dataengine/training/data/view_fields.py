"""What a sample of `Views` may have, by name: the channels that are stored, and what follows from them.

Pictures are planar, (views, channels, rows, columns), in float32 unless said. `FIELDS` says which members each needs.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import kornia_rs
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from torch import Tensor

from dataengine.errors import DataengineError
from dataengine.geometry import tensors
from dataengine.render.blender.protocol import Camera
from dataengine.render.channels import normal_from_png
from dataengine.tokenize.images import Colour

Float = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Settings:
    """How pictures are made ready.

    Attributes:
        rendered: pixels a side, as stored.
        side: pixels a side, as asked for.
        dtype: of colours: float32 in [0, 1] or uint8.
    """

    rendered: int
    side: int
    dtype: torch.dtype


class Kind(NamedTuple):
    """How a PNG stores pixels: as Pillow calls it, and as kornia-rs decodes it."""

    words: str
    decode: Callable[[bytes, tuple[int, int], str], npt.NDArray[Any]]
    mode: str


GREY_16 = Kind("I;16", kornia_rs.io.decode_image_png_u16, "mono")
RGB = Kind("RGB", kornia_rs.io.decode_image_png_u8, "rgb")
RGB_16 = Kind("RGB", kornia_rs.io.decode_image_png_u16, "rgb")
RGBA = Kind("RGBA", kornia_rs.io.decode_image_png_u8, "rgba")


class AssetViews:
    """The chosen views of one asset; each part is made when it is asked for.

    Args:
        cameras: of the chosen views.
        members: by suffix, the name and the content of each chosen view's PNG.
        settings: how pictures are made ready.
        background: sRGB, 0 to 255, that colour is composited over; None: straight colour, 0 where alpha is.
    """

    def __init__(
        self,
        cameras: Sequence[Camera],
        members: Mapping[str, Sequence[tuple[str, bytes]]],
        settings: Settings,
        background: Colour | None,
    ) -> None:
        self.cameras, self.side = cameras, settings.side
        self._members, self._settings, self._background = members, settings, background

    def values(self, of: Callable[[Camera], Any]) -> Tensor:
        """A number, or a matrix, of each camera, float32."""
        return torch.tensor([of(camera) for camera in self.cameras], dtype=torch.float32)

    @cached_property
    def K(self) -> Tensor:
        factor = self.side / self._settings.rendered
        return tensors.scale_intrinsics(self.values(lambda c: c.K), factor, factor)

    @cached_property
    def c2w(self) -> Tensor:
        return self.values(lambda c: c.c2w)

    @cached_property
    def w2c(self) -> Tensor:
        return tensors.inverse_pose(self.c2w)

    @cached_property
    def orthographic(self) -> Tensor:
        return torch.tensor([camera.orthographic for camera in self.cameras])

    @cached_property
    def _rgba(self) -> tuple[UInt8, UInt8]:
        """(V, 3, H, W) colour over the background, or straight, and (V, 1, H, W) alpha, as many pixels as rendered."""
        count, side, behind = len(self.cameras), self._settings.rendered, self._background
        colour, alpha = np.zeros((count, 3, side, side), np.uint8), np.zeros((count, 1, side, side), np.uint8)
        for light, opacity, member in zip(colour, alpha, self._members["rgba.png"], strict=True):
            picture = Image.fromarray(self._open(*member, RGBA))
            # What is transparent all around is most of many pictures.
            left, top, right, bottom = box = picture.getbbox() or (0, 0, 0, 0)
            own = picture.crop(box)
            opacity[:, top:bottom, left:right] = _planes(own.getchannel("A"))
            if behind is not None:
                light[:] = np.reshape(behind, (3, 1, 1))
                over = Image.new("RGB", own.size, tuple(behind))
                over.paste(own, mask=own)
                own = over
            light[:, top:bottom, left:right] = _planes(own)[:3]
        return colour, alpha

    @cached_property
    def alpha(self) -> Float | UInt8:
        """(V, 1, H, W)."""
        alpha = self._rgba[1]
        return alpha if self._whole else shrink_mean(unit(alpha), self.side)

    @cached_property
    def colour(self) -> Float | UInt8:
        """(V, 3, H, W)."""
        colour, alpha = self._rgba
        if self._whole:
            return colour
        if self._background is not None:
            return shrink_mean(unit(colour), self.side)
        lit, total = shrink_mean(unit(colour) * unit(alpha), self.side), self.alpha
        return np.divide(lit, total, out=np.zeros_like(lit), where=total > 0)

    @property
    def _whole(self) -> bool:
        return self.side == self._settings.rendered

    def picture(self, values: Float | UInt8) -> Tensor:
        """Values in [0, 1], or bytes, in the dtype that was asked for."""
        if self._settings.dtype == torch.uint8:
            return torch.from_numpy(values if values.dtype == np.uint8 else (values * 255 + 0.5).astype(np.uint8))
        return torch.from_numpy(unit(values) if values.dtype == np.uint8 else values)

    def stored(self, suffix: str, kind: "Kind") -> Iterator[npt.NDArray[Any]]:
        """(C, H, W) of each view's PNG as stored: of the pixels that hold the centres of those asked for."""
        for member in self._members[suffix]:
            yield pick_nearest(np.moveaxis(self._open(*member, kind), -1, 0), self.side)

    @cached_property
    def depth(self) -> Float:
        """(V, 1, H, W) planar, world units, 0 = none; of the pixel that is nearest to each centre."""
        out = np.empty((len(self.cameras), 1, self.side, self.side), np.float32)
        for view, camera, stored in zip(out, self.cameras, self.stored("depth.png", GREY_16), strict=True):
            step = np.float32((camera.far - camera.near) / 65534)
            np.multiply(stored, step, out=view)
            view += np.float32(camera.near) - step
            np.copyto(view, 0, where=stored == 0)
        return out

    @cached_property
    def points(self) -> Tensor:
        """(V, 3, H, W) in the world, 0 where there is no depth."""
        out = torch.zeros(len(self.cameras), self.side * self.side, 3)
        for view, depth, K, c2w, camera in zip(
            out, torch.from_numpy(self.depth[:, 0]), self.K, self.c2w, self.cameras, strict=True
        ):
            found, pixels = tensors.lift(depth, K, c2w, orthographic=camera.orthographic)
            view[pixels] = found
        return out.mT.reshape(-1, 3, self.side, self.side)

    @cached_property
    def rays(self) -> tuple[Tensor, Tensor]:
        """Origins and directions through the pixels' centres, (V, H W, 3)."""
        return tensors.pixel_rays(self.K, self.c2w, (self.side, self.side), orthographic=self.orthographic)

    def as_picture(self, rows: Tensor) -> Tensor:
        """(V, H W, C) → (V, C, H, W)."""
        return rows.mT.reshape(len(rows), -1, self.side, self.side).contiguous()

    @cached_property
    def normal(self) -> Float:
        """(V, 3, H, W) in the world, of length 1; 0 where there is none."""
        views = [normal_from_png(self._open(*member, RGB_16)) for member in self._members["normal.png"]]
        return np.stack([pick_nearest(np.moveaxis(view, -1, 0), self.side) for view in views])

    def _open(self, name: str, content: bytes, kind: "Kind") -> npt.NDArray[Any]:
        """(H, W, C) of a PNG, as stored. kornia-rs takes half of Pillow's time."""
        side = self._settings.rendered
        try:
            return np.asarray(kind.decode(content, (side, side), kind.mode))
        except Exception as e:  # it raises nothing narrower
            found, wanted = _described(content), f"{side}×{side} in {kind.words}"
            if found not in (None, wanted):
                raise DataengineError(f"{name} is a picture of {found}, not of {wanted}") from e
            raise DataengineError(f"{name} is not a PNG that can be decoded: {e}") from e


def _described(content: bytes) -> str | None:
    """Size and mode of a PNG, as Pillow finds them in its header; None if it has none."""
    try:
        with PngImageFile(io.BytesIO(content)) as image:
            return f"{image.width}×{image.height} in {image.mode}"
    except (OSError, ValueError, SyntaxError):
        return None


def _planes(image: Image.Image) -> npt.NDArray[Any]:
    """(bands, H, W) of a picture."""
    # Pillow writes line by line, a band of a line after the other: faster than to part pixels here.
    lines = image.tobytes("raw", image.mode if len(image.mode) == 1 else f"{image.mode};L")
    return np.frombuffer(lines, np.uint8).reshape(image.height, len(image.mode), image.width).swapaxes(0, 1)


def unit(values: npt.NDArray[Any]) -> Float:
    """(V, C, H, W) bytes as float32 in [0, 1]."""
    out = np.empty(values.shape, np.float32)
    planes = zip(values.reshape(-1, *values.shape[2:]), out.reshape(-1, *values.shape[2:]), strict=True)
    for whole, part in planes:  # one at a time stays in the processor's cache
        part[:] = whole
        part *= np.float32(1 / 255)
    return out


def shrink_mean(planes: Float, side: int) -> Float:
    """(V, C, H, H) → (V, C, side, side): the mean over each new pixel's area, fractions of pixels included."""
    old = planes.shape[-1]
    if side == old:
        return planes
    if old % side == 0:
        factor = old // side
        return np.asarray(planes.reshape(*planes.shape[:2], side, factor, side, factor).mean((3, 5)))
    weights = _areas(old, side)
    return np.asarray(weights @ planes @ weights.T)


def _areas(old: int, new: int) -> Float:
    """(new, old): which share of each new pixel each old one covers, along one side."""
    edges = np.arange(new + 1) * (old / new)
    below = np.clip(edges[:, None] - np.arange(old), 0, 1)  # how much of each old pixel lies before each edge
    return (np.diff(below, axis=0) * (new / old)).astype(np.float32)


def pick_nearest(plane: npt.NDArray[Any], side: int) -> npt.NDArray[Any]:
    """(…, H, H) → (…, side, side): the pixel that holds each new one's centre."""
    old = plane.shape[-1]
    if side == old:
        return plane
    at = ((np.arange(side) + 0.5) * (old / side)).astype(np.intp)
    return plane[..., at[:, None], at]


@dataclass(frozen=True)
class Field:
    """Something that a sample may have.

    Attributes:
        make: from an asset's views.
        needs: suffixes of the members of each view.
    """

    make: Callable[[AssetViews], Tensor]
    needs: tuple[str, ...] = ()


FIELDS: dict[str, Field] = {
    "colour": Field(lambda a: a.picture(a.colour), ("rgba.png",)),
    "alpha": Field(lambda a: a.picture(a.alpha), ("rgba.png",)),
    "depth": Field(lambda a: torch.from_numpy(a.depth), ("depth.png",)),
    "mask": Field(lambda a: torch.from_numpy(a.depth > 0), ("depth.png",)),
    "points": Field(lambda a: a.points, ("depth.png",)),
    "normal": Field(lambda a: torch.from_numpy(a.normal), ("normal.png",)),
    "normal_camera": Field(
        lambda a: torch.einsum("vwc,vwhx->vchx", a.c2w[:, :3, :3], torch.from_numpy(a.normal)), ("normal.png",)
    ),
    "albedo": Field(lambda a: a.picture(np.stack([*a.stored("albedo.png", RGB)])), ("albedo.png",)),
    "orm": Field(lambda a: a.picture(np.stack([*a.stored("orm.png", RGB)])), ("orm.png",)),
    "id": Field(lambda a: torch.from_numpy(np.stack([*a.stored("id.png", GREY_16)]).astype(np.int32)), ("id.png",)),
    "origins": Field(lambda a: a.as_picture(a.rays[0])),
    "directions": Field(lambda a: a.as_picture(a.rays[1])),
    "pluecker": Field(lambda a: a.as_picture(tensors.pluecker(*a.rays))),
    "K": Field(lambda a: a.K),
    "c2w": Field(lambda a: a.c2w),
    "w2c": Field(lambda a: a.w2c),
    "near": Field(lambda a: a.values(lambda c: c.near)),
    "far": Field(lambda a: a.values(lambda c: c.far)),
    "azimuth": Field(lambda a: a.values(lambda c: c.azimuth)),
    "elevation": Field(lambda a: a.values(lambda c: c.elevation)),
    "orthographic": Field(lambda a: a.orthographic),
}
TEXT = ("uid", "caption", "licence")
