"""aMUSEd's encoder and decoder, which Lumina-DiMOO and Meissonic use too: `VQModel` of Hugging Face's diffusers.

VQGAN's layers without attention, under diffusers' names. Unusual: images are in [0, 1] on both sides, and decoder
blocks are numbered from the coarsest.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from dataengine.tokenize.layers import ResBlock, norm
from dataengine.tokenize.show_o import Downsample, Upsample


class Encoder(nn.Module):
    """(B, 3, H, W) in [-1, 1] → (B, z_channels, H/f, W/f), f = 2^(levels - 1).

    Args:
        widths: of each level; all but the last halve the resolution.
        num_res_blocks: residual blocks a level.
        z_channels: of the result.
    """

    def __init__(self, widths: Sequence[int], num_res_blocks: int, z_channels: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        levels = []
        for i, (before, width) in enumerate(pairwise([widths[0], *widths])):
            leave = {} if i == len(widths) - 1 else {"downsamplers": Downsample(width)}
            levels.append(Level(before, width, num_res_blocks, **leave))
        self.down_blocks = nn.ModuleList(levels)
        self.mid_block = Level(widths[-1], widths[-1], 2)
        self.conv_norm_out = norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], z_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in((x + 1) / 2)
        for level in (*self.down_blocks, self.mid_block):
            h = level(h)
        z: Tensor = self.conv_out(F.silu(self.conv_norm_out(h)))
        return z


class Decoder(nn.Module):
    """(B, z_channels, h, w) → (B, 3, f·h, f·w), about [-1, 1]. Arguments as for `Encoder`."""

    def __init__(self, widths: Sequence[int], num_res_blocks: int, z_channels: int) -> None:
        super().__init__()
        reverse = list(reversed(widths))
        self.conv_in = nn.Conv2d(z_channels, reverse[0], 3, padding=1)
        self.mid_block = Level(reverse[0], reverse[0], 2)
        levels = []
        for i, (before, width) in enumerate(pairwise([reverse[0], *reverse])):
            leave = {} if i == len(widths) - 1 else {"upsamplers": Upsample(width)}
            levels.append(Level(before, width, num_res_blocks + 1, **leave))
        self.up_blocks = nn.ModuleList(levels)
        self.conv_norm_out = norm(reverse[-1])
        self.conv_out = nn.Conv2d(reverse[-1], 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.mid_block(self.conv_in(z))
        for level in self.up_blocks:
            h = level(h)
        x: Tensor = self.conv_out(F.silu(self.conv_norm_out(h)))
        return x * 2 - 1


class Level(nn.Module):
    """The residual blocks of one resolution, and the layer that leaves it: a list of one in diffusers."""

    def __init__(self, channels_in: int, channels_out: int, count: int, **leave: nn.Module) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            ResBlock(channels_in if i == 0 else channels_out, channels_out, bias=True, shortcut="conv_shortcut")
            for i in range(count)
        )
        self.leave = list(leave)
        for name, layer in leave.items():
            self.add_module(name, nn.ModuleList([layer]))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.resnets:
            x = block(x)
        for name in self.leave:
            x = self.get_submodule(f"{name}.0")(x)
        return x
