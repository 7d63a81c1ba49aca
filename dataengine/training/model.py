"""The model: one bidirectional transformer over a caption and several views of an object.

    text tokens | [SOI] view 0 [EOI] | [SOI] view 1 [EOI] | …

What is unusual:
- Codebooks above 2^13 have neither an embedding table nor a softmax of their size: a code goes in as its bits (MaskBit,
  Weber et al. 2024) and comes out in two halves, the second predicted given the first, which is an exact joint
  distribution (Open-MAGVIT2, Luo et al. 2024, factorises in the same way).
- RoPE with three axes: place in the sequence (one step a text token, one step a view), row, column. So any number of
  views fits, also more than were trained on.
- Where a view was taken from is told by its azimuth relative to the first view, and its elevation. ViewMask-1-to-3 does
  without; `azimuth=False` turns it off.
- No padding mask: captions are padded with a token of its own to a fixed length, in training and sampling alike.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dataengine.errors import UsageError

PLAIN_BITS = 13
"""Up to this many bits a code has an embedding and a softmax of its own."""

SIZES: dict[str, tuple[int, int]] = {  # width, layers; heads are 64 wide
    "nano": (128, 4),
    "micro": (256, 6),
    "small": (512, 8),
    "base": (768, 12),
    "large": (1024, 24),
    "1b": (2048, 20),
}


@dataclass(frozen=True)
class ModelConfig:
    """What decides the parameters' names and shapes.

    Attributes:
        width: of the residual stream, a multiple of 64.
        layers: transformer blocks.
        bits: of a code; the codebook has 2^bits.
        grid: rows and columns of a view.
        text_vocabulary, text_length: of the caption's tokenizer; tokens of a caption, padding included.
        azimuth: whether the model is told where each view was taken from.
    """

    width: int
    layers: int
    bits: int
    grid: tuple[int, int]
    text_vocabulary: int
    text_length: int
    azimuth: bool = True

    @property
    def mask(self) -> int:
        """The id that stands for a masked code."""
        return 1 << self.bits

    @property
    def view_tokens(self) -> int:
        return self.grid[0] * self.grid[1]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "ModelConfig":
        return cls(**{**data, "grid": tuple(data["grid"])})


def preset(size: str, **rest: Any) -> ModelConfig:
    """The configuration of a named size. Raises UsageError for an unknown one."""
    if size not in SIZES:
        raise UsageError(f"no model size {size!r} (choose from {', '.join(SIZES)})")
    width, layers = SIZES[size]
    return ModelConfig(width=width, layers=layers, **rest)


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


class CodeVectors(nn.Module):
    """Codes (…) → (…, width): what their bits say and, in small codebooks, what each has of its own.

    The bits are the tokenizer's: codes that differ in one of them are alike, so what is learned of one serves others.
    """

    def __init__(self, width: int, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self.spelled = nn.Linear(bits, width, bias=False)
        self.own = nn.Embedding(1 << bits, width) if bits <= PLAIN_BITS else None

    def forward(self, codes: Tensor) -> Tensor:
        places = torch.arange(self.bits, device=codes.device)
        out: Tensor = self.spelled(((codes.unsqueeze(-1) >> places & 1) * 2 - 1).to(self.spelled.weight.dtype))
        return out if self.own is None else out + self.own(codes)


class CodeEmbedding(nn.Module):
    """Codes (…) with `mask` for the unknown ones → (…, width)."""

    def __init__(self, width: int, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self.unknown = nn.Parameter(torch.zeros(width))
        self.known = CodeVectors(width, bits)

    def forward(self, codes: Tensor) -> Tensor:
        masked = codes == 1 << self.bits
        return torch.where(masked[..., None], self.unknown, self.known(codes.masked_fill(masked, 0)))


class CodeSoftmax(nn.Module):
    """(…, width) → (…, 2^bits) logits: the product with each code's vector."""

    def __init__(self, width: int, bits: int) -> None:
        super().__init__()
        self.vectors = CodeVectors(width, bits)

    def forward(self, x: Tensor) -> Tensor:
        codes = torch.arange(1 << self.vectors.bits, device=x.device)
        return F.linear(x, self.vectors(codes))


