"""The round trip of views that a tokenizer was not trained on."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dataengine.tokenize.features import feature_distance
from dataengine.tokenize.metrics import psnr, ssim
from dataengine.tokenize.model import Tokenizer


@dataclass(frozen=True)
class Quality:
    """Round trip of views of models that were not trained on, over white.

    Attributes:
        psnr, psnr_object, ssim: means over views, dB; `psnr_object` over the pixels with alpha above 0.
        feature: mean distance of random features, see `features.feature_distance`.
        codes_used: share of the codebook that occurs.
        bit_entropy: of the least used bit over tokens of objects, in bits: 1 where it is set half of the time.
        views: how many.
    """

    psnr: float
    psnr_object: float
    ssim: float
    feature: float
    codes_used: float
    bit_entropy: float
    views: int

    def __str__(self) -> str:
        return (
            f"{self.psnr_object:.2f} dB on the object, {self.psnr:.2f} dB, SSIM {self.ssim:.3f}, "
            f"feature {self.feature:.4f}, over {self.views} views of unseen models"
        )


@torch.no_grad()
def measure(tokenizer: Tokenizer, pixels: Tensor, batch: int = 8) -> Quality:
    """The round trip over white; images are rounded to 8 bits, as a person would see them.

    Args:
        pixels: (N, 4, H, H) uint8 straight-alpha RGBA.
    """
    device = next(tokenizer.parameters()).device
    codes, set_bits, tokens_on_object = [], torch.zeros(tokenizer.spec.bits, device=device), 0
    values: dict[str, list[Tensor]] = {"psnr": [], "psnr_object": [], "ssim": [], "feature": []}
    for part in torch.split(pixels, batch):
        rgba = part.to(device).float()
        alpha = rgba[:, 3:] / 255
        x = (rgba[:, :3] * alpha + 255 * (1 - alpha)).round() / 255
        tokens = tokenizer.encode((x * 2 - 1).contiguous(memory_format=torch.channels_last))
        decoded = ((tokenizer.decode(tokens) + 1) / 2).clamp(0, 1).mul(255).round() / 255
        values["psnr"].append(psnr(decoded, x))
        values["psnr_object"].append(psnr(decoded, x, alpha > 0))
        values["ssim"].append(ssim(decoded, x))
        values["feature"].append(feature_distance(decoded, x))
        on_object = torch.nn.functional.max_pool2d(alpha, tokenizer.spec.factor)[:, 0] > 0
        set_bits += (tokens[on_object][:, None] >> torch.arange(tokenizer.spec.bits, device=device) & 1).sum(0)
        tokens_on_object += int(on_object.sum())
        codes.append(tokens.flatten())
    share = (set_bits / max(1, tokens_on_object)).double()
    entropy = -(torch.xlogy(share, share) + torch.xlogy(1 - share, 1 - share)) / torch.log(torch.tensor(2.0))
    return Quality(
        **{name: float(torch.cat(found).nanmean()) for name, found in values.items()},
        codes_used=len(torch.unique(torch.cat(codes))) / tokenizer.spec.codebook_size,
        bit_entropy=float(entropy.min()),
        views=len(pixels),
    )
