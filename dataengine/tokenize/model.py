"""A tokenizer: encoder, lookup-free quantizer, decoder. `build` makes the published ones and ours, untrained."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dataengine.errors import UsageError
from dataengine.tokenize import amused, open_magvit2, show_o, small, vqgan
from dataengine.tokenize.codebook import Codebook, Fit
from dataengine.tokenize.lfq import LFQ
from dataengine.tokenize.spec import TokenizerSpec

SMALL = {
    "bits": 18,
    "patch": 4,
    "encoder_widths": (64, 160),
    "encoder_blocks": (2, 4),
    "decoder_widths": (192, 96, 64, 32),
    "decoder_blocks": (3, 2, 2, 1),
}
SMALL_12 = {"ch": 48, "ch_mult": (1, 2), "num_res_blocks": 1, "z_channels": 12, "groups": 8, "patch": 4}
OPEN_MAGVIT2_256 = {"ch": 128, "ch_mult": (1, 1, 2, 2, 4), "num_res_blocks": 4, "z_channels": 18}
OPEN_MAGVIT2_128 = {"ch": 128, "ch_mult": (1, 2, 2, 4), "num_res_blocks": 4, "z_channels": 18}
WETOK_16 = {"ch": 256, "ch_mult": (1, 1, 2, 2, 4), "num_res_blocks": 4, "z_channels": 32}
WETOK_8 = {"ch": 256, "ch_mult": (1, 2, 2, 4), "num_res_blocks": 4, "z_channels": 32}
LLAMAGEN_16 = {
    "ch": 128,
    "ch_mult": (1, 1, 2, 2, 4),
    "num_res_blocks": 2,
    "z_channels": 256,
    "bits": 14,
    "code_channels": 8,
}
LLAMAGEN_8 = {**LLAMAGEN_16, "ch_mult": (1, 2, 2, 4)}
IBQ_16384 = {**LLAMAGEN_16, "num_res_blocks": 4, "code_channels": 256}
IBQ_262144 = {**IBQ_16384, "bits": 18}
EMU3_5 = {**IBQ_16384, "ch": 256, "bits": 17}
AMUSED = {"widths": (128, 256, 256, 512, 768), "num_res_blocks": 2, "z_channels": 64, "bits": 13}
SHOW_O = {
    "ch": 128,
    "ch_mult": (1, 2, 2, 4, 4),
    "num_res_blocks": (4, 3, 4, 3, 4),
    "decoder_ch_mult": (1, 1, 2, 2, 4),
    "decoder_num_res_blocks": (4, 4, 3, 4, 3),
    "z_channels": 13,
}

WIDTHS: dict[str, dict[str, Any]] = {
    "small": SMALL,
    "small-12": SMALL_12,
    "open-magvit2-256": OPEN_MAGVIT2_256,
    "open-magvit2-128": OPEN_MAGVIT2_128,
    "show-o": SHOW_O,
    "wetok-16": WETOK_16,
    "wetok-8": WETOK_8,
    "llamagen-16": LLAMAGEN_16,
    "llamagen-8": LLAMAGEN_8,
    "ibq-16384": IBQ_16384,
    "ibq-262144": IBQ_262144,
    "emu3.5": EMU3_5,
    "amused": AMUSED,
}


class Tokenizer(nn.Module):
    """Images to codes and back. Fully convolutional: any size that the factor divides.

    Attributes:
        spec: which tokenizer this is; what a shard keeps of it.
        widths: of its network, all of them, as `build` takes them.
    """

    def __init__(self, spec: TokenizerSpec, encoder: nn.Module, decoder: nn.Module, quantize: LFQ | Codebook) -> None:
        super().__init__()
        self.spec = spec
        self.widths: dict[str, Any] = {}
        self.encoder = encoder
        self.decoder = decoder
        self.quantize = quantize

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [-1, 1] → (B, h, w) int64 codes, row by row from the top.

        Raises:
            UsageError: if H or W is not a multiple of the factor.
        """
        check_size(self.spec, images.shape[-2], images.shape[-1])
        return self.quantize.indices(self.features(images))

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """(B, h, w) codes → (B, 3, H, W) RGB, about [-1, 1]; not clamped.

        Raises:
            UsageError: if a code is not in the codebook, or the map is of one token where that cannot be decoded.
        """
        return self.pixels(self.quantize.features(codes))

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, C, h, w) what is quantized."""
        z: Tensor = self.encoder(images)
        return z

    def pixels(self, z: Tensor) -> Tensor:
        """(B, C, h, w) quantized features → (B, 3, H, W)."""
        images: Tensor = self.decoder(z)
        return images


class TableTokenizer(Tokenizer):
    """With a learned table, and the two layers around it, whose published names are at the top."""

    def __init__(
        self, spec: TokenizerSpec, encoder: nn.Module, decoder: nn.Module, table: Codebook, channels: int
    ) -> None:
        super().__init__(spec, encoder, decoder, table)
        width = table.embedding.embedding_dim
        self.quant_conv = nn.Conv2d(channels, width, 1)
        self.post_quant_conv = nn.Conv2d(width, channels, 1)

    def features(self, images: Tensor) -> Tensor:
        z: Tensor = self.quant_conv(self.encoder(images))
        return z

    def pixels(self, z: Tensor) -> Tensor:
        images: Tensor = self.decoder(self.post_quant_conv(z))
        return images


def check_size(spec: TokenizerSpec, height: int, width: int) -> None:
    """Raises UsageError if images of that size cannot be cut into tokens."""
    if height % spec.factor or width % spec.factor or not height or not width:
        raise UsageError(
            f"{spec.name} needs images whose sides are multiples of {spec.factor}, these are {width}×{height}; "
            f"render at another --resolution or choose another --tokenizer"
        )


def build(name: str, **widths: Any) -> Tokenizer:
    """An untrained tokenizer, in eval mode. Without `widths` its `state_dict` is exactly the published listing.

    Args:
        name: one of WIDTHS.
        widths: replaces some of the network's own. `small`: `bits`, `patch`, `encoder_widths`, `encoder_blocks`,
            `decoder_widths`, `decoder_blocks`, see small.py. The others: `ch`, `ch_mult`, `num_res_blocks`,
            `z_channels` (bits), for Show-o also `decoder_ch_mult` and `decoder_num_res_blocks` (these, like its
            `num_res_blocks`, one per level), for LlamaGen's, IBQ's and Emu3.5's also `bits` and `code_channels` of the
            table, for aMUSEd's `bits`, and `widths` instead of `ch` and `ch_mult`, for the rest also `groups` and
            `patch`.

    Raises:
        UsageError: if the name or a width is unknown, or widths do not fit each other.
    """
    if name not in WIDTHS:
        raise UsageError(f"unknown tokenizer {name!r}; there are {', '.join(WIDTHS)}")
    make: Callable[..., Tokenizer] = _MAKERS.get(name, _open_magvit2)
    known = {**({"groups": 32, "patch": 1} if make is _open_magvit2 else {}), **WIDTHS[name]}
    if unknown := widths.keys() - known.keys():
        raise UsageError(f"{name} has no width {sorted(unknown)[0]!r}; there are {', '.join(known)}")
    chosen = {**known, **{key: _like(known[key], value, f"{name}'s {key}") for key, value in widths.items()}}
    try:
        tokenizer = make(name, **chosen).eval()
    except (ValueError, ZeroDivisionError) as e:  # as many blocks as levels, channels that groups divide
        raise UsageError(f"{name} cannot be built with {widths}: {e}") from e
    tokenizer.widths = chosen
    return tokenizer


def _like(known: int | tuple[int, ...], value: int | Sequence[int], what: str) -> int | tuple[int, ...]:
    """A width as one number or as a tuple, whichever it is in the published network."""
    if isinstance(known, tuple):
        return (value,) if isinstance(value, int) else tuple(value)
    if not isinstance(value, int):
        raise UsageError(f"{what} is one number, not {value}")
    return value


def _small(
    name: str,
    bits: int,
    patch: int,
    encoder_widths: Sequence[int],
    encoder_blocks: Sequence[int],
    decoder_widths: Sequence[int],
    decoder_blocks: Sequence[int],
) -> Tokenizer:
    factor = 2 ** (len(decoder_widths) - 1)
    if factor != patch * 2 ** (len(encoder_widths) - 1):
        raise UsageError(
            f"{name}'s encoder makes {patch * 2 ** (len(encoder_widths) - 1)} pixels one token, its decoder {factor}"
        )
    return Tokenizer(
        TokenizerSpec(name, factor, bits, "lsb_first"),
        small.Encoder(bits, encoder_widths, encoder_blocks, patch),
        small.Decoder(bits, decoder_widths, decoder_blocks),
        LFQ(bits, "lsb_first"),
    )


def _open_magvit2(name: str, **widths: Any) -> Tokenizer:
    bits = widths["z_channels"]
    factor = widths["patch"] * 2 ** (len(widths["ch_mult"]) - 1)
    return Tokenizer(
        TokenizerSpec(name, factor, bits, "lsb_first"),
        open_magvit2.Encoder(**widths),
        open_magvit2.Decoder(**widths),
        LFQ(bits, "lsb_first"),  # WeTok's groups of bits are these, in order
    )


def _show_o(
    name: str,
    ch: int,
    ch_mult: Sequence[int],
    num_res_blocks: Sequence[int],
    decoder_ch_mult: Sequence[int],
    decoder_num_res_blocks: Sequence[int],
    z_channels: int,
) -> Tokenizer:
    return Tokenizer(
        TokenizerSpec(name, 2 ** (len(ch_mult) - 1), z_channels, "msb_first"),
        show_o.Encoder(ch, ch_mult, num_res_blocks, z_channels),
        show_o.Decoder(ch, decoder_ch_mult, decoder_num_res_blocks, z_channels),
        LFQ(z_channels, "msb_first", tables=True),
    )


def _vqgan(
    names: vqgan.Names,
    fit: Fit,
    name: str,
    ch: int,
    ch_mult: Sequence[int],
    num_res_blocks: int,
    z_channels: int,
    bits: int,
    code_channels: int,
) -> Tokenizer:
    return TableTokenizer(
        TokenizerSpec(name, 2 ** (len(ch_mult) - 1), bits, "none"),
        vqgan.Encoder(names, ch, ch_mult, num_res_blocks, z_channels),
        vqgan.Decoder(names, ch, ch_mult, num_res_blocks, z_channels),
        Codebook(bits, code_channels, fit),
        z_channels,
    )


def _amused(name: str, widths: Sequence[int], num_res_blocks: int, z_channels: int, bits: int) -> Tokenizer:
    return TableTokenizer(
        TokenizerSpec(name, 2 ** (len(widths) - 1), bits, "none"),
        amused.Encoder(widths, num_res_blocks, z_channels),
        amused.Decoder(widths, num_res_blocks, z_channels),
        Codebook(bits, z_channels, "distance"),
        z_channels,
    )


_llamagen = partial(_vqgan, vqgan.LLAMAGEN, "cosine")
_ibq = partial(_vqgan, vqgan.TAMING, "product")

_MAKERS: dict[str, Callable[..., Tokenizer]] = {
    "small": _small,
    "show-o": _show_o,
    "llamagen-16": _llamagen,
    "llamagen-8": _llamagen,
    "ibq-16384": _ibq,
    "ibq-262144": _ibq,
    "emu3.5": _ibq,
    "amused": _amused,
}


def with_spec(tokenizer: Tokenizer, **changes: Any) -> Tokenizer:
    """The same tokenizer, its spec changed in place."""
    tokenizer.spec = replace(tokenizer.spec, **changes)
    return tokenizer
