"""The transformer's parts: full attention with rotary positions on three axes, gated feed-forward layers."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dataengine.training.model.config import ModelConfig


class Attention(nn.Module):
    """Full self-attention with RMS-normalised queries and keys (stable in bf16) and rotary positions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // 64
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.q_norm, self.k_norm = nn.RMSNorm(64), nn.RMSNorm(64)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, 64)).permute(2, 0, 3, 1, 4)
        q, k = rotate(self.q_norm(q), rotation), rotate(self.k_norm(k), rotation)
        y = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v)
        out: Tensor = self.out(y.transpose(1, 2).flatten(2))
        return out


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Turns pairs of channels (…, T, 64) by the angles whose cosine and sine (T, 32) are given."""
    cos, sin = rotation
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


class SwiGLU(nn.Module):
    """Gated feed-forward (Shazeer 2020), 8/3 as wide inside, so that it costs what the usual 4× does."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = -(-8 * width // 3 // 64) * 64
        self.gate_up = nn.Linear(width, 2 * inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, -1)
        out: Tensor = self.down(F.silu(gate) * up)
        return out


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention_norm, self.attention = nn.RMSNorm(width), Attention(width)
        self.mlp_norm, self.mlp = nn.RMSNorm(width), SwiGLU(width)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        x = x + self.attention(self.attention_norm(x), rotation)
        out: Tensor = x + self.mlp(self.mlp_norm(x))
        return out


def rotations(config: ModelConfig, views: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosine and sine (T, 32) of a sequence's rotary angles: 8 pairs for place, 12 for row, 12 for column."""
    rows, columns = config.grid
    place = torch.cat(
        [
            torch.arange(config.text_length),
            torch.arange(views).repeat_interleave(rows * columns + 2) + config.text_length,
        ]
    )
    grid = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)) + 1
    view = torch.cat([torch.zeros(1, 2), grid, torch.tensor([[rows + 1, columns + 1]])])
    inside = torch.cat([torch.zeros(config.text_length, 2), view.repeat(views, 1)])
    angles = torch.cat([_angles(place, 8, 1000), _angles(inside[:, 0], 12, 100), _angles(inside[:, 1], 12, 100)], 1)
    return angles.cos().to(device), angles.sin().to(device)


def _angles(position: Tensor, pairs: int, base: float) -> Tensor:
    frequencies = torch.pow(base, -torch.arange(pairs) / pairs)
    return position[:, None].float() * frequencies
