"""Vector quantization with a learned table (van den Oord et al. 2017): a code is the number of the nearest row."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dataengine.errors import UsageError

COUNTED = 65536  # entries of the counter that the published files hold


class Codebook(nn.Module):
    """Codes from features and back. Rows and features are compared, and handed on, at length 1 (ViT-VQGAN).

    Args:
        bits: the table has 2^bits rows.
        channels: of a row, and of the features.
    """

    def __init__(self, bits: int, channels: int) -> None:
        super().__init__()
        self.bits = bits
        self.embedding = nn.Embedding(2**bits, channels)
        # Which codes the training saw last: in the published files, and of no use here.
        self.register_buffer("codebook_used", torch.zeros(COUNTED))

    def indices(self, z: Tensor) -> Tensor:
        """(B, channels, h, w) features → (B, h, w) int64 codes; of rows equally near, the first."""
        rows = F.normalize(self.embedding.weight, dim=-1)
        # At length 1 the nearest has the largest product.
        features = F.normalize(z.movedim(1, -1), dim=-1)
        return torch.stack([(image @ rows.T).argmax(-1) for image in features])

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
        return F.normalize(self.embedding(codes), dim=-1).movedim(-1, 1)
