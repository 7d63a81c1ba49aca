"""How good reconstructions are: other views than those that were given, and depth."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dataengine.geometry.gaussians import Gaussians
from dataengine.geometry.rasterise import rasterise
from dataengine.training.reconstruct.floaters import without_floaters
from dataengine.training.reconstruct.loss import Truth
from dataengine.training.reconstruct.network import Reconstructor
from dataengine.training.reconstruct.view_choice import four_around


class Measured(NamedTuple):
    """Of B objects, one number each, on the views that were not given.

    Attributes:
        psnr: of the rendered views, dB (of the mean squared error over all of an object's views).
        copied: the same, of the nearest given view in their place.
        depth: median over the true foreground of the depth's absolute error, in % of the object's size (the diameter
            of the sphere round it, 1 world unit); a pixel where nothing is drawn counts as infinitely wrong.
    """

    psnr: Tensor
    copied: Tensor
    depth: Tensor

    def line(self) -> str:
        """For people."""
        objects = "" if self.psnr.ndim == 0 else f" ({len(self.psnr)} objects)"
        return (
            f"{self.psnr.mean():.2f} dB on the other views{objects}, the nearest given one copied "
            f"{self.copied.mean():.2f} dB; median depth error {self.depth.median():.2f} % of the object's size"
        )


@torch.no_grad()
def measure(model: Reconstructor, truth: Truth, seen: Tensor | None = None) -> Measured:
    """Reconstructs each object from four views around it, the first among them, and looks at the others.

    Args:
        model: in eval mode.
        truth: (B, V, …), V > 4, on the model's device.
        seen: (B, 4, 3, H, W) what the network is given in place of the four; None: the true ones.
    """
    four = torch.tensor([four_around(poses) for poses in truth.c2w.cpu()], device=truth.c2w.device)
    rest = torch.tensor(
        [[v for v in range(truth.c2w.shape[1]) if v not in chosen] for chosen in four.tolist()], device=four.device
    )
    given, others = truth.pick(four), truth.pick(rest)
    made = without_floaters(model(given.colour if seen is None else seen, given.K, given.c2w))
    size = (truth.colour.shape[-2], truth.colour.shape[-1])
    found = []
    for i in range(len(four)):
        mine, theirs = (Truth(*(values[i] for values in views)) for views in (given, others))
        found.append(compare(Gaussians(*(values[i] for values in made)), mine, theirs, size))
    return Measured(*(torch.stack(values) for values in zip(*found, strict=True)))


def compare(gaussians: Gaussians, given: Truth, others: Truth, size: tuple[int, int]) -> Measured:
    """One object: fields of `Truth` without B, results ()."""
    drawn = rasterise(gaussians, others.K, others.c2w, size)
    towards = (
        torch.nn.functional.normalize(others.c2w[:, :3, 3], dim=-1)
        @ torch.nn.functional.normalize(given.c2w[:, :3, 3], dim=-1).T
    )
    copied = given.colour[towards.argmax(1)]
    return Measured(
        psnr(drawn.colour, others.colour),
        psnr(copied, others.colour),
        depth_error(torch.where(drawn.alpha > 0.5, drawn.depth, 0.0), others.depth),
    )


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """() dB over all of two tensors of values in [0, 1]."""
    return -10 * (a.clamp(0, 1) - b).square().mean().clamp(min=1e-10).log10()


def depth_error(found: Tensor, true: Tensor) -> Tensor:
    """() median of the absolute error where there is true depth, % of 1 world unit; found 0 is infinitely wrong."""
    on = true > 0
    return 100 * torch.where(found[on] > 0, (found[on] - true[on]).abs(), torch.inf).median()


def measure_all(model: Reconstructor, batches: Iterable[Mapping[str, Any]]) -> Measured:
    """Of all objects of batches, such as those of `dataengine.Views(…, epochs=1)`."""
    device = next(model.parameters()).device
    found = [measure(model, Truth(*(batch[name].to(device) for name in Truth._fields))) for batch in batches]
    return Measured(*(torch.cat(values).cpu() for values in zip(*found, strict=True)))
