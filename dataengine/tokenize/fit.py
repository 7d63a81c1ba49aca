"""Training of the small tokenizer on rendered views.

MAGVIT-v2's objective without what would have to be downloaded: reconstruction, and LFQ's commitment and entropy; no
perceptual network and no discriminator. Unusual:

- The reconstruction loss is the logarithm of the squared error, that is PSNR; a pixel of the object weighs more than
  one of the background, which is flat and cheap.
- The entropy is measured on tokens of the object: the background should need few codes, not all of them.
- Most steps see squares cut around the object; the last ones, while the learning rate falls, whole views.
- The learning rate falls only at the end, so that a run can be continued with more steps.
- A step draws the same batch whether or not the run was interrupted before it.
"""

import copy
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor

from dataengine.corpus.storage import Store
from dataengine.errors import DataengineError, UsageError
from dataengine.tokenize import lfq
from dataengine.tokenize.checkpoint import read_pickle, weights_sha256
from dataengine.tokenize.device_tokenizer import pick_device
from dataengine.tokenize.fit_views import WHITE, draw_batch, find_views, load_view
from dataengine.tokenize.images import composite
from dataengine.tokenize.metrics import psnr, ssim
from dataengine.tokenize.model import SMALL, Tokenizer, build

MEASURE_VIEWS = 96  # on the way; the finished network is measured on all that are held out
KEEP_EVERY = 50
MEASURE_EVERY = 250


@dataclass(frozen=True)
class FitSettings:
    """Numbers of the training; the defaults made the shipped file.

    Attributes:
        batch: squares a step; whole views are as many fewer as they are larger.
        resolution: pixels a side of a view; others are scaled to it.
        crop: pixels a side of the squares.
        fall: share of the steps, at the end, in which views are whole and the learning rate falls to zero.
        background_weight: of a background pixel in the reconstruction, the object's being 1.
        commitment, certainty, diversity: weights of `lfq.Losses`.
        temperature: of the code distribution.
        average: decay of the moving average of the weights, which is what is kept.
    """

    batch: int = 8
    resolution: int = 128
    crop: int = 64
    learning_rate: float = 2e-3
    warmup: int = 100
    fall: float = 0.4
    background_weight: float = 0.1
    commitment: float = 0.1
    certainty: float = 0.02
    diversity: float = 0.1
    temperature: float = 1.0
    average: float = 0.997
    seed: int = 0


@dataclass(frozen=True)
class Quality:
    """Round trip of views of models that were not trained on, over white.

    Attributes:
        psnr, psnr_object, ssim: means over views, dB; `psnr_object` over the pixels with alpha above 0.
        codes_used: share of the codebook that occurs.
        views: how many.
    """

    psnr: float
    psnr_object: float
    ssim: float
    codes_used: float
    views: int

    def __str__(self) -> str:
        return (
            f"{self.psnr_object:.2f} dB on the object, {self.psnr:.2f} dB, SSIM {self.ssim:.3f}, "
            f"{self.codes_used:.0%} of codes used, over {self.views} views of unseen models"
        )


@dataclass(frozen=True)
class Progress:
    """Said after every step. `quality` is None but for steps that measure."""

    step: int
    steps: int
    loss: float
    train_psnr: float
    seconds: float
    quality: Quality | None


