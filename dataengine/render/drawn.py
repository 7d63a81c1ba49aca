"""The looks of one asset after the draws: nothing in them is left to chance, and what was drawn is told."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dataengine.render.blender.protocol import Camera
from dataengine.render.chance import Chance
from dataengine.render.choice import LookChoice, member_word
from dataengine.render.looks import Light, Look
from dataengine.render.rigs import Ranges


@dataclass(frozen=True)
class DrawnLook:
    """One look of an asset.

    Attributes:
        name: with the environment map that was drawn: `env:city`.
        word: what the members of it are called where there are several looks.
        settings: for RenderRequest.
        samples: the look's own.
        told: what was drawn, for cameras.json.
    """

    name: str
    word: str
    settings: dict[str, Any]
    samples: int
    told: dict[str, Any]


def draw_looks(choice: LookChoice, chance: Chance, lights: Path) -> list[DrawnLook]:
    """The looks that an asset is rendered in: one, or all of them in the order of the config.

    Args:
        choice: of the config.
        chance: of the asset and its view set.
        lights: folder of the environment maps, named as in the corpus.
    """
    looks = choice.looks if choice.every else [chance.one_of("look", choice.looks)]
    return [_environment(look, chance, lights) if look.hdris else _lamps(look, chance) for look in looks]


def _environment(look: Look, chance: Chance, lights: Path) -> DrawnLook:
    hdri = chance.one_of(f"hdri:{look.name}", look.hdris)
    rotation = 360 * chance.number(f"rotation:{look.name}")
    told = {
        "hdri": {"name": hdri.name, "sha256": hdri.sha256},
        "rotation": rotation,
        "strength": hdri.strength,
    }
    environment = {"path": str(lights / hdri.file), "rotation": rotation, "strength": hdri.strength}
    settings = replace(look, hdris=()).to_json() | {"environment": environment}
    return DrawnLook(f"env:{hdri.name}", member_word(look.name), settings, look.samples, told)


def _lamps(look: Look, chance: Chance) -> DrawnLook:
    """The lamps' strengths and places, drawn one after another from the asset's seed, as the published scripts do."""
    dice = chance.generator()
    lamps = []
    for light in look.lights:
        energy = light.energy
        if light.energy_to is not None:
            whole = light.whole_energy
            energy = dice.randint(int(energy), int(light.energy_to)) if whole else dice.uniform(energy, light.energy_to)
        low, high = light.position, light.position_to or light.position
        x, y, z = (a if a == b else dice.uniform(a, b) for a, b in zip(low, high, strict=True))
        lamps.append(replace(light, energy=float(energy), energy_to=None, position=(x, y, z), position_to=None))
    told = {"lamps": [_lamp(lamp) for lamp in lamps]} if tuple(lamps) != look.lights else {}
    settings = replace(look, lights=tuple(lamps)).to_json()
    return DrawnLook(look.name, member_word(look.name), settings, look.samples, told)


def _lamp(lamp: Light) -> dict[str, Any]:
    return {"kind": lamp.kind, "energy": lamp.energy, "position": list(lamp.position)}


def draws_told(looks: Sequence[DrawnLook], ranges: Ranges, cameras: Sequence[Camera]) -> dict[str, Any]:
    """What was drawn for an asset, for cameras.json; empty where nothing was and there is one look.

    Args:
        looks: of the asset; the first is the one that `NN.rgba.png` shows.
        ranges: of the rig.
        cameras: of the asset.
    """
    told: dict[str, Any] = {}
    for what in ("elevation", "radius", "fov"):
        if getattr(ranges, what) is not None:
            each = [_MEASURES[what](camera) for camera in cameras]
            told[what] = each if ranges.per_view else each[0]
    if len(looks) > 1 or any(look.told for look in looks):
        told["looks"] = [
            {"name": look.name, "member": f"{look.word}.rgba.png" if number else "rgba.png", **look.told}
            for number, look in enumerate(looks)
        ]
    return told


_MEASURES: dict[str, Callable[[Camera], float]] = {
    "elevation": lambda camera: camera.elevation,
    "radius": lambda camera: float(np.linalg.norm(np.array(camera.c2w)[:3, 3])),
    "fov": lambda camera: math.degrees(2 * math.atan(camera.K[0][2] / camera.K[0][0])),
}
