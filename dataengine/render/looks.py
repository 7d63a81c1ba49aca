"""Looks: light, sampler, filter and denoiser of a render, as plain data. docs/looks.md shows and explains them."""

import difflib
import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from dataengine.corpus.config import Hdri
from dataengine.errors import UsageError

RGB = tuple[float, float, float]
DOWN = (0.0, 0.0, -1.0)
HALF_SQRT2 = math.sqrt(0.5)


def pitched(radians: float) -> RGB:
    """Where a lamp shines that pointed down and was turned about x."""
    return (0.0, math.sin(radians), -math.cos(radians))


@dataclass(frozen=True)
class Light:
    """One lamp in the normalised z-up world.

    Attributes:
        energy, energy_to: watts, or W/m² for SUN, as Blender counts them; drawn between the two from the asset's seed
            where both are given.
        whole_energy: draw whole numbers only.
        towards: the direction the light travels.
        position, position_to: as energy; a box to draw from.
        angle: a SUN's angular diameter in radians.
        size: an AREA lamp's side before `scale`, a POINT's radius.
        rays: which of diffuse and glossy see it.
    """

    kind: Literal["SUN", "AREA", "POINT"]
    energy: float
    energy_to: float | None = None
    whole_energy: bool = False
    towards: RGB = DOWN
    position: RGB = (0.0, 0.0, 0.0)
    position_to: RGB | None = None
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
        samples: Cycles samples per pixel when the corpus names no other number.
        denoiser: 'none', 'fast' (OIDN fast, fast prefilter) or 'accurate' (OIDN high, accurate prefilter).
        adaptive_threshold: noise threshold of adaptive sampling; 0 samples every pixel alike.
        filter, filter_width: the pixel filter and its width in pixels.
        clamp_direct, clamp_indirect: upper bounds of one sample's radiance; 0 = none.
        occlusion: whether surfaces keep the surroundings' light from each other. Without it, light that reaches a
            diffuse surface has passed through everything else: no dark corners, and no noise from guessing them.
        depth_alpha: depth is written where the surface's alpha is above this.
        cull_back_faces: whether the camera sees through the back of materials that are single-sided.
        closed_form: compute what lamps and world leave on matt surfaces and in their gloss, see blender/closed_form.py:
            for white suns without size or shadow, grey surroundings and no occlusion.
        hdris: environment maps that light instead of `world` and `lights`: one of them, drawn, and turned about z.
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
    occlusion: bool = True
    depth_alpha: float = 0.5
    cull_back_faces: bool = False
    hdris: tuple[Hdri, ...] = ()
    closed_form: bool = False

    def to_json(self) -> dict[str, Any]:
        """Its numbers, as JSON holds them."""
        numbers = asdict(self)
        hdris = [hdri.model_dump() for hdri in numbers.pop("hdris")]
        if not numbers["closed_form"]:
            del numbers["closed_form"]
        return numbers | ({"hdris": hdris} if hdris else {})


STUDIO = Look(
    name="studio",
    source="our own; docs/looks.md says why each setting is as it is",
    world=World(((0.16, 0.16, 0.16), (0.28, 0.28, 0.28), (0.45, 0.45, 0.45)), sampling="NONE"),
    lights=(
        Light("SUN", 1.6, towards=(-0.6, -0.45, -0.65), shadow=False, rays=("diffuse",)),
        Light("SUN", 1.0, towards=(0.7, 0.3, -0.5), shadow=False, rays=("diffuse",)),
    ),
    samples=4,
    denoiser="none",
    adaptive_threshold=0.0,
    filter="BOX",
    filter_width=1.0,
    max_bounces=64,
    diffuse_bounces=0,
    glossy_bounces=1,
    transmission_bounces=64,
    transparent_max_bounces=1024,
    clamp_direct=4.0,
    clamp_indirect=2.0,
    caustics=False,
    occlusion=False,
    cull_back_faces=True,
    closed_form=True,
)

SHADOWED = Look(
    name="shadowed",
    source="our own; docs/looks.md says how the exposure is set",
    world=World(((0.2, 0.2, 0.2),)),
    lights=(),
    samples=32,
    denoiser="none",
    adaptive_threshold=0.0,
    filter="BOX",
    filter_width=1.0,
    max_bounces=64,
    diffuse_bounces=1,
    glossy_bounces=2,
    transmission_bounces=64,
    transparent_max_bounces=1024,
    clamp_direct=4.0,
    clamp_indirect=2.0,
    caustics=False,
    cull_back_faces=True,
)
"""What our looks with light from somewhere share: shadows, one diffuse bounce, everything in the mirror."""

AREA = replace(
    SHADOWED,
    name="area",
    lights=(Light("AREA", 50.0, position=(1.6, -1.2, 2.6), towards=(-1.6, 1.2, -2.6), size=2.0),),
)

POINT = replace(SHADOWED, name="point", lights=(Light("POINT", 200.0, position=(-1.6, -2.4, 1.6), size=0.1),))

START_UP_WORLD = World(((0.050876, 0.050876, 0.050876),))
START_UP_LAMP = Light("POINT", 1000.0, position=(4.0762, 1.0055, 5.9039), size=0.1)

