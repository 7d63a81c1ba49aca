"""A tokenizer on a device, at fixed shapes: the codes of an asset depend on nothing but its pixels.

Kernels may add in another order for another batch shape, and a sum near zero flips a bit. So an asset's views are never
mixed with another's, and go through the network in equal parts whose size follows from their number and size alone.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dataengine.errors import UsageError
from dataengine.tokenize.metrics import psnr, ssim
from dataengine.tokenize.model import Tokenizer
from dataengine.tokenize.spec import Dtype, TokenizerSpec

# Pixels a call: enough to keep the device busy, few enough for the widest published decoder to fit beside its weights.
PIXELS = {"cpu": 4 * 256**2, "cuda": 32 * 256**2}


@dataclass(frozen=True)
class Checks:
    """Of one asset's views after a round trip, one value a view; decoded images are rounded to 8 bits.

    Attributes:
        psnr, psnr_object: dB; the latter over pixels with alpha above 0, NaN where there is none.
        ssim: see `metrics.ssim`.
    """

    psnr: list[float]
    psnr_object: list[float]
    ssim: list[float]


class Compute:
    """Encodes and decodes.

    Args:
        tokenizer: with its weights; moved to the device.
        device: from `pick_device`.
        dtype: `float32`, with TF32 off; or `bfloat16`, for the encoder only, which changes some of the codes.
        pixels: that one call may take; default: by device. Another value may give other codes.
    """

    def __init__(
        self, tokenizer: Tokenizer, device: torch.device, *, dtype: Dtype = "float32", pixels: int | None = None
    ) -> None:
        self.tokenizer: Tokenizer = tokenizer.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = device
        self.dtype: Dtype = dtype
        self.pixels = pixels or PIXELS.get(device.type, PIXELS["cpu"])

    @property
    def spec(self) -> TokenizerSpec:
        return replace(self.tokenizer.spec, dtype=self.dtype)

    def halved(self) -> "Compute":
        """The same with half the pixels a call."""
        return Compute(self.tokenizer, self.device, dtype=self.dtype, pixels=self.pixels // 2)

    def encode(self, images: npt.NDArray[np.uint8], *, dtype: Dtype | None = None) -> Tensor:
        """(V, H, W, 3) uint8 RGB of one asset → (V, h, w) int64 codes, on the device."""
        with _exact(), torch.autocast(self.device.type, torch.bfloat16, enabled=(dtype or self.dtype) == "bfloat16"):
            return self._in_parts(self.upload(images), images.shape[1] * images.shape[2], self._encode)

    def decode(self, codes: Tensor) -> Tensor:
        """(V, h, w) codes of one asset → (V, 3, H, W) float32 in [0, 1], rounded to 8 bits, on the device."""
        pixels = codes.shape[1] * codes.shape[2] * self.tokenizer.spec.factor**2
        with _exact():
            return self._in_parts(codes.to(self.device), pixels, self._decode)

    def decode_array(self, codes: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """(V, h, w) codes of any integer dtype → (V, H, W, 3) uint8."""
        decoded = self.decode(torch.from_numpy(codes.astype(np.int64)))
        images: npt.NDArray[np.uint8] = (decoded * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        return images

    def check(self, images: npt.NDArray[np.uint8], covered: npt.NDArray[np.bool_], codes: Tensor) -> Checks:
        """Compares an asset's views (V, H, W, 3) with what comes back; `covered` (V, H, W) is the object."""
        decoded = self.decode(codes)
        original = self.upload(images).permute(0, 3, 1, 2).float() / 255
        mask = torch.from_numpy(covered).to(self.device)[:, None]
        values = (psnr(decoded, original), psnr(decoded, original, mask), ssim(decoded, original))
        return Checks(*(v.tolist() for v in values))

    def upload(self, images: npt.NDArray[np.uint8]) -> Tensor:
        tensor = torch.from_numpy(images)
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor

    def _encode(self, images: Tensor) -> Tensor:
        x = images.permute(0, 3, 1, 2).float() / 127.5 - 1
        return self.tokenizer.encode(x.contiguous(memory_format=torch.channels_last))

    def _decode(self, codes: Tensor) -> Tensor:
        return ((self.tokenizer.decode(codes).float() + 1) * 127.5).round().clamp(0, 255) / 255

    def _in_parts(self, items: Tensor, pixels: int, call: Callable[[Tensor], Tensor]) -> Tensor:
        """`call` on equal parts of the items; the last is filled up by repeating the last item."""
        count = len(items)
        parts = -(-count // max(1, self.pixels // pixels))
        size = -(-count // parts)
        padded = torch.cat([items, items[-1:].expand(parts * size - count, *items.shape[1:])])
        return torch.cat([call(part) for part in torch.split(padded, size)])[:count]


def pick_device(device: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU. Raises UsageError for a device that is not there."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as e:
        raise UsageError(f"device {device!r} cannot be used: {str(e).splitlines()[0]}") from e
    return chosen


@contextmanager
def _exact() -> Iterator[None]:
    """float32 that is float32, by the same kernels each time; settings of others are put back."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = (cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic, cudnn.benchmark)
    cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic, cudnn.benchmark = False, False, True, False
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic, cudnn.benchmark = before
