"""The tokenizers that come with the package."""

import json
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
import torch

from dataengine.errors import UsageError
from dataengine.tokenize import build, load
from dataengine.tokenize.checkpoint import shipped_as
from dataengine.tokenize.device_tokenizer import DeviceTokenizer
from dataengine.tokenize.images import composite
from tests.token_corpus import disc
from tests.tokenize.published import SMALL_TINY, filled, image


@pytest.mark.parametrize(("name", "bits"), [("small", 18), ("small-12", 12)])
def test_they_are_shipped_and_are_what_build_makes(name: str, bits: int) -> None:
    folder = files("dataengine.tokenize") / "weights"
    assert len((folder / f"{name}.safetensors").read_bytes()) < 10_000_000
    tokenizer = load(name)
    assert {k: v.shape for k, v in tokenizer.state_dict().items()} == {
        k: v.shape for k, v in build(name).state_dict().items()
    }
    assert (tokenizer.spec.factor, tokenizer.spec.bits, tokenizer.spec.weights) == (8, bits, "raw")
    report = json.loads((folder / f"{name}.json").read_text())
    assert report["held_out"]["models"] > 0
    assert report["weights_sha256"] == tokenizer.spec.weights_sha256


@pytest.mark.parametrize("name", ["small", "small-12"])
def test_they_give_back_what_they_saw(name: str) -> None:
    rgb = composite(np.stack([disc(128, n) for n in range(4)]), (255, 255, 255))
    compute = DeviceTokenizer(load(name), torch.device("cpu"))
    codes = compute.encode(rgb)
    assert codes.shape == (4, 16, 16)
    decoded = compute.decode_array(codes.numpy())
    error = np.square(rgb / 255.0 - decoded / 255.0).mean((1, 2, 3))
    assert (-10 * np.log10(error)).mean() > 22


def test_tokens_of_an_earlier_version_keep_their_weights() -> None:
    """A spec that says `small` and names the old weights by hash gets them, under the name it knows."""
    before = load("small-12")
    assert before.spec.weights_sha256 == "3cf52e926bb8a09c06813a33069996d9d811772dfb21cd986eefb8ed7db67e6f"
    found = load("small", shipped_as(before.spec.weights_sha256))
    assert (found.spec.name, found.spec.bits) == ("small", 12)
    assert found.spec.weights_sha256 == before.spec.weights_sha256
    assert shipped_as("0" * 64) is None


def test_a_token_of_small_depends_on_its_neighbourhood_only() -> None:
    tokenizer = build("small", **SMALL_TINY)
    torch.manual_seed(0)
    for parameter in tokenizer.parameters():  # also the convolutions that start at zero
        torch.nn.init.normal_(parameter, std=0.2)
    image = torch.rand(1, 3, 256, 256) * 2 - 1
    codes = tokenizer.encode(image)
    changed = image.clone()
    changed[..., :8, :8] *= -1
    assert torch.equal(tokenizer.encode(changed)[..., 16:, 16:], codes[..., 16:, 16:])
    edited = codes.clone()
    edited[0, 0, 0] ^= 63
    before, after = tokenizer.decode(codes), tokenizer.decode(edited)
    assert not torch.equal(before[..., :8, :8], after[..., :8, :8])
    torch.testing.assert_close(before[..., 128:, 128:], after[..., 128:, 128:], rtol=0, atol=0)
    assert tokenizer.decode(codes[:, :1, :1]).shape == (1, 3, 8, 8)  # one token is enough


def test_the_network_is_what_it_says() -> None:
    """Against the same layers in NumPy, written out."""
    tokenizer = filled("small", **SMALL_TINY)
    w = {k: v.double().numpy() for k, v in tokenizer.state_dict().items()}

    def conv(x: Any, key: str, stride: int = 1) -> Any:
        kernel = w[f"{key}.weight"]
        side = kernel.shape[-1]
        padded = np.pad(x, ((0, 0), (side // 2,) * 2, (side // 2,) * 2))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), (1, 2))[:, ::stride, ::stride]
        return np.einsum("chwij,ocij->ohw", windows, kernel) + w[f"{key}.bias"][:, None, None]

    def swish(x: Any) -> Any:
        return x / (1 + np.exp(-x))

    def norm(x: Any) -> Any:
        return (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-6)

    def block(x: Any, key: str) -> Any:
        return x + conv(swish(conv(swish(norm(x)), f"{key}.conv1")), f"{key}.conv2")

    x = image(32)[0].double().numpy()
    patches = x.reshape(3, 8, 4, 8, 4).transpose(0, 2, 4, 1, 3).reshape(48, 8, 8)
    h = block(conv(patches, "encoder.conv_in"), "encoder.levels.0.0")
    h = block(conv(norm(h), "encoder.down.0", 2), "encoder.levels.1.0")
    z = conv(swish(norm(h)), "encoder.conv_out")
    codes = tokenizer.encode(image(32))
    assert (codes[0].numpy() == ((z > 0) * 2 ** np.arange(6)[:, None, None]).sum(0)).all()

    h = block(conv(np.where(z > 0, 1.0, -1.0), "decoder.conv_in"), "decoder.levels.0.0")
    for level in (1, 2, 3):
        h = block(conv(norm(h).repeat(2, 1).repeat(2, 2), f"decoder.up.{level - 1}"), f"decoder.levels.{level}.0")
    pixels = conv(swish(norm(h)), "decoder.conv_out")
    np.testing.assert_allclose(tokenizer.decode(codes)[0].numpy(), pixels, atol=1e-5)


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ({"depth": 3}, "small has no width 'depth'"),
        ({"encoder_widths": (8, 8, 8)}, "encoder makes 16 pixels one token, its decoder 8"),
        ({"decoder_blocks": (1, 1)}, "cannot be built with"),
        ({"bits": (1, 2)}, "small's bits is one number"),
    ],
)
def test_widths_that_do_not_fit(widths: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build("small", **widths)
