"""Training of the reconstructor on batches of views, wherever they come from.

What is kept is a moving average of the weights. A step draws the same views whether or not the run was interrupted
before it; the state of the batches is their maker's.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dataengine.errors import DataengineError
from dataengine.geometry.rasterise import rasterise
from dataengine.tokenize.averaged_run import AveragedRun
from dataengine.training.reconstruct.loss import LossWeights, Truth, carving_loss, pixel_loss, view_loss
from dataengine.training.reconstruct.network import Reconstructor
from dataengine.training.reconstruct.view_choice import VIEWS, draw_four

Corrupt = Callable[[Tensor, Tensor, Tensor, torch.Generator], Tensor]
"""Views (B, V, 3, H, W) in [0, 1], K, c2w and a source of chance → the same as they come out of a sampler."""


@dataclass(frozen=True)
class FitRecipe:
    """Numbers of the training.

    Attributes:
        others: rendered views per object besides the four that are given.
        own: how many of the four are rendered.
        rendered: share of the steps that render views, which is most of a step's time on a CPU.
        corrupted: share of the steps whose input views are corrupted.
        any_four: share of the objects whose four views are any.
        average: decay of the moving average of the weights; the first steps average less.
        fall: share of the steps (or seconds), at the end, in which the learning rate falls to zero.
        seed: of weights and of what is drawn.
    """

    learning_rate: float = 1e-3
    warmup: int = 50
    weight_decay: float = 0.02
    others: int = 3
    own: int = 1
    rendered: float = 1.0
    corrupted: float = 0.5
    any_four: float = 0.2
    average: float = 0.997
    fall: float = 0.4
    seed: int = 0
    weights: LossWeights = field(default_factory=LossWeights)


class Step(NamedTuple):
    """Scalars of a step, on the device: reading one waits for it.

    Attributes:
        loss: what was minimised.
        psnr: of the rendered views, dB; NaN where none are rendered.
        depth: mean error of the first network's own pixels, in radii of the object's sphere.
    """

    loss: Tensor
    psnr: Tensor
    depth: Tensor


class FitRun(AveragedRun[Reconstructor]):
    """A reconstructor in training: network, moving average of its weights, optimizer and step.

    Args:
        model: on its device. It may run in bfloat16 (see AveragedRun), what is drawn in float32.
        recipe: numbers of the training.
        corrupt: what is done to the input views of some steps; None: nothing.
    """

    def __init__(self, model: Reconstructor, recipe: FitRecipe, corrupt: Corrupt | None = None) -> None:
        super().__init__(
            model.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
            model.parameters(),
            learning_rate=recipe.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=recipe.weight_decay,
            decay=recipe.average,
        )
        self.recipe, self.corrupt = recipe, corrupt

    def train_step(self, batch: Mapping[str, Any], share: float) -> Step:
        """One step, `share` of them being done. The batch is a dict of what `Truth` names."""
        r = self.recipe
        random = torch.Generator().manual_seed(r.seed << 32 | self.step)
        truth = Truth(*(batch[name].to(self.device, non_blocking=True).float() for name in Truth._fields))
        chosen = draw_four(truth.c2w, random, r.any_four)
        given = truth.pick(chosen)
        seen = given.colour
        if self.corrupt is not None and float(torch.rand((), generator=random)) < r.corrupted:
            seen = self.corrupt(given.colour, given.K, given.c2w, random)
        for group in self.optimizer.param_groups:
            group["lr"] = r.learning_rate * min(1.0, (self.step + 1) / r.warmup) * _falling(share, r.fall)
        with self.autocast:
            made = self.model(seen, given.K, given.c2w)
        radius = self.model.config.radius
        depth, opacity = pixel_loss(made, given, radius)
        loss = r.weights.depth * depth + r.weights.opacity * opacity + carving_loss(made, given, radius, r.weights)
        psnr = torch.full_like(depth, torch.nan)
        if float(torch.rand((), generator=random)) < r.rendered:
            true = truth.pick(self._drawn(chosen, truth.c2w.shape[1], random))
            drawn = rasterise(made.gaussians, true.K, true.c2w, (true.colour.shape[-2], true.colour.shape[-1]))
            loss = loss + view_loss(drawn, true, radius, r.weights)
            psnr = -10 * (drawn.colour.detach() - true.colour).square().mean().log10()
        self.descend(loss)
        return Step(loss.detach(), psnr, depth.detach())

    def _drawn(self, given: Tensor, views: int, random: torch.Generator) -> Tensor:
        """Which views are rendered: some of the four that are given, and some of the others (B, n)."""
        rows = []
        for four in given.tolist():
            rest = [v for v in range(views) if v not in four]
            others = [rest[i] for i in torch.randperm(len(rest), generator=random)[: self.recipe.others].tolist()]
            own = [four[i] for i in torch.randperm(VIEWS, generator=random).tolist()]
            rows.append([*others, *own][: self.recipe.own + self.recipe.others])
        return torch.tensor(rows, device=given.device)


def _falling(share: float, fall: float) -> float:
    left = min(1.0, max(0.0, 1 - share) / fall)
    return 0.5 - 0.5 * math.cos(math.pi * left)


def train(
    run: FitRun,
    batches: Iterator[Mapping[str, Any]],
    *,
    steps: int | None = None,
    seconds: float | None = None,
    on_step: Callable[[FitRun, Step, float], None] = lambda run, step, seconds: None,
) -> float:
    """Trains until `steps` in all are done or `seconds` have passed, whichever is first; one must be given.

    Args:
        run: is changed.
        batches: of what `Truth` names, (B, V, …) each; more entries do no harm.
        on_step: called after every step with the seconds since the start.

    Returns:
        Seconds.

    Raises:
        DataengineError: if the training diverges.
    """
    started = time.monotonic()
    passed = 0.0
    while (steps is None or run.step < steps) and (seconds is None or passed < seconds):
        share = max(run.step / steps if steps else 0.0, passed / seconds if seconds else 0.0)
        step = run.train_step(next(batches), share)
        if not torch.isfinite(step.loss):
            raise DataengineError(f"the training diverged at step {run.step}; use a lower learning rate")
        passed = time.monotonic() - started
        on_step(run, step, passed)
    return passed
