"""A tokenizer on a device, at fixed shapes: the codes of an asset depend on nothing but its pixels.

Kernels may add in another order for another batch shape, and a sum near zero flips a bit. So an asset's views are never
mixed with another's, and go through the network in equal parts whose size follows from their number and size alone.

Kernels also add in another order on another number of threads. So on the CPU every part is computed by one thread, and
the parts of all assets in hand share as many threads as torch has: the same cores busy, and the same bits on any
machine of a kind, however many cores it has and however busy they are.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dataengine.errors import UsageError
from dataengine.machine import usable_cores
from dataengine.tokenize.metrics import psnr, ssim
from dataengine.tokenize.model import Tokenizer
from dataengine.tokenize.spec import Dtype, TokenizerSpec

# Pixels a call: enough to keep the device busy, few enough for the widest published decoder to fit beside its weights.
PIXELS = {"cpu": 4 * 256**2, "cuda": 32 * 256**2}


@dataclass(frozen=True)
class RoundTrip:
    """Of one asset's views after a round trip, one value a view; decoded images are rounded to 8 bits.

    Attributes:
        psnr, psnr_object: dB; the latter over pixels with alpha above 0, NaN where there is none.
        ssim: see `metrics.ssim`.
    """

    psnr: list[float]
    psnr_object: list[float]
    ssim: list[float]


class DeviceTokenizer:
    """Encodes and decodes. May be called from several threads at once.

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

    def halved(self) -> "DeviceTokenizer":
        """The same with half the pixels a call."""
        return DeviceTokenizer(self.tokenizer, self.device, dtype=self.dtype, pixels=self.pixels // 2)

    def encode(self, images: npt.NDArray[np.uint8], *, dtype: Dtype | None = None) -> Tensor:
        """(V, H, W, 3) uint8 RGB of one asset → (V, h, w) int64 codes, on the device."""
        half = (dtype or self.dtype) == "bfloat16"
        return self._in_parts(lambda part: self._encode(part, half), _pixels(images), self.upload(images))

    def decode(self, codes: Tensor) -> Tensor:
        """(V, h, w) codes of one asset → (V, 3, H, W) float32 in [0, 1], rounded to 8 bits, on the device."""
        pixels = _pixels(codes) * self.tokenizer.spec.factor**2
        return self._in_parts(self._decode, pixels, codes.to(self.device))

    def decode_array(self, codes: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """(V, h, w) codes of any integer dtype → (V, H, W, 3) uint8."""
        decoded = self.decode(torch.from_numpy(codes.astype(np.int64)))
        images: npt.NDArray[np.uint8] = (decoded * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        return images

    def check(self, images: npt.NDArray[np.uint8], covered: npt.NDArray[np.bool_], codes: Tensor) -> RoundTrip:
        """Compares an asset's views (V, H, W, 3) with what comes back; `covered` (V, H, W) is the object."""
        mask = torch.from_numpy(covered).to(self.device)[:, None]
        values = self._in_parts(self._check, _pixels(images), codes.to(self.device), self.upload(images), mask)
        return RoundTrip(*(column.tolist() for column in values.unbind(1)))

    def upload(self, images: npt.NDArray[np.uint8]) -> Tensor:
        tensor = torch.from_numpy(images)
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor

    def _encode(self, images: Tensor, half: bool) -> Tensor:
        x = images.permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            return self.tokenizer.encode(x.contiguous(memory_format=torch.channels_last))

    def _decode(self, codes: Tensor) -> Tensor:
        return ((self.tokenizer.decode(codes).float() + 1) * 127.5).round().clamp(0, 255) / 255

    def _check(self, codes: Tensor, images: Tensor, mask: Tensor) -> Tensor:
        """(V, 3): `psnr`, `psnr_object` and `ssim`."""
        decoded, original = self._decode(codes), images.permute(0, 3, 1, 2).float() / 255
        return torch.stack([psnr(decoded, original), psnr(decoded, original, mask), ssim(decoded, original)], 1)

    def _in_parts(self, call: Callable[..., Tensor], pixels: int, *items: Tensor) -> Tensor:
        """`call` on equal parts of the items; the last is filled up by repeating the last item.

        Args:
            pixels: of one item.
            items: equally long; a part is a slice of each.
        """
        count = len(items[0])
        parts = -(-count // max(1, self.pixels // pixels))
        size = -(-count // parts)
        padded = (torch.cat([x, x[-1:].expand(parts * size - count, *x.shape[1:])]) for x in items)
        slices = list(zip(*(torch.split(x, size) for x in padded), strict=True))
        if self.device.type == "cpu":
            futures = [_single_threads().submit(call, *part) for part in slices]
            wait(futures)  # all of them, so that after an error none still takes memory
            return torch.cat([f.result() for f in futures])[:count]
        with _exact():
            return torch.cat([call(*part) for part in slices])[:count]


def _pixels(images: Tensor | npt.NDArray[Any]) -> int:
    return int(images.shape[1] * images.shape[2])


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


_LOCK = threading.Lock()


def _compute_alone() -> None:
    torch.get_num_threads()  # a thread takes up the process's number at its first call, and would do so after this
    torch.set_num_threads(1)


@cache
def _pool() -> ThreadPoolExecutor:
    threads = torch.get_num_threads()
    count = min(threads, usable_cores())
    pool = ThreadPoolExecutor(count, "codec", initializer=_compute_alone)
    started = threading.Barrier(count)
    wait([pool.submit(started.wait) for _ in range(count)])
    # It counts for the thread that calls it, and for threads that start later: those get back what they had.
    torch.set_num_threads(threads)
    return pool


def _single_threads() -> ThreadPoolExecutor:
    """The process's threads for the CPU's work; the kernels that they call use no others.

    As many as the caller's `torch.get_num_threads()` at the first call, and no more than the usable cores. The caller's
    own kernels, such as those of a model that is trained in the same process, keep their threads.
    """
    with _LOCK:
        return _pool()


@contextmanager
def _exact() -> Iterator[None]:
    """float32 that is float32, by the same kernels each time; settings of others are put back.

    They are the process's, so one thread at a time; a device takes its work one after the other in any case.
    """
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    with _LOCK:
        before = (cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic, cudnn.benchmark)
        cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic, cudnn.benchmark = False, False, True, False
        try:
            yield
        finally:
            cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic, cudnn.benchmark = before
