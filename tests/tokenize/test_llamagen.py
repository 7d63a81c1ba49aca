"""LlamaGen's network and its learned table, against the same layers in NumPy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dataengine.errors import DataengineError, UsageError
from dataengine.tokenize import Tokenizer, build, load
from dataengine.tokenize.fit_step import FitSettings, Run
from tests.tokenize.published import fill, filled, image

TINY: dict[str, Any] = {
    "ch": 32,
    "ch_mult": (1, 2),
    "num_res_blocks": 1,
    "z_channels": 16,
    "bits": 5,
    "code_channels": 4,
}


def tokenizer() -> Tokenizer:
    made = filled("llamagen-16", **TINY)
    table = fill("table", (32, 4)).astype(np.float32)  # `filled` leaves what belongs to a quantizer
    made.state_dict()["quantize.embedding.weight"].copy_(torch.from_numpy(table))
    return made


def test_the_network_is_what_it_says() -> None:
    made = tokenizer()
    w = {k: v.double().numpy() for k, v in made.state_dict().items()}

    def conv(x: Any, key: str, stride: int = 1, pad: tuple[int, int] | None = None) -> Any:
        kernel = w[f"{key}.weight"]
        side = kernel.shape[-1]
        around = pad or (side // 2, side // 2)
        padded = np.pad(x, ((0, 0), around, around))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), (1, 2))[:, ::stride, ::stride]
        return np.einsum("chwij,ocij->ohw", windows, kernel) + w[f"{key}.bias"][:, None, None]

    def norm(x: Any, key: str) -> Any:
        groups = x.reshape(32, -1)
        flat = (groups - groups.mean(1, keepdims=True)) / np.sqrt(groups.var(1, keepdims=True) + 1e-6)
        return flat.reshape(x.shape) * w[f"{key}.weight"][:, None, None] + w[f"{key}.bias"][:, None, None]

    def swish(x: Any) -> Any:
        return x / (1 + np.exp(-x))

    def block(x: Any, key: str) -> Any:
        h = conv(swish(norm(x, f"{key}.norm1")), f"{key}.conv1")
        h = conv(swish(norm(h, f"{key}.norm2")), f"{key}.conv2")
        return h + (conv(x, f"{key}.nin_shortcut") if f"{key}.nin_shortcut.weight" in w else x)

    def attention(x: Any, key: str) -> Any:
        h = norm(x, f"{key}.norm")
        q, k, v = (conv(h, f"{key}.{n}").reshape(len(x), -1) for n in "qkv")
        scores = np.exp(q.T @ k / np.sqrt(len(x)))
        shares = scores / scores.sum(1, keepdims=True)
        return x + conv((v @ shares.T).reshape(x.shape), f"{key}.proj_out")

    def middle(x: Any, key: str) -> Any:
        return block(attention(block(x, f"{key}.0"), f"{key}.1"), f"{key}.2")

    h = conv(image(8)[0].double().numpy(), "encoder.conv_in")
    h = block(h, "encoder.conv_blocks.0.res.0")
    h = conv(h, "encoder.conv_blocks.0.downsample.conv", 2, (0, 1))  # padded right and below only
    h = attention(block(h, "encoder.conv_blocks.1.res.0"), "encoder.conv_blocks.1.attn.0")
    h = middle(h, "encoder.mid")
    z = conv(conv(swish(norm(h, "encoder.norm_out")), "encoder.conv_out"), "quant_conv")
    table = w["quantize.embedding.weight"] / np.linalg.norm(w["quantize.embedding.weight"], axis=1, keepdims=True)
    z = z / np.linalg.norm(z, axis=0)
    wanted = ((z[None] - table[:, :, None, None]) ** 2).sum(1).argmin(0)
    codes = made.encode(image(8))
    assert codes[0].tolist() == wanted.tolist()
    assert len(np.unique(wanted)) > 3

    h = conv(conv(table[wanted].transpose(2, 0, 1), "post_quant_conv"), "decoder.conv_in")
    h = middle(h, "decoder.mid")
    for i in range(2):
        h = attention(block(h, f"decoder.conv_blocks.0.res.{i}"), f"decoder.conv_blocks.0.attn.{i}")
    h = conv(h.repeat(2, 1).repeat(2, 2), "decoder.conv_blocks.0.upsample.conv")
    for i in range(2):
        h = block(h, f"decoder.conv_blocks.1.res.{i}")
    pixels = conv(swish(norm(h, "decoder.norm_out")), "decoder.conv_out")
    np.testing.assert_allclose(made.decode(codes)[0].numpy(), pixels, atol=1e-4)


def test_the_published_layout_loads_strictly(tmp_path: Path) -> None:
    made = tokenizer()
    state = made.state_dict()
    assert {"quant_conv.weight", "post_quant_conv.bias", "quantize.embedding.weight"} <= state.keys()
    assert state["quantize.codebook_used"].shape == (65536,)
    torch.save({"model": state, "steps": 3}, tmp_path / "vq.pt")
    loaded = load("llamagen-16", tmp_path / "vq.pt", **TINY)
    assert torch.equal(loaded.encode(image(8)), made.encode(image(8)))
    assert (loaded.spec.factor, loaded.spec.bits, loaded.spec.bit_order) == (2, 5, "none")
    with pytest.raises(
        DataengineError, match=r"'quantize.embedding.weight' has shape \(32, 4\), .* has \(64, 4\) there"
    ):
        load("llamagen-16", tmp_path / "vq.pt", **{**TINY, "bits": 6})
    with pytest.raises(UsageError, match="codes must be 0 to 31"):
        made.decode(torch.full((1, 2, 2), 32))


def test_published_sizes() -> None:
    """From the layers' arithmetic: 3×3 and 1×1 convolutions, two norms a block, four 1×1 an attention."""

    def conv(a: int, b: int, side: int = 3) -> int:
        return a * b * side * side + b

    def block(a: int, b: int) -> int:
        return 2 * a + conv(a, b) + 2 * b + conv(b, b) + (conv(a, b, 1) if a != b else 0)

    def attention(c: int) -> int:
        return 2 * c + 4 * conv(c, c, 1)

    widths = [128, 128, 256, 256, 512]
    encoder, before = conv(3, 128), 128
    for i, width in enumerate(widths):
        encoder += block(before, width) + block(width, width)
        encoder += conv(width, width) if i < 4 else 2 * attention(width)
        before = width
    middle = 2 * block(512, 512) + attention(512)
    encoder += middle + 2 * 512 + conv(512, 256)
    decoder, before = conv(256, 512) + middle, 512
    for i, width in enumerate(reversed(widths)):
        decoder += block(before, width) + 2 * block(width, width)
        decoder += conv(width, width) if i < 4 else 0
        decoder += 3 * attention(width) if i == 0 else 0
        before = width
    decoder += 2 * 128 + conv(128, 3)
    around = conv(256, 8, 1) + conv(8, 256, 1) + 16384 * 8
    with torch.device("meta"):
        made = build("llamagen-16")
        finer = build("llamagen-8")
    assert sum(p.numel() for p in made.parameters()) == encoder + decoder + around
    # As its README counts them: 72 M and 70 M.
    assert [round(sum(p.numel() for p in t.parameters()) / 1e6) for t in (made, finer)] == [72, 70]


def test_wetok_is_open_magvit2_with_more_bits() -> None:
    with torch.device("meta"):
        for name, factor in (("wetok-16", 16), ("wetok-8", 8)):
            spec = build(name).spec
            assert (spec.factor, spec.bits, spec.bit_order) == (factor, 32, "lsb_first")
            assert spec.token_dtype == "uint32"
    # Four groups of eight bits, the lowest bit of each first: the number that the groups spell in base 256.
    quantize = build("wetok-8", ch=32, ch_mult=(1, 2), num_res_blocks=1).quantize
    groups = np.array([3, 0, 255, 129])
    signs = np.concatenate([[(g >> n & 1) * 2.0 - 1 for n in range(8)] for g in groups])
    z = torch.from_numpy(signs).reshape(1, 32, 1, 1)
    assert quantize.indices(z).item() == int((groups * 256 ** np.arange(4)).sum())
    assert torch.equal(quantize.features(quantize.indices(z)), z.float())


def test_a_table_is_not_fitted() -> None:
    with pytest.raises(UsageError, match="numbers of a learned table: the fit trains bits only"):
        Run(tokenizer(), FitSettings())
