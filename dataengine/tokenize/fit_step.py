"""One step of the training of a tokenizer, and what a resumed run needs.

MAGVIT-v2's objective without what would have to be downloaded: reconstruction, and LFQ's commitment and entropy; no
trained perceptual network and no discriminator. Unusual:

- The reconstruction loss is the logarithm of the squared error, that is PSNR; a pixel of the object weighs more than
  one of the background, which is flat and cheap. Structural similarity and random features are added, logarithms too,
  so that an easy view weighs as much as a hard one.
- The entropy is measured on tokens of the object: the background should need few codes, not all of them.
- Most steps see squares cut around the object; the last ones whole views.
- The learning rate falls only at the end, so that a run can be continued with more steps.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dataengine.errors import UsageError
from dataengine.tokenize import fit_loss, lfq
from dataengine.tokenize.averaged_run import AveragedRun
from dataengine.tokenize.fit_views import draw_batch
from dataengine.tokenize.lfq import LFQ
from dataengine.tokenize.model import Tokenizer


@dataclass(frozen=True)
class FitSettings:
    """Numbers of the training.

    Attributes:
        batch: squares a step; whole views are as many fewer as they are larger.
        resolution: pixels a side of a view; others are scaled to it.
        crop: pixels a side of the squares.
        whole: share of the steps, at the end, that see whole views.
        fall: share of the steps, at the end, in which the learning rate falls to zero.
        background_weight: of a background pixel in the reconstruction, the object's being 1.
        structure, feature: weights of the logarithms of 1 - SSIM and of the feature distance, the squared error's
            being 1.
        commitment, certainty, diversity: weights of `lfq.Losses`.
        temperature: of the code distribution.
        average: decay of the moving average of the weights, which is what is kept.
    """

    batch: int = 8
    resolution: int = 128
    crop: int = 64
    learning_rate: float = 1e-3
    warmup: int = 100
    whole: float = 0.2
    fall: float = 0.4
    background_weight: float = 0.1
    structure: float = 0.3
    feature: float = 0.2
    commitment: float = 0.1
    certainty: float = 0.02
    diversity: float = 0.1
    temperature: float = 1.0
    average: float = 0.997
    seed: int = 0


class Step(NamedTuple):
    """Scalars of a step, on the device: reading one waits for it.

    Attributes:
        loss: what was minimised.
        psnr: of the weighted error, dB.
    """

    loss: Tensor
    psnr: Tensor


class Run(AveragedRun[Tokenizer]):
    """A tokenizer in training: network, moving average of its weights, optimizer and step.

    Args:
        model: on its device. On CUDA convolutions run in bfloat16.
        recipe: numbers of the training.

    Raises:
        UsageError: if its codes are not lookup-free.
    """

    def __init__(self, model: Tokenizer, recipe: FitSettings) -> None:
        super().__init__(
            model.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
            model.parameters(),
            learning_rate=recipe.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=0.01,
            decay=recipe.average,
        )
        if not isinstance(self.model.quantize, LFQ):
            raise UsageError(f"{model.spec.name}'s codes are numbers of a learned table: the fit trains bits only")
        self.quantize = self.model.quantize
        self.recipe = recipe

    def draw(self, pixels: Tensor, share: float) -> tuple[Tensor, Tensor]:
        """The next step's batch, `share` of the steps being done; see `draw_batch`."""
        r = self.recipe
        if share < 1 - r.whole:
            return draw_batch(pixels, r.seed, self.step, r.batch, crop=r.crop)
        fewer = max(1, round(r.batch * r.crop**2 / r.resolution**2))
        return draw_batch(pixels, r.seed, self.step, fewer, crop=None, turned=False)

    def train_step(self, x: Tensor, alpha: Tensor, share: float) -> Step:
        """One step on (B, 3, H, W) images in [-1, 1] and (B, 1, H, W) alpha, `share` of the steps being done."""
        r = self.recipe
        for group in self.optimizer.param_groups:
            group["lr"] = r.learning_rate * min(1.0, (self.step + 1) / r.warmup) * self.rate(share)
        loss, psnr = self.loss(x, alpha)
        self.descend(loss)
        return Step(loss.detach(), psnr)

    def rate(self, share: float) -> float:
        """Of learning when `share` of the steps is done, as a share of the recipe's; the first steps aside."""
        return min(1.0, (1 - share) / self.recipe.fall)

    def loss(self, x: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of a batch, and the PSNR of its weighted error in dB."""
        r = self.recipe
        with self.autocast:
            x = x.contiguous(memory_format=torch.channels_last)
            features = self.model.features(x).float()
            # Signs do not depend on a token's length, so the training may fix it: left free, the features run away from
            # 0 and their signs stop learning (binary spherical quantization, arXiv 2406.07548).
            z = F.rms_norm(features.permute(0, 2, 3, 1), (self.model.spec.bits,)).permute(0, 3, 1, 2)
            decoded = self.model.pixels(self.quantize.quantize(z)).float().contiguous()
            differ = fit_loss.feature(decoded, x, self.step) if r.feature else x.new_ones(len(x))
        error = fit_loss.squared_error(decoded, x, alpha, r.background_weight)
        unlike = fit_loss.structure(decoded, x, alpha) if r.structure else x.new_ones(len(x))
        # Bits are grouped anew each step, so that no two of them can agree unseen.
        order = torch.randperm(z.shape[1], generator=torch.Generator().manual_seed(self.step)).to(z.device)
        tokens = z.permute(0, 2, 3, 1).flatten(0, 2)
        terms = lfq.losses(tokens[:, order], r.temperature, self._on_object(alpha))
        loss = (
            (error + 1e-4).log().mean()
            + r.structure * (unlike + 1e-2).log().mean()
            + r.feature * (differ.float() + 1e-3).log().mean()
            + r.commitment * terms.commitment
            + r.certainty * terms.certainty
            - r.diversity * terms.diversity
        )
        return loss, -10 * (error.detach() / 4).log10().mean()

    def _on_object(self, alpha: Tensor) -> Tensor:
        """(N,) 1 for tokens whose patch has a pixel of the object, else 0; all 1 where there is none."""
        on_object = F.max_pool2d(alpha, self.model.spec.factor).flatten() > 0
        return torch.where(on_object.any(), on_object, True).float()  # no branch: the device need not be waited for
