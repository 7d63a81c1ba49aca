"""What every generated model is made with: draws that name themselves, colours, patterns, a few common materials."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import Image

from dataengine.demo.models import textures
from dataengine.demo.models.gltf import Colour, Material, Node

T = TypeVar("T")

COLOURS: dict[str, Colour] = {
    "red": (0.80, 0.13, 0.12),
    "orange": (0.93, 0.47, 0.11),
    "yellow": (0.96, 0.78, 0.18),
    "green": (0.22, 0.55, 0.25),
    "turquoise": (0.13, 0.62, 0.62),
    "blue": (0.15, 0.36, 0.72),
    "purple": (0.45, 0.24, 0.62),
    "pink": (0.93, 0.52, 0.63),
    "brown": (0.45, 0.28, 0.16),
    "grey": (0.50, 0.51, 0.53),
    "black": (0.10, 0.10, 0.11),
    "white": (0.93, 0.92, 0.89),
    "cream": (0.94, 0.87, 0.72),
}
WOODS: dict[str, Colour] = {
    "oak": (0.74, 0.54, 0.33),
    "walnut": (0.42, 0.26, 0.16),
    "pine": (0.87, 0.70, 0.45),
    "cherry": (0.60, 0.29, 0.17),
}
METALS: dict[str, Colour] = {
    "brass": (0.88, 0.70, 0.36),
    "copper": (0.88, 0.52, 0.38),
    "steel": (0.72, 0.73, 0.75),
}


@dataclass(frozen=True)
class Model:
    """A scene with its words. `kind` names the builder, and the file."""

    kind: str
    title: str
    caption: str
    tags: tuple[str, ...]
    roots: Sequence[Node]


class Draw:
    """Choices of one model: the usual ones for the first of its kind, random ones for its variants."""

    def __init__(self, rng: np.random.Generator, usual: bool) -> None:
        self.rng = rng
        self.usual = usual

    def pick(self, *options: T) -> T:
        """One of the options; usually the first."""
        return options[0] if self.usual else options[int(self.rng.integers(len(options)))]

    def between(self, low: float, usual: float, high: float) -> float:
        return usual if self.usual else float(self.rng.uniform(low, high))

    def count(self, low: int, usual: int, high: int) -> int:
        return usual if self.usual else int(self.rng.integers(low, high + 1))

    def colour(self, usual: str, *, but: Sequence[str] = ()) -> str:
        """The name of a colour, none of `but`."""
        return self.pick(usual, *(c for c in COLOURS if c != usual and c not in but))

    def pattern(self, usual: str, ground: str, ink: str) -> tuple[str, Image.Image]:
        """A pattern and its words, such as `with white stripes`."""
        a, b = COLOURS[ground], COLOURS[ink]
        n = self.count(3, 4, 6)
        makers = {
            "stripes": lambda: textures.stripes(a, b, n),
            "dots": lambda: textures.dots(a, b, 3 * n, 2 * n - 2),
            "zigzags": lambda: textures.zigzag(a, b, 3 * n, n),
            "checks": lambda: textures.checks(a, b, 3 * n, n + 1),
            "speckles": lambda: textures.speckled(a, b, self.rng),
        }
        kind = self.pick(usual, *(k for k in makers if k != usual))
        return f"with {ink} {kind}", makers[kind]()


def a(words: str) -> str:
    """The words with their article."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def paint(name: str, colour: str | Colour, roughness: float = 0.5) -> Material:
    """A plain colour, by name or sRGB."""
    return Material(name, COLOURS[colour] if isinstance(colour, str) else colour, roughness=roughness)


def timber(name: str, rng: np.random.Generator) -> Material:
    """Planed wood of a kind."""
    return Material(f"{name} wood", texture=textures.wood(WOODS[name], rng), roughness=0.55)


def metal(name: str, roughness: float = 0.3) -> Material:
    return Material(name, METALS[name], roughness=roughness, metallic=1.0)
