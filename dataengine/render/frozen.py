"""What the names in corpus.yaml stand for, in numbers, and whether this release still draws the same with them."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np

from dataengine.corpus.config import CorpusConfig, RenderConfig, ViewSet
from dataengine.errors import UsageError
from dataengine.render.chance import Chance
from dataengine.render.rigs import Rig
from dataengine.render.settings import resolve

RENDER_REVISION = 2
"""Raised whenever the same settings give other pixels: docs/looks.md says what changed with each."""


def render_numbers(config: RenderConfig) -> dict[str, Any]:
    """The numbers of a config's rig and look, as JSON holds them: what `plan` writes into corpus.yaml.

    Raises:
        UsageError: for an unknown rig, look or recipe.
    """
    plan = resolve(config)
    looks = plan.looks.looks
    numbers: dict[str, Any] = {"rig": _rig_numbers(plan.rig)}
    if len(looks) == 1:
        numbers |= {"look": looks[0].to_json(), "samples": plan.samples or looks[0].samples}
    else:
        each = [look.to_json() | ({"samples": plan.samples} if plan.samples else {}) for look in looks]
        numbers |= {"looks": each, "every": plan.looks.every}
    return dict(json.loads(json.dumps(numbers)))


def _rig_numbers(rig: Rig) -> dict[str, Any]:
    """Poses are azimuth and elevation in degrees and the distance, before anything is drawn from ranges; those of a
    random rig are one draw, for its form."""
    poses = rig.layout(Chance())
    numbers = {
        "normalisation": rig.normalisation,
        "fov": rig.fov,
        "ortho_scale": rig.ortho_scale,
        "random": rig.random,
        "poses": [[round(x, 6) for x in (p.azimuth, p.elevation, float(np.linalg.norm(p.c2w[:3, 3])))] for p in poses],
    }
    return numbers | ({"ranges": asdict(rig.ranges)} if rig.ranges else {})


def check_frozen(config: CorpusConfig, sets: Iterable[ViewSet], where: str) -> None:
    """Refuses view sets whose pictures this release would draw otherwise.

    Args:
        config: of the corpus.
        sets: those that are to be rendered.
        where: its URL, for the message.

    Raises:
        UsageError: if one was planned for another render revision, or its rig or look has other numbers by now.
    """
    for view_set in sets:
        numbers = render_numbers(view_set.render)
        frozen = numbers if view_set.numbers is None else view_set.numbers
        changed = [name for name, value in numbers.items() if frozen.get(name) != value]
        if view_set.revision == RENDER_REVISION and not changed:
            continue
        what = (
            f"render revision {view_set.revision}" if view_set.revision != RENDER_REVISION else f"another {changed[0]}"
        )
        which = f"view set {view_set.name} of {where}" if len(config.sets) > 1 else where
        raise UsageError(
            f"{which} was planned by dataengine {config.version} for {what}, and this version draws other pictures "
            f"(revision {RENDER_REVISION}): finish it with that version, plan into a new folder, or mix both with "
            "--accept-revision"
        )
