"""What a depth-guided decoder brings on views that it was not trained on, beside the plain decoder."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dataengine.tokenize.decoder_views import Pictures
from dataengine.tokenize.depth_guided import DepthGuidedDecoder
from dataengine.tokenize.depth_noise import structured_noise
from dataengine.tokenize.metrics import psnr, ssim
from dataengine.tokenize.model import Tokenizer

NEAR_DEGREES = 60.0  # between a view and the given one, from the origin
MARGIN = 2  # pixels between the silhouette's edge and its interior


@dataclass(frozen=True)
class DecoderQuality:
    """Means over the views that are not given, of objects that were not trained on; the first view is given.

    Attributes:
        psnr_object, plain_object: on the object, dB: of this decoder, of the plain one.
        near_object, plain_near: the same over views within 60° of the given one.
        ssim, plain_ssim: over whole views.
        views, near_views: how many.
    """

    psnr_object: float
    plain_object: float
    near_object: float
    plain_near: float
    ssim: float
    plain_ssim: float
    views: int
    near_views: int

    def __str__(self) -> str:
        return (
            f"{self.psnr_object:.2f} dB on the object (plain {self.plain_object:.2f}), {self.near_object:.2f} "
            f"({self.plain_near:.2f}) within {NEAR_DEGREES:.0f}° of the given view, SSIM {self.ssim:.3f} "
            f"({self.plain_ssim:.3f}), over {self.views} views of unseen models"
        )


@torch.no_grad()
def measure(
    tokenizer: Tokenizer, model: DepthGuidedDecoder, batches: Iterable[Mapping[str, Tensor]], wrong: float = 0.0
) -> DecoderQuality:
    """Decodes the tokens of true views, the first one given.

    Args:
        batches: fields of `dataengine.Views` as DecoderRun.train_step takes them.
        wrong: amplitude of structured noise in the depth that the decoder is told, world units.
    """
    device = next(model.parameters()).device
    found: dict[str, list[Tensor]] = {name: [] for name in ("ours", "plain", "ours_ssim", "plain_ssim", "near")}
    for seed, batch in enumerate(batches):
        pictures = Pictures.of(batch, device)
        guided, plain = decode_true(tokenizer, model, pictures, wrong, seed)
        truth, alpha = (pictures.colour.flatten(0, 1) + 1) / 2, pictures.alpha.flatten(0, 1) > 0
        scored = torch.ones(pictures.colour.shape[:2], dtype=torch.bool, device=device)
        scored[:, 0] = False
        kept = scored.flatten()
        for name, image in (("ours", guided), ("plain", plain)):
            flat = image.flatten(0, 1)
            found[name].append(psnr(flat, truth, alpha)[kept])
            found[f"{name}_ssim"].append(ssim(flat, truth)[kept])
        found["near"].append(near_given(pictures.c2w).flatten()[kept])
    ours, plain, near = (torch.cat(found[name]) for name in ("ours", "plain", "near"))
    seen = ~ours.isnan()

    def mean(values: Tensor, where: Tensor) -> float:
        return float(values[seen & where].mean())

    return DecoderQuality(
        psnr_object=mean(ours, seen),
        plain_object=mean(plain, seen),
        near_object=mean(ours, near),
        plain_near=mean(plain, near),
        ssim=float(torch.cat(found["ours_ssim"]).mean()),
        plain_ssim=float(torch.cat(found["plain_ssim"]).mean()),
        views=int(seen.sum()),
        near_views=int((seen & near).sum()),
    )


def decode_true(
    tokenizer: Tokenizer, model: DepthGuidedDecoder, pictures: Pictures, wrong: float, seed: int
) -> tuple[Tensor, Tensor]:
    """(B, V, 3, H, W) in [0, 1] as 8 bits hold it: the guided and the plain decoding of the views' own tokens."""
    b, v = pictures.colour.shape[:2]
    codes = tokenizer.encode(pictures.colour.flatten(0, 1))
    z = tokenizer.quantize.features(codes)
    known = torch.zeros((b, v), dtype=torch.bool, device=z.device)
    known[:, 0] = True
    depth = structured_noise(pictures.depth, wrong, torch.Generator(z.device).manual_seed(seed)) if wrong else None
    guided = model(z.view(b, v, *z.shape[1:]), pictures.scene(known, depth))
    plain = tokenizer.pixels(z).view_as(guided)
    return rounded(guided), rounded(plain)


def near_given(c2w: Tensor) -> Tensor:
    """(B, V) bool: which cameras stand within 60° of the first one, seen from the origin."""
    place = torch.nn.functional.normalize(c2w[..., :3, 3], dim=-1)
    return (place * place[:, :1]).sum(-1) >= math.cos(math.radians(NEAR_DEGREES)) - 1e-6


def interior(alpha: Tensor, margin: int = MARGIN) -> Tensor:
    """(…, 1, H, W) bool: where the object fully covers a pixel and all that lie within `margin` of it, diagonally too.

    A decoder that is told depth is told the silhouette, and gains by it at the edge; what it gains of the surface is
    what it gains here. Outside the picture nothing is known to be an edge.

    Args:
        alpha: (…, 1, H, W) in [0, 1].
    """
    whole = (alpha >= 1 - 1e-3).float().reshape(-1, 1, *alpha.shape[-2:])
    inner = -torch.nn.functional.max_pool2d(-whole, 2 * margin + 1, 1, margin)
    return (inner > 0).view(alpha.shape)


def rounded(image: Tensor) -> Tensor:
    """RGB, about [-1, 1], as 8 bits hold it, in [0, 1]."""
    out: Tensor = ((image.float() + 1) / 2).clamp(0, 1).mul(255).round() / 255
    return out
