"""VQGAN's encoder and decoder (Esser et al. 2021, CompVis/taming-transformers, modules/diffusionmodules/model.py).

IBQ (TencentARC/SEED-Voken) and Emu3.5's vision tokenizer (baaivision/Emu3.5) keep its layers and their names, LlamaGen
(FoundationVision/LlamaGen, tokenizer/tokenizer_image/vq_model.py) the layers under names of its own. Unusual: attention
after each residual block of the coarsest level besides the middle's, and one such block more a level in the decoder.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from dataengine.tokenize.layers import Attention, norm, res_blocks
from dataengine.tokenize.show_o import MIDDLE, Downsample, Middle, Upsample


class Names(NamedTuple):
    """What the published files call the layers.

    Attributes:
        down, up: the levels of the encoder and of the decoder.
        block: a level's residual blocks.
        middle: residual block, attention, residual block.
        up_from_coarsest: whether the decoder's levels are numbered from the coarsest on.
    """

    down: str
    up: str
    block: str
    middle: tuple[str, str, str]
    up_from_coarsest: bool


TAMING = Names("down", "up", "block", MIDDLE, up_from_coarsest=False)
LLAMAGEN = Names("conv_blocks", "conv_blocks", "res", ("0", "1", "2"), up_from_coarsest=True)


class Encoder(nn.Module):
    """(B, 3, H, W) in [-1, 1] → (B, z_channels, H/f, W/f), f = 2^(levels - 1).

    Args:
        names: of the layers.
        ch: width of the first level.
        ch_mult: width of each level, in units of `ch`; all but the last halve the resolution.
        num_res_blocks: residual blocks a level.
        z_channels: of the result.
    """

    def __init__(self, names: Names, ch: int, ch_mult: Sequence[int], num_res_blocks: int, z_channels: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, ch, 3, padding=1)
        widths = [ch * m for m in ch_mult]
        levels = []
        for i, (before, width) in enumerate(pairwise([ch, *widths])):
            coarsest = i == len(widths) - 1
            leave = {} if coarsest else {"downsample": Downsample(width)}
            levels.append(Level(names.block, before, width, num_res_blocks, attends=coarsest, **leave))
        self.add_module(names.down, nn.ModuleList(levels))
        self.levels = names.down
        self.mid = Middle(widths[-1], names.middle)
        self.norm_out = norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], z_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(x)
        for level in self.get_submodule(self.levels).children():
            h = level(h)
        z: Tensor = self.conv_out(F.silu(self.norm_out(self.mid(h))))
        return z


class Decoder(nn.Module):
    """(B, z_channels, h, w) → (B, 3, f·h, f·w), about [-1, 1]. Arguments as for `Encoder`."""

    def __init__(self, names: Names, ch: int, ch_mult: Sequence[int], num_res_blocks: int, z_channels: int) -> None:
        super().__init__()
        widths = [ch * m for m in reversed(ch_mult)]
        self.conv_in = nn.Conv2d(z_channels, widths[0], 3, padding=1)
        self.mid = Middle(widths[0], names.middle)
        levels = []
        for i, (before, width) in enumerate(pairwise([widths[0], *widths])):
            leave = {"upsample": Upsample(width)} if i < len(widths) - 1 else {}
            levels.append(Level(names.block, before, width, num_res_blocks + 1, attends=i == 0, **leave))
        self.add_module(names.up, nn.ModuleList(levels if names.up_from_coarsest else levels[::-1]))
        self.levels, self.up_from_coarsest = names.up, names.up_from_coarsest
        self.norm_out = norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.mid(self.conv_in(z))
        levels = list(self.get_submodule(self.levels).children())
        for level in levels if self.up_from_coarsest else reversed(levels):
            h = level(h)
        x: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return x


class Level(nn.Module):
    """The residual blocks of one resolution, attention after each if it `attends`, and the layer that leaves it."""

    def __init__(
        self, blocks: str, channels_in: int, channels_out: int, count: int, *, attends: bool, **leave: nn.Module
    ) -> None:
        super().__init__()
        self.blocks, self.leave = blocks, list(leave)
        self.add_module(blocks, nn.ModuleList(res_blocks(channels_in, channels_out, count, bias=True)))
        self.attn = nn.ModuleList(Attention(channels_out) for _ in range(count if attends else 0))
        for name, layer in leave.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.get_submodule(self.blocks).children()):
            x = block(x)
            if len(self.attn):
                x = self.attn[i](x)
        for name in self.leave:
            x = self.get_submodule(name)(x)
        return x
