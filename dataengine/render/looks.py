"""Looks: light, sampler, filter and denoiser of a render, as plain data. docs/looks.md shows and explains them."""

import difflib
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dataengine.errors import UsageError

RGB = tuple[float, float, float]
DOWN = (0.0, 0.0, -1.0)


@dataclass(frozen=True)
class Light:
    """One lamp in the normalised z-up world.

    Attributes:
        energy: watts, or W/m² for SUN, as Blender counts them.
        towards: the direction the light travels.
        angle: a SUN's angular diameter in radians.
        size: an AREA lamp's side before `scale`.
        rays: which of diffuse and glossy see it.
    """

    kind: Literal["SUN", "AREA", "POINT"]
    energy: float
    towards: RGB = DOWN
    position: RGB = (0.0, 0.0, 0.0)
    scale: RGB = (1.0, 1.0, 1.0)
    colour: RGB = (1.0, 1.0, 1.0)
    angle: float = 0.0
    size: float = 1.0
    shadow: bool = True
    mis: bool = True
    rays: tuple[str, ...] = ("diffuse", "glossy")


@dataclass(frozen=True)
class World:
    """The surroundings: scene-linear colours from straight down to straight up (one colour: uniform).

    `sampling` is Cycles' background sampling: NONE leaves it to the surfaces' own sampling, AUTOMATIC adds a map.
    """

    colours: tuple[RGB, ...]
    strength: float = 1.0
    rays: tuple[str, ...] = ("diffuse", "glossy", "transmission")
    sampling: Literal["NONE", "AUTOMATIC"] = "AUTOMATIC"


@dataclass(frozen=True)
class Look:
    """How an asset is lit and sampled. Defaults are Blender's own, so that a published look names what its script set.

    Attributes:
        samples: Cycles samples a pixel when the corpus names no other number.
        denoiser: 'none', 'fast' (OIDN fast, fast prefilter) or 'accurate' (OIDN high, accurate prefilter).
        adaptive_threshold: noise threshold of adaptive sampling; 0 samples every pixel alike.
        filter, filter_width: the pixel filter and its width in pixels.
        clamp_direct, clamp_indirect: upper bounds of one sample's radiance; 0 = none.
        depth_alpha: depth is written where the surface's alpha is above this.
    """

    name: str
    source: str
    world: World
    lights: tuple[Light, ...]
    samples: int
    denoiser: Literal["none", "fast", "accurate"] = "accurate"
    adaptive_threshold: float = 0.01
    filter: Literal["BOX", "GAUSSIAN", "BLACKMAN_HARRIS"] = "BLACKMAN_HARRIS"
    filter_width: float = 1.5
    max_bounces: int = 12
    diffuse_bounces: int = 4
    glossy_bounces: int = 4
    transmission_bounces: int = 12
    transparent_max_bounces: int = 8
    clamp_direct: float = 0.0
    clamp_indirect: float = 10.0
    caustics: bool = True
    light_tree: bool = True
    blur_glossy: float = 1.0
    depth_alpha: float = 0.5

    def to_json(self) -> dict[str, Any]:
        """For RenderRequest.look."""
        return asdict(self)


STUDIO = Look(
    name="studio",
    source="our own",
    world=World(((0.25, 0.25, 0.25), (0.6, 0.6, 0.6), (1.0, 1.0, 1.0)), rays=("diffuse", "glossy", "transmission")),
    lights=(Light("SUN", 1.0, towards=(-0.5, -0.5, -1.0), shadow=False),),
    samples=16,
    denoiser="none",
    adaptive_threshold=0.0,
    max_bounces=2,
    diffuse_bounces=0,
    glossy_bounces=1,
    transmission_bounces=2,
    caustics=False,
)

LOOKS = {each.name: each for each in (STUDIO,)}


def look(name: str) -> Look:
    """The look of that name. Raises UsageError naming the known ones."""
    if name in LOOKS:
        return LOOKS[name]
    near = difflib.get_close_matches(name, LOOKS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UsageError(f"unknown look {name!r}: {hint}Known: {', '.join(sorted(LOOKS))}")
