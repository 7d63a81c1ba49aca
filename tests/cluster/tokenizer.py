"""An untrained tokenizer in miniature."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from dataengine.tokenize import build
from dataengine.tokenize.checkpoint import METADATA


def write_weights(path: Path, seed: int = 0) -> Path:
    """As `tokenizer fit` would write it."""
    widths = {
        "bits": 4,
        "encoder_widths": [8, 8],
        "encoder_blocks": [1, 1],
        "decoder_widths": [8, 8, 8, 8],
        "decoder_blocks": [1, 1, 1, 1],
    }
    torch.manual_seed(seed)
    save_file(build("small", **widths).state_dict(), path, {METADATA: json.dumps({"name": "small", "widths": widths})})
    return path
