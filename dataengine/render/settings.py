"""From names in corpus.yaml to what is rendered: rig, look, samples, resolution."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from dataengine.corpus.config import RenderConfig, first_problem
from dataengine.errors import UsageError
from dataengine.render.looks import Look, look
from dataengine.render.recipes import recipe
from dataengine.render.rigs import Rig, rig


@dataclass(frozen=True)
class RenderPlan:
    """What every asset of a corpus is rendered with."""

    rig: Rig
    look: Look
    samples: int
    resolution: int
    engine: Literal["cycles", "eevee"]


def resolve(config: RenderConfig) -> RenderPlan:
    """What a config names.

    Raises:
        UsageError: for an unknown rig, look or recipe, or what the engine does not draw.
    """
    if config.engine == "eevee" and (config.channels or not config.colour):
        raise UsageError("channels, and views without colour, are rendered by Cycles: leave --engine eevee out")
    samples = config.samples or (None if config.colour else 1)
    if config.recipe is not None:
        published = recipe(config.recipe)
        return RenderPlan(
            published.rig,
            look(published.look),
            samples or published.samples,
            config.resolution,
            config.engine,
        )
    chosen = look(config.look)
    return RenderPlan(rig(config.rig), chosen, samples or chosen.samples, config.resolution, config.engine)


def render_config(
    **given: Any,
) -> RenderConfig:
    """The config of these fields of RenderConfig, checked: every name is known. A recipe brings what is not given.

    Raises:
        UsageError: for an unknown name, a number out of range, or a recipe together with a rig or look of its own.
    """
    if name := given.get("recipe"):
        if given.keys() & {"rig", "look"}:
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
