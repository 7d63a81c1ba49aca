"""Models that the project makes itself: textured, captioned, free of any licence, the same bytes every time.

The first ones are one of each kind, chosen so that together they have what real collections have: concave and thin
parts, transparency, cut alpha, vertex colours, PBR maps, hierarchies, instances, several roots, an animation, the tiny
and the huge. Any more are random variants (colours, patterns, proportions) with captions that say what they are.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from dataengine.corpus.storage import Store
from dataengine.demo.models import household, outdoors, vehicles
from dataengine.demo.models.gltf import to_glb
from dataengine.demo.models.kit import Draw, Model

KINDS = (
    household.mug,
    outdoors.tree,
    household.chair,
    vehicles.car,
    household.fishbowl,
    outdoors.house,
    household.teapot,
    vehicles.rocket,
    household.lamp,
    outdoors.snowman,
    household.umbrella,
    vehicles.balloon,
    household.crates,
    outdoors.ladybird,
    outdoors.windmill,
    outdoors.mushroom,
)
LICENCE = "cc0-1.0"
AUTHOR = "dataengine"


def make_model(index: int, seed: int = 0) -> Model:
    """The model of an index: one of each kind first, then variants in the same order.

    Depends on (index, seed) alone: a larger set begins with the smaller one.
    """
    kind = KINDS[index % len(KINDS)]
    return kind(Draw(np.random.default_rng([seed, index]), usual=index < len(KINDS)))


def write_models(folder: Path, count: int = len(KINDS), seed: int = 0) -> list[Path]:
    """Writes `count` models as GLB, with `assets.csv` (licences) and `captions.csv` beside them.

    The same (count, seed) gives the same bytes in every file.

    Raises:
        DataengineError: if the folder cannot be written.
    """
    store = Store(folder)
    assets = [("path", "title", "author", "licence", "attribution", "tags")]
    captions = [("path", "caption")]
    paths = []
    for index in range(count):
        model = make_model(index, seed)
        name = f"{model.kind}.glb" if index < len(KINDS) else f"{model.kind}-{index:04d}.glb"
        store.put(name, to_glb(model.roots))
        assets.append((name, model.title, AUTHOR, LICENCE, "", ";".join(model.tags)))
        captions.append((name, model.caption))
        paths.append(folder / name)
    store.put("assets.csv", _csv(assets))
    store.put("captions.csv", _csv(captions))
    return paths


def _csv(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
