"""Views of many objects in one small file, for machines that get no more: what `pack` writes, `Packed` reads.

Pictures are WebP, nearly lossless; depth is 8 bits between a view's nearest and farthest surface, which is within 0.2 %
of the object's size. A file of 128² takes about 4 kB a view.
"""

import io
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

LEVELS = 254  # of depth; 0 is none


def pack(samples: Iterable[Mapping[str, Any]], file: Path, *, quality: int = 90) -> int:
    """Writes objects, and says how many.

    Args:
        samples: `colour` (V, 3, H, W) in [0, 1] over white, `alpha` and planar `depth` (V, 1, H, W), `K` (V, 3, 3) and
            `c2w` (V, 4, 4) each; V and H × W may differ between objects, but not within a file.
        file: `.safetensors`.
        quality: of the WebP colours, of 100.
    """
    blob, sizes, cameras, ranges = bytearray(), [], [], []
    objects = 0
    for sample in samples:
        objects += 1
        depth = sample["depth"]
        for v in range(len(depth)):
            seen = depth[v, 0][depth[v, 0] > 0]
            low, high = (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 1.0)
            level = ((depth[v, 0] - low) / max(high - low, 1e-6) * (LEVELS - 1)).round() + 1
            whole = torch.where(depth[v, 0] > 0, level, 0.0).byte().numpy()
            colour = (sample["colour"][v] * 255).round().byte().permute(1, 2, 0).numpy()
            alpha = (sample["alpha"][v, 0] * 255).round().byte().numpy()
            for pixels, options in (
                (colour, {"quality": quality, "method": 2}),
                (np.stack([alpha, whole, whole * 0], -1), {"lossless": True, "method": 1, "quality": 50}),
            ):
                written = io.BytesIO()
                Image.fromarray(pixels).save(written, "webp", **options)
                blob += written.getvalue()
                sizes.append(written.tell())
            ranges.append((low, high))
        cameras.append(torch.cat([sample["K"].flatten(1), sample["c2w"].flatten(1)], 1))
    save_file(
        {
            "pictures": torch.frombuffer(blob, dtype=torch.uint8),
            "sizes": torch.tensor(sizes).view(objects, -1, 2),
            "cameras": torch.stack(cameras),
            "ranges": torch.tensor(ranges).view(objects, -1, 2),
        },
        file,
    )
    return objects


class Packed:
    """The views of packed files in memory, as bytes, on a device.

    Attributes:
        colour: (N, V, 3, H, W) uint8 over white; alpha: (N, V, 1, H, W) uint8; depth: (N, V, 1, H, W) float16.
        K, c2w: (N, V, 3, 3), (N, V, 4, 4).
    """

    def __init__(self, *files: Path, device: str | torch.device = "cpu", limit: int | None = None) -> None:
        parts = [_read(file, limit) for file in files]
        self.colour, self.alpha, self.depth, self.K, self.c2w = (
            torch.cat(tensors).to(device) for tensors in zip(*parts, strict=True)
        )

    def __len__(self) -> int:
        return len(self.colour)

    def take(self, rows: Tensor) -> dict[str, Tensor]:
        """A batch of objects, float32."""
        return {
            "colour": self.colour[rows].float() / 255,
            "alpha": self.alpha[rows].float() / 255,
            "depth": self.depth[rows].float(),
            "K": self.K[rows],
            "c2w": self.c2w[rows],
        }

    def batches(self, size: int, seed: int = 0, start: int = 0) -> Iterator[dict[str, Tensor]]:
        """Without end, drawn anew for each; number `start` is the first. Half are mirrored and hue-permuted."""
        number = start
        while True:
            random = torch.Generator().manual_seed(seed << 32 | number)
            rows = torch.randint(len(self), (size,), generator=random)
            batch = self.take(rows.to(self.colour.device))
            yield augment(batch, random)
            number += 1


def augment(batch: dict[str, Tensor], random: torch.Generator) -> dict[str, Tensor]:
    """A batch with its colour channels permuted, and mirrored, each in half of the cases.

    A mirrored picture is that of the mirrored object from the mirrored camera: x → -x in the world and in the picture.
    """
    out = dict(batch)
    if float(torch.rand((), generator=random)) < 0.5:
        out["colour"] = out["colour"][:, :, torch.randperm(3, generator=random).tolist()]
    if float(torch.rand((), generator=random)) < 0.5:
        for name in ("colour", "alpha", "depth"):
            out[name] = out[name].flip(-1)
        K, c2w = out["K"].clone(), out["c2w"].clone()
        K[..., 0, 2] = batch["colour"].shape[-1] - K[..., 0, 2]
        c2w[..., 0, :] = -c2w[..., 0, :]
        c2w[..., :, 0] = -c2w[..., :, 0]
        out["K"], out["c2w"] = K, c2w
    return out


def _read(file: Path, limit: int | None) -> tuple[Tensor, ...]:
    tensors = load_file(file)
    sizes, cameras, ranges = (tensors[name][:limit] for name in ("sizes", "cameras", "ranges"))
    pictures = tensors["pictures"].numpy()
    flat = sizes.flatten()
    ends = flat.cumsum(0)
    objects, views = sizes.shape[:2]

    def pixels(i: int) -> Any:
        content = pictures[int(ends[i] - flat[i]) : int(ends[i])].tobytes()
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))

    side = pixels(0).shape[:2]
    colour = np.empty((objects * views, *side, 3), np.uint8)
    other = np.empty((objects * views, *side, 3), np.uint8)

    def put(i: int) -> None:
        (colour if i % 2 == 0 else other)[i // 2] = pixels(i)

    with ThreadPoolExecutor(os.cpu_count(), "decode") as pool:
        for _ in pool.map(put, range(len(flat)), chunksize=64):
            pass
    low, high = ranges.flatten(0, 1)[:, :, None, None].unbind(1)
    level = torch.from_numpy(other[..., 1]).float()
    depth = torch.where(level > 0, low + (level - 1) / (LEVELS - 1) * (high - low), 0.0)
    return (
        torch.from_numpy(colour).permute(0, 3, 1, 2).reshape(objects, views, 3, *side),
        torch.from_numpy(other[..., 0]).reshape(objects, views, 1, *side),
        depth.half().view(objects, views, 1, *side),
        cameras[..., :9].reshape(objects, views, 3, 3),
        cameras[..., 9:].reshape(objects, views, 4, 4),
    )
