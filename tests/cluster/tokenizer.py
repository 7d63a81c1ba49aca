"""An untrained tokenizer in miniature."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from dataengine.tokenize import build
from dataengine.tokenize.checkpoint import METADATA


def write_weights(path: Path, seed: int = 0) -> Path:
    """As `tokenizer fit` would write it."""
    widths = {"ch": 8, "ch_mult": [1, 2], "num_res_blocks": 1, "z_channels": 4, "groups": 4, "patch": 4}
    torch.manual_seed(seed)
    save_file(build("small", **widths).state_dict(), path, {METADATA: json.dumps({"widths": widths})})
    return path