def fit(
    source: str,
    out: Path,
    *,
    steps: int = 10_000,
    device: str = "auto",
    recipe: FitSettings = FitSettings(),
    on_step: Callable[[Progress], None] = lambda progress: None,
) -> Quality:
    """Trains the small tokenizer; run again after any interruption, it goes on at the last step that was kept.

    Args:
        source: a corpus with rendered views, or a folder of `<model>/<view>.png` (RGBA); see `fit_views.find_views`.
        out: file to write, `.safetensors`; a report is put beside it as `.json`, and the state of the run as `.fit`.
        steps: of training in all. More than a finished run had continue it.
        device: `auto`, `cpu`, `cuda` …
        on_step: called after every step.

    Returns:
        Quality of what was written, measured on all views held out.

    Raises:
        UsageError: if the source has no views, or `out` cannot be such a file.
        DataengineError: if the training diverges.
    """
    if out.suffix != ".safetensors":
        raise UsageError(f"the tokenizer is written as .safetensors, not as {out.name!r}")
    views = find_views(source)
    where = pick_device(device)
    torch.manual_seed(recipe.seed)
    run = _Fitting(build("small").to(where).train(), recipe, out)
    run.resume()
    measured = views.held_out[:: max(1, len(views.held_out) // MEASURE_VIEWS)]
    started = time.monotonic()
    with ThreadPoolExecutor(1, "batch") as pool:
        ahead = pool.submit(run.batch, views.train, run.step, steps)
        while run.step < steps:
            x, alpha = ahead.result()
            ahead = pool.submit(run.batch, views.train, run.step + 1, steps)
            loss, train_psnr = run.train_step(x.to(where), alpha.to(where), steps)
            quality = None
            if run.step % MEASURE_EVERY == 0 or run.step == steps:
                quality = measure(run.average, measured, recipe.resolution)
            if run.step % KEEP_EVERY == 0 or run.step == steps:
                run.keep()
            on_step(Progress(run.step, steps, loss, train_psnr, time.monotonic() - started, quality))
    final = measure(run.average, views.held_out, recipe.resolution)
    report = {
        "name": "small",
        "widths": SMALL,
        "weights_sha256": weights_sha256(run.average),
        "steps": run.step,
        "recipe": asdict(recipe),
        "trained_on": {"models": views.train_models, "views": len(views.train)},
        "held_out": {"models": views.held_out_models, **asdict(final)},
    }
    parameters = {k: v.detach().cpu().contiguous() for k, v in run.average.state_dict().items()}
    store = Store(out.parent)
    store.put(out.name, save(parameters, {"dataengine": json.dumps({"name": "small", "widths": SMALL})}))
    store.put(out.with_suffix(".json").name, (json.dumps(report, indent=1) + "\n").encode())
    return final


@torch.no_grad()
def measure(tokenizer: Tokenizer, views: list[bytes], resolution: int, batch: int = 8) -> Quality:
    """The round trip of views over white; images are rounded to 8 bits, as a person would see them."""
    device = next(tokenizer.parameters()).device
    codes, whole, on_object, similar = [], [], [], []
    for i in range(0, len(views), batch):
        rgba = np.stack([load_view(v, resolution) for v in views[i : i + batch]])
        x = torch.from_numpy(composite(rgba, WHITE)).to(device).permute(0, 3, 1, 2).float() / 255
        mask = torch.from_numpy(rgba[..., 3]).to(device)[:, None] > 0
        tokens = tokenizer.encode(x * 2 - 1)
        decoded = ((tokenizer.decode(tokens) + 1) / 2).clamp(0, 1).mul(255).round() / 255
        codes.append(tokens.flatten())
        whole.append(psnr(decoded, x))
        on_object.append(psnr(decoded, x, mask))
        similar.append(ssim(decoded, x))
    used = len(torch.unique(torch.cat(codes))) / tokenizer.spec.codebook_size
    return Quality(
        psnr=float(torch.cat(whole).mean()),
        psnr_object=float(torch.cat(on_object).nanmean()),
        ssim=float(torch.cat(similar).mean()),
        codes_used=used,
        views=len(views),
    )


class _Fitting:
    """Network, its moving average, optimizer and step: what a resumed run needs."""

    def __init__(self, model: Tokenizer, recipe: FitSettings, out: Path) -> None:
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.optimizer = torch.optim.AdamW(model.parameters(), recipe.learning_rate, (0.9, 0.99), weight_decay=0.01)
        self.recipe = recipe
        self.step = 0
        self.state_file = out.with_suffix(".fit")

    def batch(self, views: list[bytes], step: int, steps: int) -> tuple[Tensor, Tensor]:
        r = self.recipe
        if step < steps * (1 - r.fall):
            return draw_batch(views, r.seed, step, r.batch, resolution=r.resolution, crop=r.crop)
        fewer = max(1, round(r.batch * r.crop**2 / r.resolution**2))
        return draw_batch(views, r.seed, step, fewer, resolution=r.resolution, crop=None)

    def train_step(self, x: Tensor, alpha: Tensor, steps: int) -> tuple[float, float]:
        """(loss, PSNR of the weighted error in dB)."""
        r = self.recipe
        fall_from = steps * (1 - r.fall)
        fall = min(1.0, (steps - self.step) / max(1.0, steps - fall_from))
        for group in self.optimizer.param_groups:
            group["lr"] = r.learning_rate * min(1.0, (self.step + 1) / r.warmup) * fall
        # Signs do not depend on a token's length, so the training may fix it: left free, the features run away from 0
        # and their signs stop learning (binary spherical quantization, arXiv 2406.07548).
        z = F.rms_norm(self.model.encoder(x).permute(0, 2, 3, 1), (self.model.spec.bits,)).permute(0, 3, 1, 2)
        decoded = self.model.decoder(self.model.quantize.quantize(z))
        weight = torch.where(alpha > 0, 1.0, r.background_weight)
        error = ((decoded - x).square().mean(1, keepdim=True) * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))
        # Bits are grouped anew each step, so that no two of them can agree unseen.
        order = torch.randperm(z.shape[1], generator=torch.Generator().manual_seed(self.step)).to(z.device)
        terms = lfq.losses(self._object_tokens(z, alpha)[:, order], r.temperature)
        loss = (
            (error + 1e-4).log().mean()
            + r.commitment * terms.commitment
            + r.certainty * terms.certainty
            - r.diversity * terms.diversity
        )
        if not torch.isfinite(loss):
            raise DataengineError(
                f"the training diverged at step {self.step}; delete {self.state_file} and use a lower learning rate"
            )
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        decay = min(r.average, self.step / (self.step + 10))  # an average of few steps is not held back by the first
        torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)
        return loss.item(), -10 * (error / 4).log10().mean().item()

    def _object_tokens(self, z: Tensor, alpha: Tensor) -> Tensor:
        """(N, bits): the tokens whose patch has a pixel of the object; all tokens where there is none."""
        tokens = z.permute(0, 2, 3, 1).flatten(0, 2)
        on_object = F.max_pool2d(alpha, self.model.spec.factor).flatten() > 0
        return tokens[on_object] if on_object.any() else tokens

    def keep(self) -> None:
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        self.state_file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.state_file.with_suffix(".fit.tmp")
        torch.save(state, temporary)
        temporary.replace(self.state_file)

    def resume(self) -> None:
        """Takes up a run that was kept; it may go on with another recipe. Raises UsageError if its network differs."""
        if not self.state_file.exists():
            return
        try:
            state = read_pickle(self.state_file)
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]
        except (DataengineError, RuntimeError, LookupError, TypeError) as e:
            raise UsageError(f"{self.state_file} is not of this training; delete it or choose another file") from e
