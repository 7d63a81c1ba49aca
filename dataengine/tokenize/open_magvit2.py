"""Open-MAGVIT2's encoder and decoder (TencentARC/SEED-Voken, src/Open_MAGVIT2/modules/diffusionmodules).

Unusual: no bias in residual blocks, strided downsampling with symmetric padding, upsampling by depth-to-space in DCR
order, and a decoder whose features are scaled by statistics of the whole code map (AdaptiveGroupNorm), so that one
changed token changes every pixel.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from dataengine.errors import UsageError
from dataengine.tokenize.layers import EPS, Level, depth_to_space, norm, res_blocks


class Encoder(nn.Module):
    """(B, 3, H, W) in [-1, 1] → (B, z_channels, H/f, W/f) before quantization.

    Args:
        ch: width of the first level.
        ch_mult: width of each level, in units of `ch`; all but the last halve the resolution.
        num_res_blocks: residual blocks a level, and in the middle.
        z_channels: bits per code.
        groups: of every GroupNorm.
        patch: pixels per side that are folded into channels before the first convolution; 1 in the published networks.
    """

    def __init__(
        self, ch: int, ch_mult: Sequence[int], num_res_blocks: int, z_channels: int, groups: int = 32, patch: int = 1
    ) -> None:
        super().__init__()
        self.patch = patch
        self.conv_in = nn.Conv2d(3 * patch**2, ch, 3, padding=1, bias=False)
        widths = [ch * m for m in ch_mult]
        levels = []
        for i, (before, width) in enumerate(pairwise([ch, *widths])):
            down = {"downsample": nn.Conv2d(width, width, 3, stride=2, padding=1)} if i < len(widths) - 1 else {}
            levels.append(Level(res_blocks(before, width, num_res_blocks, bias=False, groups=groups), **down))
        self.down = nn.ModuleList(levels)
        top = widths[-1]
        self.mid_block = nn.ModuleList(res_blocks(top, top, num_res_blocks, bias=False, groups=groups))
        self.norm_out = norm(top, groups)
        self.conv_out = nn.Conv2d(top, z_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(F.pixel_unshuffle(x, self.patch))
        for layer in (*self.down, *self.mid_block):
            h = layer(h)
        z: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return z


class Decoder(nn.Module):
    """(B, z_channels, h, w) of ±1 → (B, 3, f·h, f·w), about [-1, 1]. Arguments as for `Encoder`."""

    def __init__(
        self, ch: int, ch_mult: Sequence[int], num_res_blocks: int, z_channels: int, groups: int = 32, patch: int = 1
    ) -> None:
        super().__init__()
        self.patch = patch
        widths = [ch * m for m in ch_mult]
        top = widths[-1]
        self.conv_in = nn.Conv2d(z_channels, top, 3, padding=1)
        self.mid_block = nn.ModuleList(res_blocks(top, top, num_res_blocks, bias=False, groups=groups))
        levels, adaptive = [], []
        for i, (width, before) in enumerate(pairwise([*widths, top])):
            up = {"upsample": Upsample(width)} if i > 0 else {}
            levels.append(Level(res_blocks(before, width, num_res_blocks, bias=False, groups=groups), **up))
            adaptive.append(AdaptiveGroupNorm(z_channels, before, groups))
        self.up = nn.ModuleList(levels)
        self.adaptive = nn.ModuleList(adaptive)
        self.norm_out = norm(widths[0], groups)
        self.conv_out = nn.Conv2d(widths[0], 3 * patch**2, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        if z.shape[-1] * z.shape[-2] < 2:
            raise UsageError("a map of one token cannot be decoded: this decoder needs the spread over the tokens")
        h = self.conv_in(z)
        for block in self.mid_block:
            h = block(h)
        for adaptive, level in zip(reversed(self.adaptive), reversed(self.up), strict=True):
            h = level(adaptive(h, z))
        x: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return F.pixel_shuffle(x, self.patch)


class Upsample(nn.Module):
    """Four times the channels, then twice the resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 4 * channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return depth_to_space(self.conv1(x), 2)


class AdaptiveGroupNorm(nn.Module):
    """GroupNorm whose scale and bias come from the code map's spread and mean over all its tokens."""

    def __init__(self, z_channels: int, channels: int, groups: int = 32) -> None:
        super().__init__()
        self.groups = groups
        self.gamma = nn.Linear(z_channels, channels)
        self.beta = nn.Linear(z_channels, channels)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        tokens = z.flatten(2)
        # The unbiased variance, as published (the reference's comment says otherwise).
        scale = self.gamma((tokens.var(dim=-1) + EPS).sqrt())
        bias = self.beta(tokens.mean(dim=-1))
        x = F.group_norm(x, self.groups, eps=EPS)
        out: Tensor = scale[..., None, None] * x + bias[..., None, None]
        return out
