"""The tokenizer that comes with the package."""

import json
from importlib.resources import files

import numpy as np
import torch

from dataengine.tokenize import build, load
from dataengine.tokenize.device_tokenizer import DeviceTokenizer
from dataengine.tokenize.images import composite
from tests.token_corpus import disc


def test_it_is_shipped_and_is_what_build_makes() -> None:
    folder = files("dataengine.tokenize") / "weights"
    assert len((folder / "small.safetensors").read_bytes()) < 8_000_000
    tokenizer = load("small")
    assert {k: v.shape for k, v in tokenizer.state_dict().items()} == {
        k: v.shape for k, v in build("small").state_dict().items()
    }
    assert (tokenizer.spec.factor, tokenizer.spec.bits, tokenizer.spec.weights) == (8, 12, "raw")
    report = json.loads((folder / "small.json").read_text())
    assert report["held_out"]["models"] > 0
    assert report["weights_sha256"] == tokenizer.spec.weights_sha256


def test_it_gives_back_what_it_saw() -> None:
    rgb = composite(np.stack([disc(128, n) for n in range(4)]), (255, 255, 255))
    compute = DeviceTokenizer(load("small"), torch.device("cpu"))
    codes = compute.encode(rgb)
    assert codes.shape == (4, 16, 16)
    decoded = compute.decode_array(codes.numpy())
    error = np.square(rgb / 255.0 - decoded / 255.0).mean((1, 2, 3))
    assert (-10 * np.log10(error)).mean() > 22
