"""One step of the training of a depth-guided decoder: frozen codes, wrong depth, one view given.

What is minimised is that of `tokenizer fit`: logarithms of the squared error, of 1 - SSIM and of a distance of random
features. The given view is never scored, in training or after.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dataengine.tokenize import fit_loss
from dataengine.tokenize.averaged_run import AveragedRun
from dataengine.tokenize.decoder_views import Drawn, Pictures, draw
from dataengine.tokenize.depth_guided import DepthGuidedDecoder
from dataengine.tokenize.depth_noise import Noise
from dataengine.tokenize.model import Tokenizer


@dataclass(frozen=True)
class DecoderSettings:
    """Numbers of the training.

    Attributes:
        views: of a sample, drawn from those that it has; at least 2.
        given: share of the samples in which one view is known.
        noise, amplitude: of the depth, see depth_noise.py.
        exact: share of the samples whose depth is as rendered, and said to be; the others' is wrong as estimates are.
        grown, shrunk: pixels by which the object is too large or too small in the depth, at most.
        decoder_rate: learning rate of the copied decoder, as a share of the new layers'.
        fall: share of the steps, at the end, in which the learning rate falls to zero.
        average: decay of the moving average of the weights, which is what is kept.
    """

    views: int = 6
    given: float = 0.8
    noise: Noise = "structured"
    amplitude: float = 0.1
    exact: float = 0.5
    grown: int = 3
    shrunk: int = 1
    learning_rate: float = 1e-3
    decoder_rate: float = 0.2
    warmup: int = 100
    fall: float = 0.4
    background_weight: float = 0.1
    structure: float = 0.3
    feature: float = 0.2
    average: float = 0.998
    seed: int = 0


class DecoderRun(AveragedRun[DepthGuidedDecoder]):
    """A depth-guided decoder in training.

    Args:
        tokenizer: frozen, on its device. On CUDA both run in bfloat16.
        model: to train, on the same device.
        recipe: numbers of the training.
    """

    def __init__(self, tokenizer: Tokenizer, model: DepthGuidedDecoder, recipe: DecoderSettings) -> None:
        self.tokenizer = tokenizer.eval().requires_grad_(False)
        self.recipe = recipe
        if model.guidance.after_decoding:
            model.decoder.requires_grad_(False)
        copied = {id(p) for p in model.decoder.parameters()}
        groups = [
            {"params": [p for p in model.parameters() if id(p) not in copied], "share": 1.0},
            {"params": [p for p in model.decoder.parameters() if p.requires_grad], "share": recipe.decoder_rate},
        ]
        super().__init__(
            model,
            groups,
            learning_rate=recipe.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=0.01,
            decay=recipe.average,
        )

    def train_step(self, batch: Mapping[str, Tensor], share: float) -> tuple[Tensor, Tensor]:
        """One step; `share` of the steps is done.

        Args:
            batch: `colour` (B, V, 3, H, W) in [0, 1], `alpha` and `depth` (B, V, 1, H, W), `K`, `c2w`, `orthographic`:
                fields of `dataengine.Views`, over white.

        Returns:
            The loss and the PSNR of the weighted error in dB, scalars on the device.
        """
        r = self.recipe
        rate = r.learning_rate * min(1.0, (self.step + 1) / r.warmup) * min(1.0, (1 - share) / r.fall)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        torch.manual_seed(r.seed * 1_000_003 + self.step)  # of the points on the rays: a resumed run draws the same
        drawn = draw(Pictures.of(batch, self.device), r, self.step)
        loss, psnr = self.loss(drawn)
        if loss.requires_grad:
            self.descend(loss)
        else:  # nothing that is trained was used: no pixel has depth
            self.step += 1
        return loss.detach(), psnr

    def loss(self, drawn: Drawn) -> tuple[Tensor, Tensor]:
        """The loss of a batch over the views that are not given, and the PSNR of its weighted error in dB."""
        r = self.recipe
        x = drawn.colour.flatten(0, 1)
        with self.autocast:
            codes = self.tokenizer.encode(x)
            z = self.tokenizer.quantize.features(codes)
            z = z.view(*drawn.colour.shape[:2], *z.shape[1:])
            decoded = self.model(z, drawn.scene)
        scored = ~drawn.scene.known.flatten()
        x, alpha = x[scored], drawn.alpha.flatten(0, 1)[scored]
        decoded = decoded.flatten(0, 1)[scored].float().contiguous()
        error = fit_loss.squared_error(decoded, x, alpha, r.background_weight)
        loss = (error + 1e-4).log().mean()
        loss = loss + r.structure * (fit_loss.structure(decoded, x, alpha) + 1e-2).log().mean()
        if r.feature:
            loss = loss + r.feature * (fit_loss.feature(decoded, x, self.step).float() + 1e-3).log().mean()
        return loss, -10 * (error.detach() / 4).log10().mean()
