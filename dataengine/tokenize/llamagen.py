"""LlamaGen's encoder and decoder (FoundationVision/LlamaGen, tokenizer/tokenizer_image/vq_model.py).

VQGAN's layers (Esser et al. 2021) under names of their own. Unusual: attention after each residual block of the
coarsest level besides the middle's, one residual block more a level in the decoder, and decoder levels that are
numbered from the coarsest.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from dataengine.tokenize.layers import AttendingLevel, Attention, ResBlock, norm
from dataengine.tokenize.show_o import Downsample, Upsample


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
            levels.append(AttendingLevel(before, width, num_res_blocks, blocks="res", attends=coarsest, **leave))
        self.conv_blocks = nn.ModuleList(levels)
        self.mid = _middle(widths[-1])
        self.norm_out = norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], z_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(x)
        for layer in (*self.conv_blocks, *self.mid):
            h = layer(h)
        z: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return z


class Decoder(nn.Module):
    """(B, z_channels, h, w) → (B, 3, f·h, f·w), about [-1, 1]. Arguments as for `Encoder`."""

    def __init__(self, ch: int, ch_mult: Sequence[int], num_res_blocks: int, z_channels: int) -> None:
        super().__init__()
        widths = [ch * m for m in reversed(ch_mult)]
        self.conv_in = nn.Conv2d(z_channels, widths[0], 3, padding=1)
        self.mid = _middle(widths[0])
        levels = []
        for i, (before, width) in enumerate(pairwise([widths[0], *widths])):
            leave = {"upsample": Upsample(width)} if i < len(widths) - 1 else {}
            levels.append(AttendingLevel(before, width, num_res_blocks + 1, blocks="res", attends=i == 0, **leave))
        self.conv_blocks = nn.ModuleList(levels)
        self.norm_out = norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.conv_in(z)
        for layer in (*self.mid, *self.conv_blocks):
            h = layer(h)
        x: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return x


def _middle(channels: int) -> nn.ModuleList:
    return nn.ModuleList(
        [ResBlock(channels, channels, bias=True), Attention(channels), ResBlock(channels, channels, bias=True)]
    )