class CodeHead(nn.Module):
    """The distribution over codes, in one part or in two of which the second is given the first.

    Attributes:
        parts: bits of each part; the first part holds the highest bits.
    """

    def __init__(self, width: int, bits: int) -> None:
        super().__init__()
        self.parts: tuple[int, ...] = (bits,) if bits <= PLAIN_BITS else (bits - bits // 2, bits // 2)
        self.norm = nn.RMSNorm(width)
        self.outputs = nn.ModuleList(CodeSoftmax(width, b) for b in self.parts)
        if len(self.parts) > 1:
            self.first = nn.Embedding(1 << self.parts[0], width)
            self.mix_norm, self.mix = nn.RMSNorm(width), SwiGLU(width)

    def split(self, codes: Tensor) -> list[Tensor]:
        """Codes → their parts."""
        return [codes] if len(self.parts) == 1 else [codes >> self.parts[1], codes & (1 << self.parts[1]) - 1]

    def join(self, parts: list[Tensor]) -> Tensor:
        """The inverse of `split`."""
        return parts[0] if len(parts) == 1 else parts[0] << self.parts[1] | parts[1]

    def logits(self, x: Tensor, known: list[Tensor]) -> Tensor:
        """(…, width) → float32 logits of the part that follows the known ones."""
        x = self.norm(x)
        if known:
            x = x + self.mix(self.mix_norm(x + self.first(known[0])))
        out: Tensor = self.outputs[len(known)](x).float()
        return out

    def nll(self, x: Tensor, codes: Tensor) -> Tensor:
        """(N, width), (N,) → (N,) negative log-likelihood in nats."""
        parts = self.split(codes)
        return torch.stack(
            [F.cross_entropy(self.logits(x, parts[:i]), part, reduction="none") for i, part in enumerate(parts)]
        ).sum(0)


class ViewModel(nn.Module):
    """The whole model. See the module's docstring.

    Args:
        config: sizes.
        checkpointing: recompute each block in the backward pass: memory for a third more time.
    """

    def __init__(self, config: ModelConfig, checkpointing: bool = False) -> None:
        super().__init__()
        self.config, self.checkpointing = config, checkpointing
        width = config.width
        self.text = nn.Embedding(config.text_vocabulary, width)
        self.codes = CodeEmbedding(width, config.bits)
        self.borders = nn.Parameter(torch.empty(2, width))  # [SOI] and [EOI]
        if config.azimuth:
            self.angles = nn.Linear(10, width, bias=False)
        self.blocks = nn.ModuleList(Block(width) for _ in range(config.layers))
        self.head = CodeHead(width, config.bits)
        self.apply(self._init)
        nn.init.normal_(self.borders, std=0.02)
        nn.init.normal_(self.codes.unknown, std=0.02)
        for block in self.blocks:
            for last in (block.attention.out, block.mlp.down):  # type: ignore[union-attr]
                nn.init.normal_(last.weight, std=0.02 / math.sqrt(2 * config.layers))  # type: ignore[arg-type, union-attr]

    @staticmethod
    def _init(module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)

    def forward(
        self, text: Tensor, codes: Tensor, angles: Tensor, targets: Tensor | None = None, masked: Tensor | None = None
    ) -> Tensor:
        """Features, or losses where targets are given (in one call: data-parallel wrappers hook `forward`).

        Args:
            text: (B, text_length) ids.
            codes: (B, V, L) codes, `config.mask` where unknown.
            angles: (B, V, 2) radians: azimuth relative to the first view, elevation.
            targets: (B, V, L) codes.
            masked: (B, V, L) bool: where the loss is asked for.

        Returns:
            (B, V, L, width); with targets (N,) nats, one a masked token, in the order of `masked`.
        """
        batch, views, length = codes.shape
        x: Tensor = self.codes(codes)
        soi, eoi = (b.expand(batch, views, 1, -1) for b in self.borders)
        x = torch.cat([soi, x, eoi], 2)
        if self.config.azimuth:
            x = x + self.angles(angle_features(angles))[:, :, None]
        x = torch.cat([self.text(text), x.flatten(1, 2)], 1)
        cos, sin = rotations(self.config, views, x.device)
        for block in self.blocks:
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, (cos, sin), use_reentrant=False)
            else:
                x = block(x, (cos, sin))
        x = x[:, text.shape[1] :].view(batch, views, length + 2, -1)[:, :, 1:-1]
        if targets is None or masked is None:
            return x
        # Only here is a tensor's size decided by data: the blocks, which are compiled, see fixed shapes.
        nll: Tensor = self.head.nll(x[masked], targets[masked])
        return nll


def angle_features(angles: Tensor) -> Tensor:
    """(…, 2) azimuth and elevation → (…, 10): four harmonics of the azimuth, one of the elevation."""
    azimuth, elevation = angles.unbind(-1)
    waves = azimuth[..., None] * torch.arange(1, 5, device=angles.device)
    return torch.cat([waves.cos(), waves.sin(), elevation.cos()[..., None], elevation.sin()[..., None]], -1)


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
