"""The views that a depth-guided decoder learns from: a batch of `dataengine.Views`, and what a step draws of it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from dataengine.tokenize.depth_noise import add_noise, wrong_silhouette
from dataengine.tokenize.epipolar import Scene

if TYPE_CHECKING:
    from dataengine.tokenize.decoder_step import DecoderSettings


class Pictures(NamedTuple):
    """Views on the device: `colour` (B, V, 3, H, W) in [-1, 1], `alpha`, `depth` (B, V, 1, H, W), cameras."""

    colour: Tensor
    alpha: Tensor
    depth: Tensor
    K: Tensor
    c2w: Tensor
    orthographic: Tensor

    @classmethod
    def of(cls, batch: Mapping[str, Tensor], device: torch.device) -> "Pictures":
        """From fields of `dataengine.Views`: colour in [0, 1] over white."""
        fields = {name: batch[name].to(device, non_blocking=True) for name in cls._fields}
        return cls(**{**fields, "colour": fields["colour"] * 2 - 1})

    def scene(self, known: Tensor, depth: Tensor | None = None, exact: Tensor | None = None) -> Scene:
        """What the decoder is told, with `known` (B, V) views given, and another depth where there is one.

        Without `exact` (B, V) bool the views' own depth is, and another one is not.
        """
        given = self.colour * known[..., None, None, None]
        exact = torch.full_like(known, depth is None) if exact is None else exact
        depth = self.depth if depth is None else depth
        return Scene(depth, self.K, self.c2w, self.orthographic, given, known, exact)


class Drawn(NamedTuple):
    """What a step learns from: pictures in [-1, 1], alpha, and the scene that the decoder is told."""

    colour: Tensor
    alpha: Tensor
    scene: Scene


def draw(pictures: Pictures, recipe: "DecoderSettings", step: int) -> Drawn:
    """Some views of each sample in random order, one of them given at times, and depth as wrong as estimates are."""
    device = pictures.colour.device
    b, v = pictures.colour.shape[:2]
    chance = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
    count = min(v, recipe.views)
    chosen = torch.rand((b, v), generator=chance).argsort(1)[:, :count].to(device)
    rows = torch.arange(b, device=device)[:, None]
    some = Pictures(*(field[rows, chosen] for field in pictures))
    known = torch.zeros((b, count), dtype=torch.bool)
    known[:, 0] = torch.rand(b, generator=chance) < recipe.given
    noise = torch.Generator(device).manual_seed(recipe.seed * 1_000_003 + step)
    grown, shrunk = (torch.randint(most + 1, (b, count), generator=chance) for most in (recipe.grown, recipe.shrunk))
    depth = wrong_silhouette(some.depth, grown.to(device), shrunk.to(device))
    depth = add_noise(recipe.noise, depth, recipe.amplitude, noise)
    exact = (torch.rand(b, generator=chance) < recipe.exact).to(device)[:, None].expand(b, count)
    depth = torch.where(exact[..., None, None, None], some.depth, depth)
    return Drawn(some.colour, some.alpha, some.scene(known.to(device), depth, exact))
