"""The layers that both published MAGVIT-v2 networks are made of. Tensors are (B, C, H, W)."""

import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-6


def norm(channels: int, groups: int = 32) -> nn.GroupNorm:
    return nn.GroupNorm(groups, channels, eps=EPS)


class ResBlock(nn.Module):
    """norm, swish, conv, norm, swish, conv, added to the input; a 1×1 `shortcut` where the width changes."""

    def __init__(
        self, channels_in: int, channels_out: int, *, bias: bool, groups: int = 32, shortcut: str = "nin_shortcut"
    ) -> None:
        super().__init__()
        self.norm1 = norm(channels_in, groups)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=bias)
        self.norm2 = norm(channels_out, groups)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=bias)
        if channels_in != channels_out:
            self.add_module(shortcut, nn.Conv2d(channels_in, channels_out, 1, bias=bias))
        self.shortcut = shortcut if channels_in != channels_out else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        shortcut: Tensor = x if self.shortcut is None else self.get_submodule(self.shortcut)(x)
        out: Tensor = shortcut + h
        return out


class Attention(nn.Module):
    """One head over all positions, as wide as the features, added to the input."""

    def __init__(self, channels: int, groups: int = 32) -> None:
        super().__init__()
        self.norm = norm(channels, groups)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (layer(h).flatten(2).transpose(1, 2) for layer in (self.q, self.k, self.v))
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        out: Tensor = x + self.proj_out(h)
        return out


class Level(nn.Module):
    """The residual blocks of one resolution, and the layer that leaves it."""

    def __init__(self, block: list[ResBlock], **exit: nn.Module) -> None:
        super().__init__()
        self.block = nn.ModuleList(block)
        for name, layer in exit.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            if isinstance(layer, nn.ModuleList):
                for block in layer:
                    x = block(x)
            else:
                x = layer(x)
        return x


def res_blocks(channels_in: int, channels_out: int, count: int, *, bias: bool, groups: int = 32) -> list[ResBlock]:
    """`count` blocks; the first one changes the width."""
    return [
        ResBlock(channels_in if i == 0 else channels_out, channels_out, bias=bias, groups=groups) for i in range(count)
    ]


def depth_to_space(x: Tensor, factor: int) -> Tensor:
    """(B, f·f·C, H, W) → (B, C, f·H, f·W), the offsets outermost (DCR; `pixel_shuffle` has them innermost)."""
    b, c, h, w = x.shape
    channels = c // factor**2
    x = x.view(b, factor**2, channels, h, w).transpose(1, 2).reshape(b, c, h, w)
    return F.pixel_shuffle(x, factor)