OBJAVERSE = Look(
    name="objaverse",
    source="allenai/objaverse-rendering, scripts/blender_script.py",
    world=START_UP_WORLD,
    lights=(Light("AREA", 30_000.0, position=(0.0, 0.0, 0.5), scale=(100.0, 100.0, 100.0)),),
    samples=32,
    filter_width=0.01,
    diffuse_bounces=1,
    glossy_bounces=1,
    transmission_bounces=3,
    transparent_max_bounces=3,
)

OBJAVERSE_XL = replace(
    OBJAVERSE,
    name="objaverse-xl",
    source="allenai/objaverse-xl, scripts/rendering/blender_script.py",
    # Rim and key shine the same way: the script's two Euler triples are one direction.
    lights=(
        Light("SUN", 3.0, 5.0, True, towards=(0.5, 0.5, -HALF_SQRT2), shadow=False),
        Light("SUN", 2.0, 4.0, True, towards=(-0.5, -0.5, -HALF_SQRT2), shadow=False),
        Light("SUN", 3.0, 5.0, True, towards=(0.5, 0.5, -HALF_SQRT2), shadow=False),
        Light("SUN", 1.0, 3.0, True, towards=(0.0, 0.0, 1.0), shadow=False),
    ),
    samples=128,
)

ZERO123 = replace(
    OBJAVERSE,
    name="zero123",
    source="cvlab-columbia/zero123, objaverse-rendering/scripts/blender_script.py",
    # The script means to delete the start-up file's lamp and does not: it lights the published images.
    lights=(
        Light(
            "AREA", 300.0, 600.0, position=(-1.0, -1.0, 0.5), position_to=(1.0, 1.0, 1.5), scale=(100.0, 100.0, 100.0)
        ),
        START_UP_LAMP,
    ),
    samples=128,
)

SYNCDREAMER = replace(
    OBJAVERSE,
    name="syncdreamer",
    source="liuyuan-pal/SyncDreamer, blender_script.py",
    world=World(((0.5, 0.5, 0.5),)),
    lights=(START_UP_LAMP,),  # left over, as in zero123
    samples=128,
)

WONDER3D = Look(
    name="wonder3d",
    source="xxlong0/Wonder3D, render_codes/blenderProc_ortho.py, with BlenderProc's defaults",
    world=World(((0.4, 0.4, 0.4),), strength=0.5),
    # The script adds 180, 90 and -90 to angles in radians.
    lights=(
        Light("SUN", 5.0, towards=pitched(0.0), shadow=False),
        Light("SUN", 3.0, towards=pitched(180.0), shadow=False),
        Light("SUN", 3.0, towards=pitched(90.0), shadow=False),
        Light("SUN", 3.0, towards=pitched(-90.0), shadow=False),
    ),
    samples=1024,
    max_bounces=3,
    diffuse_bounces=3,
    glossy_bounces=0,
    transmission_bounces=0,
)

WONDER3D_PERSPECTIVE = replace(
    WONDER3D,
    name="wonder3d-persp",
    source="xxlong0/Wonder3D, render_codes/blenderProc_persp.py, with BlenderProc's defaults",
    world=World(((0.5, 0.5, 0.5),)),
    lights=(
        Light("SUN", 5.0, towards=pitched(0.0), shadow=False),
        Light("SUN", 1.0, towards=pitched(180.0), shadow=False),
    ),
)

TRELLIS = replace(
    OBJAVERSE,
    name="trellis",
    source="microsoft/TRELLIS, dataset_toolkits/blender_script/render.py",
    # The bottom light points down, away from the object, as published.
    lights=(
        Light("POINT", 1000.0, position=(4.0, 1.0, 6.0), size=0.1),
        Light("AREA", 10_000.0, position=(0.0, 0.0, 10.0), scale=(100.0, 100.0, 100.0), size=0.25),
        Light("AREA", 1000.0, position=(0.0, 0.0, -10.0), size=0.25),
    ),
    samples=128,
    filter="BOX",
    filter_width=1.0,
)

LOOKS = {
    each.name: each
    for each in (
        STUDIO,
        AREA,
        POINT,
        OBJAVERSE,
        OBJAVERSE_XL,
        ZERO123,
        SYNCDREAMER,
        WONDER3D,
        WONDER3D_PERSPECTIVE,
        TRELLIS,
    )
}

BLENDERS_HDRIS = ("city", "courtyard", "forest", "interior", "night", "studio", "sunrise", "sunset")
"""The environment maps that come with Blender, CC0."""

LOOK_NAMES = (*LOOKS, "env", *(f"env:{name}" for name in BLENDERS_HDRIS), "env:FILE", "env:FOLDER")
"""What a look may be called. FILE and FOLDER are one's own, and `env` any of Blender's, see environment.py."""


def look(name: str) -> Look:
    """The look of that name, of those that need no environment map. Raises UsageError naming the known ones."""
    if name in LOOKS:
        return LOOKS[name]
    near = difflib.get_close_matches(name, LOOK_NAMES, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UsageError(f"unknown look {name!r}: {hint}Known: {', '.join(LOOK_NAMES)}")
