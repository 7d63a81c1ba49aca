"""Show-o's encoder and decoder (showlab/Show-o, models/modeling_magvitv2.py); MMaDA uses the same file.

Unusual: encoder and decoder differ in widths and depths, attention in the middle only, downsampling pads right and
bottom only, and 1×1 convolutions around the quantizer.
"""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from dataengine.tokenize.layers import Attention, Level, ResBlock, norm, res_blocks


class Encoder(nn.Module):
    """(B, 3, H, W) in [-1, 1] → (B, z_channels, H/f, W/f) before quantization.

    Args:
        ch: width of the first level.
        ch_mult: width of each level, in units of `ch`; all but the last halve the resolution.
        num_res_blocks: residual blocks of each level.
        z_channels: bits per code.
    """

    def __init__(self, ch: int, ch_mult: Sequence[int], num_res_blocks: Sequence[int], z_channels: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, ch, 3, padding=1)
        widths = [ch * m for m in ch_mult]
        levels = []
        for i, ((before, width), count) in enumerate(zip(pairwise([ch, *widths]), num_res_blocks, strict=True)):
            down = {"downsample": Downsample(width)} if i < len(widths) - 1 else {}
            levels.append(Level(res_blocks(before, width, count, bias=True), **down))
        self.down = nn.ModuleList(levels)
        self.mid = Middle(widths[-1])
        self.norm_out = norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], z_channels, 3, padding=1)
        self.quant_conv = nn.Conv2d(z_channels, z_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(x)
        for level in self.down:
            h = level(h)
        h = self.conv_out(F.silu(self.norm_out(self.mid(h))))
        z: Tensor = self.quant_conv(h)
        return z


class Decoder(nn.Module):
    """(B, z_channels, h, w) of ±1 → (B, 3, f·h, f·w), about [-1, 1]. Arguments as for `Encoder`."""

    def __init__(self, ch: int, ch_mult: Sequence[int], num_res_blocks: Sequence[int], z_channels: int) -> None:
        super().__init__()
        widths = [ch * m for m in ch_mult]
        self.conv_in = nn.Conv2d(z_channels, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1])
        levels = []
        for i, ((width, before), count) in enumerate(zip(pairwise([*widths, widths[-1]]), num_res_blocks, strict=True)):
            up = {"upsample": Upsample(width)} if i > 0 else {}
            levels.append(Level(res_blocks(before, width, count, bias=True), **up))
        self.up = nn.ModuleList(levels)
        self.norm_out = norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)
        self.post_quant_conv = nn.Conv2d(z_channels, z_channels, 1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.mid(self.conv_in(self.post_quant_conv(z)))
        for level in reversed(self.up):
            h = level(h)
        x: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return x


MIDDLE = ("block_1", "attn_1", "block_2")


class Middle(nn.Sequential):
    def __init__(self, channels: int, names: tuple[str, str, str] = MIDDLE) -> None:
        first, last = (ResBlock(channels, channels, bias=True) for _ in range(2))
        super().__init__(OrderedDict(zip(names, (first, Attention(channels), last), strict=True)))


class Downsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return h


class Upsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return h
