"""Weights and images from an integer hash, by the rule of ../shared/golden/README.md; and where that folder is."""

import json
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch

from dataengine.tokenize import Tokenizer, build

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"

OPEN_TINY = {"ch": 32, "ch_mult": [1, 2], "num_res_blocks": 1, "z_channels": 6}
SHOW_O_TINY = {
    "ch": 32,
    "ch_mult": [1, 2],
    "num_res_blocks": [1, 2],
    "decoder_ch_mult": [1, 2],
    "decoder_num_res_blocks": [2, 1],
    "z_channels": 5,
}
SMALL_TINY = {
    "bits": 6,
    "patch": 4,
    "encoder_widths": (8, 8),
    "encoder_blocks": (1, 1),
    "decoder_widths": (8, 8, 8, 8),
    "decoder_blocks": (1, 1, 1, 1),
}
SMALL_12_TINY = {"ch": 8, "ch_mult": (1, 2), "num_res_blocks": 1, "z_channels": 6, "groups": 4, "patch": 4}


def fill(key: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    mask = np.uint64(0xFFFFFFFF)
    h = (
        np.arange(int(np.prod(shape)), dtype=np.uint64) * np.uint64(2654435761) + np.uint64(zlib.crc32(key.encode()))
    ) & mask
    h = (h ^ (h >> np.uint64(15))) * np.uint64(2246822519) & mask
    h = (h ^ (h >> np.uint64(13))) & mask
    return (h / 2**32 - 0.5).reshape(shape)


def filled(name: str, **widths: object) -> Tokenizer:
    """A tokenizer whose every weight follows from its name and shape."""
    tokenizer = build(name, **widths)
    for key, tensor in tokenizer.state_dict().items():
        shape = tuple(tensor.shape)
        if key.startswith("quantize."):
            continue
        if tensor.ndim > 1:
            values = fill(key, shape) * 2 * np.sqrt(3 / np.prod(shape[1:]))
        else:
            values = 1 + 0.2 * fill(key, shape) if key.endswith("weight") else 0.2 * fill(key, shape)
        tensor.copy_(torch.from_numpy(values.astype(np.float32)))
    return tokenizer


def save_small(path: Path) -> Path:
    """A tiny network in the layout of the small tokenizer's file."""
    header = {"dataengine": json.dumps({"name": "small", "widths": SMALL_TINY})}
    safetensors.torch.save_file(filled("small", **SMALL_TINY).state_dict(), path, header)
    return path


def image(side: int = 32) -> torch.Tensor:
    return torch.from_numpy((fill("image", (1, 3, side, side)) * 2).astype(np.float32))
