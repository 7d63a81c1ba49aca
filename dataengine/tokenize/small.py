"""Our own small tokenizer: convolutions only, cheap to encode with, its decoder four levels of pixels deep.

Unusual:

- Features are normalised at each place over the channels, once a residual block and where a level is left, without
  parameters, in place of GroupNorm's statistics over the whole image. So both halves are local: a token depends on the
  pixels around it alone and a pixel on the tokens around it. Crops teach what whole views need, a map may have any
  size, and an edited token changes its neighbourhood only.
- The encoder folds patches into channels first; the decoder has no such shortcut, but a level at every resolution up to
  the image's own, where a decoder that looks at other views can attend.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dataengine.tokenize.layers import EPS


class Encoder(nn.Module):
    """(B, 3, H, W) in [-1, 1] → (B, bits, H/f, W/f) before quantization, f = patch · 2^(levels - 1).

    Args:
        bits: of a code.
        widths: channels of each level, from fine to coarse.
        blocks: residual blocks of each level.
        patch: pixels a side that are folded into channels before the first convolution.
    """

    def __init__(self, bits: int, widths: Sequence[int], blocks: Sequence[int], patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.conv_in = nn.Conv2d(3 * patch**2, widths[0], 3, padding=1)
        self.levels = nn.ModuleList(_level(width, count) for width, count in zip(widths, blocks, strict=True))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.conv_out = nn.Conv2d(widths[-1], bits, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.levels[0](self.conv_in(F.pixel_unshuffle(x, self.patch)))
        for down, level in zip(self.down, self.levels[1:], strict=True):
            h = level(down(_norm(h)))
        z: Tensor = self.conv_out(F.silu(_norm(h)))
        return z


class Decoder(nn.Module):
    """(B, bits, h, w) of ±1 → (B, 3, f·h, f·w), about [-1, 1], f = 2^(levels - 1).

    Args:
        bits: of a code.
        widths: channels of each level, from coarse to fine.
        blocks: residual blocks of each level.
    """

    def __init__(self, bits: int, widths: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(bits, widths[0], 3, padding=1)
        self.levels = nn.ModuleList(_level(width, count) for width, count in zip(widths, blocks, strict=True))
        self.up = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.conv_out = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.levels[0](self.conv_in(z))
        for up, level in zip(self.up, self.levels[1:], strict=True):
            h = level(up(F.interpolate(_norm(h), scale_factor=2.0, mode="nearest")))
        x: Tensor = self.conv_out(F.silu(_norm(h)))
        return x


class Block(nn.Module):
    """norm, swish, conv, swish, conv, added to the input; the second convolution starts at zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv2(F.silu(self.conv1(F.silu(_norm(x)))))
        return out


def _norm(x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):  # the kernel adds in float32 as it is: keep what it writes small
        return F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), eps=EPS).permute(0, 3, 1, 2)


def _level(width: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*(Block(width) for _ in range(blocks)))
