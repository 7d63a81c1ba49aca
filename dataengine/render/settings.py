"""From names in corpus.yaml to what is rendered: rig, look, samples, resolution."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from dataengine.corpus.config import RenderConfig, first_problem, range_of
from dataengine.errors import UsageError
from dataengine.render.choice import LookChoice, choose_looks
from dataengine.render.recipes import recipe
from dataengine.render.rigs import Ranges, Rig, rig

RANGES = ("elevation", "radius", "fov")


@dataclass(frozen=True)
class RenderPlan:
    """What every asset of a corpus is rendered with.

    Attributes:
        samples: a pixel, in all looks; None: each look's own.
    """

    rig: Rig
    looks: LookChoice
    samples: int | None
    resolution: int
    engine: Literal["cycles", "eevee"]


def resolve(config: RenderConfig) -> RenderPlan:
    """What a config names.

    Raises:
        UsageError: for an unknown rig, look or recipe, a range that the rig cannot draw from, or what the engine does
            not draw.
    """
    if config.engine == "eevee" and (config.channels or not config.colour):
        raise UsageError("channels, and views without colour, are rendered by Cycles: leave --engine eevee out")
    samples = config.samples or (None if config.colour else 1)
    if config.recipe is not None:
        published = recipe(config.recipe)
        cameras, samples = published.rig, samples or published.samples
        return RenderPlan(cameras, choose_looks(published.look), samples, config.resolution, config.engine)
    cameras = rig(config.rig)
    cameras = cameras.with_ranges(_ranges(config, cameras))
    looks = choose_looks(config.look, config.hdris)
    if looks.every and not config.colour:
        raise UsageError(f"look {config.look} is several pictures of each view, and there are none without colour")
    return RenderPlan(cameras, looks, samples, config.resolution, config.engine)


def _ranges(config: RenderConfig, cameras: Rig) -> Ranges:
    given = {name: getattr(config, name) for name in RANGES}
    found = {name: range_of(name, text) for name, text in given.items() if text is not None}
    if config.per is not None and not found:
        raise UsageError(f"per {config.per} says nothing without a range of {' or '.join(RANGES)}")
    per_view = config.per == "view" if config.per is not None else cameras.random
    return Ranges(**found, per_view=per_view)


def render_config(
    **given: Any,
) -> RenderConfig:
    """The config of these fields of RenderConfig, checked: every name is known. A recipe brings what is not given.

    Raises:
        UsageError: for an unknown name, a number out of range, or a recipe together with a rig or look of its own.
    """
    if name := given.get("recipe"):
        if given.keys() & {"rig", "look", "per", *RANGES}:
            raise UsageError(f"--recipe {name} already says which rig and look: give either it or --rig and --look")
        published = recipe(name)
        own = {"rig": published.rig.name, "look": published.look, "resolution": published.resolution}
        given = {**own, "engine": published.engine, **given}
    try:
        config = RenderConfig(**given)
    except ValidationError as e:
        raise UsageError(f"--{first_problem(e)}") from e
    resolve(config)
    return config
