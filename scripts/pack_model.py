"""Packs a run's averaged weights as a model that ships: python scripts/pack_model.py RUN/i2mv/checkpoints/00001500 nano

The weights become bfloat16; of the settings, those that say how it was made are kept. A third argument is JSON that
says how it draws best, by task: '{"i2mv": {"steps": 2, "draw": "bits"}}'.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from dataengine.training.checkpoints import WEIGHTS

SETTINGS = (
    "stage", "tokenizer", "size", "camera", "steps", "batch", "lr", "warmup", "weight_decay", "clip", "schedule",
    "weight", "drop_text", "ema", "seed",
)  # fmt: skip


def main(checkpoint: Path, name: str, sampling: str = "") -> None:
    weights = load_file(checkpoint / "ema.safetensors")
    state = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
    state["settings"] = {name: state["settings"][name] for name in SETTINGS}
    if sampling:
        state["sampling"] = json.loads(sampling)
    folder = WEIGHTS / name
    folder.mkdir(parents=True, exist_ok=True)
    save_file({n: w.to(torch.bfloat16).contiguous() for n, w in weights.items()}, folder / "ema.safetensors")
    (folder / "state.json").write_text(json.dumps(state) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
