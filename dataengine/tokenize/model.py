"""A tokenizer: encoder, lookup-free quantizer, decoder. `build` makes the published ones and ours, untrained."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from dataengine.errors import UsageError
from dataengine.tokenize import open_magvit2, show_o
from dataengine.tokenize.lfq import LFQ
from dataengine.tokenize.spec import TokenizerSpec

SMALL = {"ch": 48, "ch_mult": (1, 2), "num_res_blocks": 1, "z_channels": 12, "groups": 8, "patch": 4}
OPEN_MAGVIT2_256 = {"ch": 128, "ch_mult": (1, 1, 2, 2, 4), "num_res_blocks": 4, "z_channels": 18}
OPEN_MAGVIT2_128 = {"ch": 128, "ch_mult": (1, 2, 2, 4), "num_res_blocks": 4, "z_channels": 18}
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
    "open-magvit2-256": OPEN_MAGVIT2_256,
    "open-magvit2-128": OPEN_MAGVIT2_128,
    "show-o": SHOW_O,
}


class Tokenizer(nn.Module):
    """Images to codes and back. Fully convolutional: any size that the factor divides.

    Attributes:
        spec: which tokenizer this is; what a shard keeps of it.
    """

    def __init__(self, spec: TokenizerSpec, encoder: nn.Module, decoder: nn.Module, quantize: LFQ) -> None:
        super().__init__()
        self.spec = spec
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
        return self.quantize.indices(self.encoder(images))

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """(B, h, w) codes → (B, 3, H, W) RGB, about [-1, 1]; not clamped.

        Raises:
            UsageError: if a code is not in the codebook, or the map is of one token where that cannot be decoded.
        """
        images: Tensor = self.decoder(self.quantize.features(codes))
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
        name: `small`, `open-magvit2-256`, `open-magvit2-128` or `show-o`.
        widths: replaces some of the network's own: `ch`, `ch_mult`, `num_res_blocks`, `z_channels` (bits), for Show-o
            also `decoder_ch_mult` and `decoder_num_res_blocks` (these, like its `num_res_blocks`, one per level), for
            the others also `groups` and `patch`.

    Raises:
        UsageError: if the name or a width is unknown.
    """
    if name not in WIDTHS:
        raise UsageError(f"unknown tokenizer {name!r}; there are {', '.join(WIDTHS)}")
    known = {**WIDTHS[name], **({} if name == "show-o" else {"groups": 32, "patch": 1} | WIDTHS[name])}
    if unknown := widths.keys() - known.keys():
        raise UsageError(f"{name} has no width {sorted(unknown)[0]!r}; there are {', '.join(known)}")
    return (_show_o if name == "show-o" else _open_magvit2)(name, **{**known, **widths}).eval()


def _open_magvit2(name: str, **widths: Any) -> Tokenizer:
    bits = widths["z_channels"]
    factor = widths["patch"] * 2 ** (len(widths["ch_mult"]) - 1)
    return Tokenizer(
        TokenizerSpec(name, factor, bits, "lsb_first"),
        open_magvit2.Encoder(**widths),
        open_magvit2.Decoder(**widths),
        LFQ(bits, "lsb_first"),
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


def with_spec(tokenizer: Tokenizer, **changes: Any) -> Tokenizer:
    """The same tokenizer, its spec changed in place."""
    tokenizer.spec = replace(tokenizer.spec, **changes)
    return tokenizer
