"""Codes into the model and out of it: as their bits, and in two halves where the codebook is large."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dataengine.training.model.transformer import SwiGLU

PLAIN_BITS = 13
"""Up to this many bits a code has an embedding and a softmax of its own."""


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
