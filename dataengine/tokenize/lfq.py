"""Lookup-free quantization (MAGVIT-v2, arXiv 2310.05737 §3.1): a code is the signs of its channels, read as bits."""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dataengine.errors import UsageError

BitOrder = Literal["lsb_first", "msb_first", "none"]
"""Of a code's bits, the quantizer's channel 0 being the lowest or the highest; none: they are numbers of a table."""


class LFQ(nn.Module):
    """Codes from features and back.

    Args:
        bits: channels of the features; the codebook has 2^bits codes.
        bit_order: `lsb_first`: channel 0 is bit 0 (Open-MAGVIT2); `msb_first`: channel 0 is the highest (Show-o).
        tables: keep `embedding` (2^bits, bits) and `power_vals` (bits) in the state_dict, as Show-o's file does.
    """

    def __init__(self, bits: int, bit_order: BitOrder, *, tables: bool = False) -> None:
        super().__init__()
        self.bits = bits
        self.bit_order = bit_order
        order = torch.arange(bits) if bit_order == "lsb_first" else torch.arange(bits - 1, -1, -1)
        self.power_vals: Tensor
        if tables:
            self.register_buffer("embedding", 2.0 * (torch.arange(2**bits)[:, None] >> order & 1) - 1.0)
        self.register_buffer("power_vals", 2**order, persistent=tables)

    def indices(self, z: Tensor) -> Tensor:
        """(B, bits, h, w) features → (B, h, w) int64 codes. A bit is set where its channel is above 0."""
        return ((z > 0) * self.power_vals[:, None, None]).sum(1)

    def features(self, codes: Tensor) -> Tensor:
        """(B, h, w) integer codes → (B, bits, h, w) float32 of ±1.

        Raises:
            UsageError: if a code is not in the codebook.
        """
        codes = codes.to(torch.int64)
        if codes.numel() and (codes.min() < 0 or codes.max() >= 2**self.bits):
            raise UsageError(
                f"codes must be 0 to {2**self.bits - 1}, these are {int(codes.min())} to {int(codes.max())}"
            )
        return ((codes[:, None] & self.power_vals[:, None, None]) != 0) * 2.0 - 1.0

    def quantize(self, z: Tensor) -> Tensor:
        """Signs of the features, with the gradient passed straight through."""
        signs = torch.where(z > 0, 1.0, -1.0)
        return z + (signs - z).detach()


class Losses(NamedTuple):
    """Scalars.

    Attributes:
        commitment: mean squared distance of the features to their signs.
        certainty: entropy of a token's code distribution, nats: low when every token is sure of its code.
        diversity: entropy of the mean code distribution, nats: high when all codes are used. Measured on groups of
            `GROUP` bits and summed, which is an upper bound: the whole codebook would cost more than the network.
    """

    commitment: Tensor
    certainty: Tensor
    diversity: Tensor


GROUP = 7


def losses(z: Tensor, temperature: float, weight: Tensor | None = None) -> Losses:
    """LFQ's training terms, to be minimised as commitment, + certainty, - diversity.

    Args:
        z: (N, bits) features of N tokens.
        weight: (N,) how much each of them counts in the means; default: all the same.
        temperature: of the code distribution, whose bits are independent with p = sigmoid(4 z / temperature), the
            softmax over the squared distances to +1 and -1.
    """
    share = (torch.ones_like(z[:, 0]) if weight is None else weight)[:, None]
    share = share / share.sum()
    logits = 4 * z / temperature
    log_set, log_unset = F.logsigmoid(logits), F.logsigmoid(-logits)
    # Independent bits: a token's entropy is the sum over its bits, exactly.
    certainty = -((log_set.exp() * log_set + log_unset.exp() * log_unset) * share).sum()
    diversity = z.new_zeros(())
    for first in range(0, z.shape[1], GROUP):
        group = slice(first, first + GROUP)
        bits = log_set[:, group].shape[1]
        codebook = (torch.arange(2**bits)[:, None] >> torch.arange(bits) & 1).to(z)
        mean = (log_set[:, group] @ codebook.T + log_unset[:, group] @ (1 - codebook).T).exp().mul(share).sum(0)
        diversity = diversity - (mean * (mean + 1e-12).log()).sum()
    commitment = ((z - torch.where(z > 0, 1.0, -1.0)).square() * share).sum() / z.shape[1]
    return Losses(commitment, certainty, diversity)
