"""A tokenizer's decoder that decodes the views of an object together, guided by their depth.

After each level of the decoder the views exchange what they show of the same surface (`epipolar.py`), and a picture
that is known, such as the one that the others were drawn from, is an input of every level. Its pixels can also be
carried over to the decoded ones (`given_pixels.py`), with or without that exchange. All add nothing before training, so
that an untrained one is the plain decoder.
"""

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dataengine.errors import UsageError
from dataengine.tokenize.depth_edges import DepthEdges
from dataengine.tokenize.epipolar import EpipolarAttention, Scene
from dataengine.tokenize.given_pixels import GivenPixels, no_pixels
from dataengine.tokenize.model import Tokenizer

POINTS = (7, 7, 7, 2)  # by level, from coarse to fine, as in the paper; of more levels the last ones have 2
WIDTHS = (32, 32, 32, 24)
CARRIED_POINTS = 9  # an odd number: one of them is the depth itself
EDGES = 32


@dataclass(frozen=True)
class Guidance:
    """What is added to a decoder.

    Attributes:
        points: on a pixel's ray, by level from coarse to fine; 0: no attention there.
        widths: of the attention, by level.
        reach: how far the points lie from the depth, in world units.
        full: points along the whole ray: to compare with.
        carried: points on a pixel's ray at which given pictures are looked up (`given_pixels.py`); 0: they are not.
        edges: width of the network that sees what depth tells of the picture (`depth_edges.py`); 0: there is none.
    """

    points: tuple[int, ...]
    widths: tuple[int, ...]
    reach: float = 0.1
    full: bool = False
    carried: int = 0
    edges: int = 0

    @classmethod
    def for_levels(cls, levels: int, **more: Any) -> "Guidance":
        """The paper's, for a decoder of so many levels."""
        return cls(_by_level(POINTS, levels), _by_level(WIDTHS, levels), **more)

    @classmethod
    def without_attention(cls, levels: int) -> "Guidance":
        """What is added after the last level alone, for a decoder of so many levels."""
        return cls((0,) * levels, _by_level(WIDTHS, levels), carried=CARRIED_POINTS, edges=EDGES)

    @property
    def after_decoding(self) -> bool:
        """Whether views do not attend to each other: the tokenizer's own decoder is then left as it is."""
        return self.carried + self.edges > 0 and not any(self.points)

    @property
    def needs_given(self) -> bool:
        """Whether it is the plain decoder where no view is given."""
        return self.carried > 0 and not self.edges and not any(self.points)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class GivenView(nn.Module):
    """(B, V, C, h, w) → what the known pictures add to every view, pixel by pixel, without geometry; 0 at the start."""

    def __init__(self, channels: int, width: int = 16) -> None:
        super().__init__()
        last = nn.Conv2d(width, channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.layers = nn.Sequential(nn.Conv2d(8, width, 3, padding=1), nn.SiLU(), last)

    def forward(self, h: Tensor, scene: Scene) -> Tensor:
        here = scene.at(*h.shape[-2:])
        known = here.known[..., None, None, None].to(h.dtype)
        own = torch.cat([here.given.to(h.dtype), known.expand(-1, -1, 1, *h.shape[-2:])], 2)
        shared = own.sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp(min=1)
        added: Tensor = self.layers(torch.cat([own, shared.expand_as(own)], 2).flatten(0, 1))
        return added.view_as(h)


class DepthGuidedDecoder(nn.Module):
    """Quantized features of the views of each object → pictures.

    Args:
        tokenizer: whose decoder is copied, to be trained on.
        guidance: what is added; None: the paper's.

    Attributes:
        spec: of the tokenizer.
        guidance: what was added.
    """

    def __init__(self, tokenizer: Tokenizer, guidance: Guidance | None = None) -> None:
        super().__init__()
        self.spec = tokenizer.spec
        self.decoder = copy.deepcopy(tokenizer.decoder)
        channels = _channels(tokenizer)
        self.guidance = guidance or Guidance.for_levels(len(channels))
        g = self.guidance
        if not len(g.points) == len(g.widths) == len(channels):
            raise UsageError(f"this decoder has {len(channels)} levels, {len(g.points)} are told of")
        self.given = nn.ModuleList(GivenView(c) for c in channels if not g.after_decoding)
        self.attention = nn.ModuleList(
            EpipolarAttention(c, width, points, g.reach, full=g.full) if points else nn.Identity()
            for c, width, points in zip(channels, g.widths, g.points, strict=True)
        )
        self.carried = GivenPixels(g.carried, g.reach) if g.carried else None
        self.edges = DepthEdges(g.edges) if g.edges else None

    def forward(self, z: Tensor, scene: Scene) -> Tensor:
        """(B, V, C, h, w) quantized features → (B, V, 3, H, W) RGB, about [-1, 1]; not clamped."""
        together = self._alone(z) if self.guidance.after_decoding else self._together(z, scene)
        if z.shape[1] < 2:
            return together
        seen = None
        if self.carried is not None:
            with torch.no_grad():  # it tells what is alike, and what decoding loses: nothing to learn of
                alone = together.detach() if self.guidance.after_decoding else self._alone(z)
            added, seen = self.carried(together, alone, scene)
            together = together + added
        if self.edges is None:
            return together
        sharpened: Tensor = together + self.edges(together, no_pixels(together) if seen is None else seen, scene)
        return sharpened

    def _alone(self, z: Tensor) -> Tensor:
        decoded: Tensor = self.decoder(z.flatten(0, 1))
        return decoded.view(*z.shape[:2], *decoded.shape[1:])

    def _together(self, z: Tensor, scene: Scene) -> Tensor:
        hooks = [
            level.register_forward_hook(partial(self._after, i, scene)) for i, level in enumerate(levels(self.decoder))
        ]
        try:
            return self._alone(z)
        finally:
            for hook in hooks:
                hook.remove()

    def _after(self, i: int, scene: Scene, level: nn.Module, inputs: Any, h: Tensor) -> Tensor:
        views = h.reshape(*scene.known.shape, *h.shape[1:])
        views = views + self.given[i](views, scene)
        if self.guidance.points[i]:
            views = views + self.attention[i](views, scene)
        out: Tensor = views.flatten(0, 1).contiguous(memory_format=_format(h))
        return out


def levels(decoder: nn.Module) -> Sequence[nn.Module]:
    """The modules of a decoder that are a level each, in the order in which they run.

    Raises:
        UsageError: for a decoder that has none.
    """
    if isinstance(found := getattr(decoder, "levels", None), nn.ModuleList):
        return list(found)
    if isinstance(found := getattr(decoder, "up", None), nn.ModuleList):
        return list(reversed(found))
    raise UsageError(f"the decoder {type(decoder).__name__} has no levels that views could attend at")


def _channels(tokenizer: Tokenizer) -> list[int]:
    """What each level leaves, found by decoding a small map."""
    found: list[int] = []
    hooks = [
        level.register_forward_hook(lambda module, inputs, out: found.append(out.shape[1]))
        for level in levels(tokenizer.decoder)
    ]
    side = max(2, 16 // tokenizer.spec.factor)
    try:
        device = next(tokenizer.parameters()).device
        tokenizer.decode(torch.zeros((1, side, side), dtype=torch.long, device=device))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _by_level(values: Sequence[int], levels: int) -> tuple[int, ...]:
    return tuple(values[min(i, len(values) - 1)] for i in range(levels))


def _format(h: Tensor) -> torch.memory_format:
    return torch.channels_last if h.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
