"""Vector quantization with a learned table (van den Oord et al. 2017): a code is the number of a row."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dataengine.errors import UsageError

Fit = Literal["cosine", "distance", "product"]
COUNTED = 65536  # entries of the counter that LlamaGen's files hold


class Codebook(nn.Module):
    """Codes from features and back.

    Args:
        bits: the table has 2^bits rows.
        channels: of a row, and of the features.
        fit: which row a feature gets. `cosine`: the nearest, both at length 1, at which rows are handed on too
            (ViT-VQGAN, LlamaGen); `distance`: the nearest (VQ-VAE); `product`: that of the largest product (IBQ).
    """

    def __init__(self, bits: int, channels: int, fit: Fit = "cosine") -> None:
        super().__init__()
        self.bits, self.fit = bits, fit
        self.embedding = nn.Embedding(2**bits, channels)
        if fit == "cosine":  # which codes the training saw last: in LlamaGen's files, and of no use here
            self.register_buffer("codebook_used", torch.zeros(COUNTED))

    def indices(self, z: Tensor) -> Tensor:
        """(B, channels, h, w) features → (B, h, w) int64 codes; of rows that fit equally, the first."""
        features, rows = z.movedim(1, -1), self.embedding.weight
        if self.fit == "cosine":  # at length 1 the nearest has the largest product
            features, rows = F.normalize(features, dim=-1), F.normalize(rows, dim=-1)
        # Of the squared distance to a row, what differs from row to row.
        less = rows.square().sum(1) / 2 if self.fit == "distance" else torch.zeros_like(rows[:, 0])
        return torch.stack([(image @ rows.T - less).argmax(-1) for image in features])

    def features(self, codes: Tensor) -> Tensor:
        """(B, h, w) integer codes → (B, channels, h, w) float32.

        Raises:
            UsageError: if a code is not in the codebook.
        """
        codes = codes.to(torch.int64)
        if codes.numel() and (codes.min() < 0 or codes.max() >= 2**self.bits):
            raise UsageError(
                f"codes must be 0 to {2**self.bits - 1}, these are {int(codes.min())} to {int(codes.max())}"
            )
        rows: Tensor = self.embedding(codes)
        return (F.normalize(rows, dim=-1) if self.fit == "cosine" else rows).movedim(-1, 1)
