"""VQGAN's encoder and decoder (Esser et al. 2021, CompVis/taming-transformers, modules/diffusionmodules/model.py).

IBQ (TencentARC/SEED-Voken) and Emu3.5's vision tokenizer (baaivision/Emu3.5) keep its layers and their names: attention
after each residual block of the coarsest level and in the middle, and one residual block more a level in the decoder.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from dataengine.tokenize.layers import AttendingLevel, norm
from dataengine.tokenize.show_o import Downsample, Middle, Upsample


class Encoder(nn.Module):
    """(B, 3, H, W) in [-1, 1] → (B, z_channels, H/f, W/f), f = 2^(levels - 1).

    Args:
        ch: width of the first level.
        ch_mult: width of each level, in units of `ch`; all but the last halve the resolution.
        num_res_blocks: residual blocks a level.
        z_channels: of the result.
    """

    def __init__(self, ch: int, ch_mult: Sequence[int], num_res_blocks: int, z_channels: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, ch, 3, padding=1)
        widths = [ch * m for m in ch_mult]
        levels = []
        for i, (before, width) in enumerate(pairwise([ch, *widths])):
            coarsest = i == len(widths) - 1
            leave = {} if coarsest else {"downsample": Downsample(width)}
            levels.append(AttendingLevel(before, width, num_res_blocks, blocks="block", attends=coarsest, **leave))
        self.down = nn.ModuleList(levels)
        self.mid = Middle(widths[-1])
        self.norm_out = norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], z_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(x)
        for level in self.down:
            h = level(h)
        z: Tensor = self.conv_out(F.silu(self.norm_out(self.mid(h))))
        return z


class Decoder(nn.Module):
    """(B, z_channels, h, w) → (B, 3, f·h, f·w), about [-1, 1]. Arguments as for `Encoder`; level 0 is the finest."""

    def __init__(self, ch: int, ch_mult: Sequence[int], num_res_blocks: int, z_channels: int) -> None:
        super().__init__()
        widths = [ch * m for m in ch_mult]
        self.conv_in = nn.Conv2d(z_channels, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1])
        levels = []
        for i, (width, before) in enumerate(pairwise([*widths, widths[-1]])):
            leave = {"upsample": Upsample(width)} if i > 0 else {}
            coarsest = i == len(widths) - 1
            levels.append(AttendingLevel(before, width, num_res_blocks + 1, blocks="block", attends=coarsest, **leave))
        self.up = nn.ModuleList(levels)
        self.norm_out = norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            h = level(h)
        x: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return x
