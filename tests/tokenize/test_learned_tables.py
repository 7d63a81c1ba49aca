"""IBQ, Emu3.5's and aMUSEd's tokenizers, against the same layers in torch's functions."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dataengine.errors import DataengineError, UsageError
from dataengine.tokenize import Tokenizer, build, load
from dataengine.tokenize.checkpoint import missing_names
from dataengine.tokenize.fit_step import FitSettings, Run
from tests.tokenize.published import fill, filled, image

TAMING: dict[str, Any] = {
    "ch": 32,
    "ch_mult": (1, 2),
    "num_res_blocks": 1,
    "z_channels": 16,
    "bits": 5,
    "code_channels": 4,
}
AMUSED: dict[str, Any] = {"widths": (32, 64), "num_res_blocks": 1, "z_channels": 4, "bits": 5}

State = Mapping[str, Tensor]


def made(name: str, **widths: Any) -> Tokenizer:
    tokenizer = filled(name, **widths)
    table = tokenizer.state_dict()["quantize.embedding.weight"]  # `filled` leaves what belongs to a quantizer
    table.copy_(torch.from_numpy(fill("table", tuple(table.shape))))
    return tokenizer


def conv(x: Tensor, w: State, key: str, *, stride: int = 1, pad: tuple[int, ...] | None = None) -> Tensor:
    kernel = w[f"{key}.weight"]
    around = pad if pad is not None else (kernel.shape[-1] // 2,) * 4
    return F.conv2d(F.pad(x, around), kernel, w[f"{key}.bias"], stride=stride)


def norm(x: Tensor, w: State, key: str) -> Tensor:
    groups = x.reshape(len(x), 32, -1)
    spread = (groups.var(2, unbiased=False, keepdim=True) + 1e-6).sqrt()
    flat = ((groups - groups.mean(2, keepdim=True)) / spread).reshape(x.shape)
    return flat * w[f"{key}.weight"][:, None, None] + w[f"{key}.bias"][:, None, None]


def swish(x: Tensor) -> Tensor:
    return x * x.sigmoid()


def block(x: Tensor, w: State, key: str, shortcut: str) -> Tensor:
    h = conv(swish(norm(x, w, f"{key}.norm1")), w, f"{key}.conv1")
    h = conv(swish(norm(h, w, f"{key}.norm2")), w, f"{key}.conv2")
    return h + (conv(x, w, f"{key}.{shortcut}") if f"{key}.{shortcut}.weight" in w else x)


def attention(x: Tensor, w: State, key: str) -> Tensor:
    h = norm(x, w, f"{key}.norm")
    q, k, v = (conv(h, w, f"{key}.{n}").flatten(2) for n in "qkv")
    shares = (q.transpose(1, 2) @ k * x.shape[1] ** -0.5).softmax(2)
    return x + conv((v @ shares.transpose(1, 2)).reshape(x.shape), w, f"{key}.proj_out")


@pytest.mark.parametrize("name", ["ibq-16384", "emu3.5"])
def test_vqgans_layers_and_the_largest_product(name: str) -> None:
    tokenizer = made(name, **TAMING)
    w = {k: v.double() for k, v in tokenizer.state_dict().items()}

    def res(x: Tensor, key: str) -> Tensor:
        return block(x, w, key, "nin_shortcut")

    def middle(x: Tensor, key: str) -> Tensor:
        return res(attention(res(x, f"{key}.block_1"), w, f"{key}.attn_1"), f"{key}.block_2")

    x = image(8)
    h = res(conv(x.double(), w, "encoder.conv_in"), "encoder.down.0.block.0")
    h = conv(h, w, "encoder.down.0.downsample.conv", stride=2, pad=(0, 1, 0, 1))  # right and below only
    h = attention(res(h, "encoder.down.1.block.0"), w, "encoder.down.1.attn.0")
    h = middle(h, "encoder.mid")
    z = conv(conv(swish(norm(h, w, "encoder.norm_out")), w, "encoder.conv_out"), w, "quant_conv")
    table = w["quantize.embedding.weight"]
    wanted = torch.einsum("bchw,nc->bnhw", z, table).argmax(1)
    assert torch.equal(tokenizer.encode(x), wanted)
    assert len(wanted.unique()) > 3
    nearest = torch.cdist(z.flatten(2).transpose(1, 2), table[None]).argmin(2)
    assert not torch.equal(nearest, wanted.flatten(1))  # what other tables ask for

    h = conv(conv(table[wanted].permute(0, 3, 1, 2), w, "post_quant_conv"), w, "decoder.conv_in")
    h = middle(h, "decoder.mid")
    for i in range(2):
        h = attention(res(h, f"decoder.up.1.block.{i}"), w, f"decoder.up.1.attn.{i}")
    h = conv(h.repeat_interleave(2, 2).repeat_interleave(2, 3), w, "decoder.up.1.upsample.conv")
    for i in range(2):
        h = res(h, f"decoder.up.0.block.{i}")
    pixels = conv(swish(norm(h, w, "decoder.norm_out")), w, "decoder.conv_out")
    torch.testing.assert_close(tokenizer.decode(wanted).double(), pixels, atol=1e-4, rtol=0)


def test_amused_has_no_attention_and_the_nearest_row() -> None:
    tokenizer = made("amused", **AMUSED)
    w = {k: v.double() for k, v in tokenizer.state_dict().items()}

    def blocks(x: Tensor, key: str, count: int) -> Tensor:
        for i in range(count):
            x = block(x, w, f"{key}.resnets.{i}", "conv_shortcut")
        return x

    x = image(8)
    h = blocks(conv((x.double() + 1) / 2, w, "encoder.conv_in"), "encoder.down_blocks.0", 1)
    h = conv(h, w, "encoder.down_blocks.0.downsamplers.0.conv", stride=2, pad=(0, 1, 0, 1))
    h = blocks(blocks(h, "encoder.down_blocks.1", 1), "encoder.mid_block", 2)
    z = conv(conv(swish(norm(h, w, "encoder.conv_norm_out")), w, "encoder.conv_out"), w, "quant_conv")
    table = w["quantize.embedding.weight"]
    wanted = (z[:, None] - table[None, :, :, None, None]).square().sum(2).argmin(1)
    assert torch.equal(tokenizer.encode(x), wanted)
    assert len(wanted.unique()) > 3

    h = conv(conv(table[wanted].permute(0, 3, 1, 2), w, "post_quant_conv"), w, "decoder.conv_in")
    h = blocks(blocks(h, "decoder.mid_block", 2), "decoder.up_blocks.0", 2)
    h = conv(h.repeat_interleave(2, 2).repeat_interleave(2, 3), w, "decoder.up_blocks.0.upsamplers.0.conv")
    h = blocks(h, "decoder.up_blocks.1", 2)
    pixels = conv(swish(norm(h, w, "decoder.conv_norm_out")), w, "decoder.conv_out") * 2 - 1
    torch.testing.assert_close(tokenizer.decode(wanted).double(), pixels, atol=1e-4, rtol=0)


def test_published_layouts_load_strictly(tmp_path: Path) -> None:
    raw = made("ibq-16384", **TAMING)
    average = copy.deepcopy(raw)
    for parameter in average.parameters():
        parameter.data.mul_(1.1)
    state = {**raw.state_dict(), "loss.discriminator.main.0.weight": torch.zeros(1)}
    state |= {f"model_ema.{name.replace('.', '')}": value for name, value in average.state_dict().items()}
    state |= {"model_ema.lossdiscriminatormain0weight": torch.zeros(1), "model_ema.decay": torch.tensor(0.999)}
    torch.save({"state_dict": state}, tmp_path / "ibq.ckpt")
    for use, wanted in (("raw", raw), ("ema", average), (None, average)):
        loaded = load("ibq-16384", tmp_path / "ibq.ckpt", use=use, **TAMING)  # type: ignore[arg-type]
        assert torch.equal(loaded.decode(loaded.encode(image(8))), wanted.decode(wanted.encode(image(8))))
    assert (loaded.spec.factor, loaded.spec.bits, loaded.spec.bit_order) == (2, 5, "none")
    with pytest.raises(
        DataengineError, match=r"'quantize.embedding.weight' has shape \(32, 4\), .* has \(64, 4\) there"
    ):
        load("ibq-16384", tmp_path / "ibq.ckpt", **{**TAMING, "bits": 6})
    for name, widths in (("emu3.5", TAMING), ("amused", AMUSED)):
        tokenizer = made(name, **widths)
        torch.save(tokenizer.state_dict(), tmp_path / name)
        assert torch.equal(load(name, tmp_path / name, **widths).encode(image(8)), tokenizer.encode(image(8)))
        less = {k: v for k, v in tokenizer.state_dict().items() if k != "post_quant_conv.bias"}
        torch.save(less, tmp_path / name)
        with pytest.raises(DataengineError, match=r"lacks 'post_quant_conv.bias'"):
            load(name, tmp_path / name, **widths)
    with pytest.raises(DataengineError, match="is not a file of amused: |lacks"):
        load("amused", tmp_path / "ibq.ckpt", **AMUSED)


def test_published_networks() -> None:
    with torch.device("meta"):
        codes = {name: build(name).spec for name in ("ibq-16384", "ibq-262144", "emu3.5", "amused")}
        names = set(build("amused").state_dict())
    assert {n: (s.factor, s.bits, s.bit_order) for n, s in codes.items()} == {
        "ibq-16384": (16, 14, "none"),
        "ibq-262144": (16, 18, "none"),
        "emu3.5": (16, 17, "none"),
        "amused": (16, 13, "none"),
    }
    assert {
        "encoder.down_blocks.4.resnets.0.conv_shortcut.weight",
        "encoder.mid_block.resnets.1.conv2.bias",
        "decoder.up_blocks.3.upsamplers.0.conv.weight",
        "quantize.embedding.weight",
    } <= names
    assert not any("attention" in n or "codebook_used" in n for n in names)
    assert missing_names("amused", names) == []


def test_tables_are_not_fitted() -> None:
    with pytest.raises(UsageError, match="numbers of a learned table: the fit trains bits only"):
        Run(made("amused", **AMUSED), FitSettings())
