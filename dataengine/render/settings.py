"""From names in corpus.yaml to what is rendered: rig, look, samples, resolution."""

from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError

from dataengine.corpus.config import RenderConfig, first_problem
from dataengine.errors import UsageError
from dataengine.render.looks import Look, look
from dataengine.render.recipes import recipe
from dataengine.render.rigs import Rig, rig


@dataclass(frozen=True)
class Job:
    """What every asset of a corpus is rendered with."""

    rig: Rig
    look: Look
    samples: int
    resolution: int
    engine: Literal["cycles", "eevee"]


def resolve(config: RenderConfig) -> Job:
    """The job that a config names.

    Raises:
        UsageError: for an unknown rig, look or recipe.
    """
    if config.recipe is not None:
        published = recipe(config.recipe)
        return Job(
            published.rig,
            look(published.look),
            config.samples or published.samples,
            config.resolution,
            config.engine,
        )
    chosen = look(config.look)
    return Job(rig(config.rig), chosen, config.samples or chosen.samples, config.resolution, config.engine)


def render_config(
    *,
    rig: str | None,
    look: str | None,
    recipe: str | None,
    resolution: int | None,
    samples: int | None,
    engine: str | None,
    frame: int | None,
    seed: int,
) -> RenderConfig:
    """The config that `plan`'s options describe, checked: every name is known.

    Raises:
        UsageError: for an unknown name, a number out of range, or a recipe together with a rig or look of its own.
    """
    from dataengine.render import recipes

    defaults = RenderConfig()
    if recipe is not None:
        if rig is not None or look is not None:
            raise UsageError(f"--recipe {recipe} already says which rig and look: give either it or --rig and --look")
        published = recipes.recipe(recipe)
        rig, look = published.rig.name, published.look
        resolution = resolution or published.resolution
        engine = engine or published.engine
    try:
        config = RenderConfig(
            rig=rig or defaults.rig,
            look=look or defaults.look,
            recipe=recipe,
            resolution=defaults.resolution if resolution is None else resolution,
            samples=samples,
            engine=engine or defaults.engine,
            frame=frame,
            seed=seed,
        )
    except ValidationError as e:
        raise UsageError(f"--{first_problem(e)}") from e
    resolve(config)
    return config
