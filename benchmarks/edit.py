"""Does an edit of one view follow in the others? Measured against the same model rendered with that part recoloured.

    python benchmarks/edit.py slim FOLDER --models 40 --steps 4 --method halton --draw bits --temperature 0

Variants of the demo's models are written twice, as they are and with one material in another colour; both are rendered
(FOLDER keeps them, so that a second call only measures). Of each pair the first view is the edit: it is given as the
recoloured model has it, the others as they were. A part must take up between --least and --most of the object there,
and its colour must have changed by --visible (root mean squared, of 255) or more.
Mean over objects with 95 % intervals over them, of three other views (45, 90 and 315 degrees away):

- the edited part (pixels that the recolouring changed, in the true views): root mean squared error of colour, 0 to 255.
  Beside it: the other views left alone; the edit carried to them by depth, nothing drawn; the round trip of the true
  views through the tokenizer.
- elsewhere on the object: PSNR against the true views, and that of the round trip.
"""

import argparse
import json
import struct
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

import dataengine
from dataengine.corpus.corpus import CONFIG, Corpus
from dataengine.demo.models import KINDS, make_model
from dataengine.demo.models.gltf import to_glb
from dataengine.demo.models.kit import COLOURS
from dataengine.errors import UsageError
from dataengine.manifests.catalog import Catalog
from dataengine.tokenize import load
from dataengine.training.config import Sampling
from dataengine.training.contact_sheet import sheet
from dataengine.training.evaluation.intervals import mean_interval
from dataengine.training.sample import load_run
from dataengine.training.tasks.edit import propagate_edit
from dataengine.training.tasks.objects import ObjectViews, object_views

BEFORE, AFTER = "before", "after"
VIEWS = [0, 1, 2, 7]
CHANGED = 0.04  # of the range of a channel, as edit.py has it
SHEET = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", type=int, default=40)
    parser.add_argument("--seed", type=int, default=100, help="of the variants; the demo's and the corpora's is 0")
    parser.add_argument("--least", type=float, default=0.03)
    parser.add_argument("--most", type=float, default=0.6)
    parser.add_argument("--visible", type=float, default=30.0)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--temperature", type=float, default=0.1)
    parser.add_argument("--method", default="confidence")
    parser.add_argument("--draw", default="codes")
    parser.add_argument("--sheet", type=Path, default=None)
    args = parser.parse_args()
    trained = load_run(args.run)
    codec = load(trained.state.tokenizer["name"])
    how: Any = {"method": args.method, "draw": args.draw}
    sampling = Sampling(args.steps, temperature=args.temperature, **how)
    side = trained.state.model.grid[0] * trained.state.tokenizer["factor"]
    pairs = rendered(args.folder, args.models, args.seed, side)
    found: dict[str, list[float]] = defaultdict(list)
    rows: list[tuple[str, Tensor]] = []
    for before, after in pairs:
        images, true = before.images[VIEWS], after.images[VIEWS]
        part = ((images - true).abs().amax(1) > CHANGED) & (before.depth[VIEWS] > 0)
        rest = before.covered[VIEWS] & ~part
        share = float(part[0].sum() / before.covered[0].sum())
        change = 255 * float((images[0] - true[0])[:, part[0]].square().mean()) ** 0.5 if share else 0.0
        if not args.least < share < args.most or change < args.visible or not part[1:].any():
            continue
        try:
            made = propagate_edit(
                trained, codec, images, before.depth[VIEWS], before.cameras[VIEWS], true[0], sampling=sampling
            )
        except UsageError as e:
            print(f"left out: {e}", file=sys.stderr)
            continue
        with torch.no_grad():
            trip = (codec.decode(codec.encode(true * 2 - 1)) / 2 + 0.5).clamp(0, 1)
        shown = {"drawn": made.images, "left alone": images, "carried by depth": made.carried, "round trip": trip}
        for name, views in shown.items():
            found[f"edited part, colour error: {name}"].append(255 * error(views, true, part) ** 0.5)
            if name in ("drawn", "round trip"):
                found[f"elsewhere on the object, dB: {name}"].append(-10 * np.log10(error(views, true, rest)))
        ours, *others = (found[f"edited part, colour error: {name}"][-1] for name in shown)
        found["drawn / left alone"].append(ours / others[0])
        found["drawn - carried"].append(ours - others[1])
        drawn, trip_db = (found[f"elsewhere on the object, dB: {name}"][-1] for name in ("drawn", "round trip"))
        found["elsewhere: drawn - round trip, dB"].append(drawn - trip_db)
        if len(rows) < 4 * SHEET:
            rows += [("before", images), ("true, the first one given", true), ("drawn", made.images)]
            rows += [("carried by depth", made.carried)]
    table = Table("", "mean", "95 %", "objects")
    for name, values in found.items():
        own = mean_interval(torch.tensor(values))
        table.add_row(name, f"{own.value:.3f}", f"{own.low:.3f} to {own.high:.3f}", str(len(values)))
    Console(width=120).print(table)
    if args.sheet and rows:
        sheet(rows).save(args.sheet)


def error(views: Tensor, true: Tensor, where: Tensor) -> float:
    """Mean square over the pixels of a mask, the first view left out; at least that of rounding to eight bits."""
    squares = (views[1:] - true[1:]).square().mean(1)[where[1:]]
    return max(float(squares.mean()), 1 / 12 / 255**2)


def rendered(folder: Path, count: int, seed: int, side: int) -> list[tuple[ObjectViews, ObjectViews]]:
    """The views of each model before and after; those that do not render are left out."""
    corpora = []
    for name in (BEFORE, AFTER):
        where = folder / name
        if not (where / "corpus" / CONFIG).exists():
            write(where / "models", count, seed, recolour=name == AFTER)
            dataengine.plan(where / "corpus", [f"local:{where / 'models'}"], resolution=side).render()
        corpora.append(Corpus.open(where / "corpus"))
    spec = ((255, 255, 255), side)
    files = [{Path(uri).name: uid for uid, uri in uids(corpus)} for corpus in corpora]
    common = sorted(files[0].keys() & files[1].keys())
    first, second = (
        [object_views(c, of[name], *spec) for name in common] for c, of in zip(corpora, files, strict=True)
    )
    return list(zip(first, second, strict=True))


def uids(corpus: Corpus) -> list[tuple[str, str]]:
    return [(u, uri) for u, uri in Catalog(corpus).sql("SELECT uid, uri FROM renders WHERE status = 'ok'").fetchall()]


def write(folder: Path, count: int, seed: int, *, recolour: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(len(KINDS), len(KINDS) + count):
        model = make_model(index, seed)
        content = to_glb(model.roots)
        random = np.random.default_rng([seed, index])
        (folder / f"{model.kind}-{index:04d}.glb").write_bytes(recoloured(content, random) if recolour else content)


def recoloured(glb: bytes, random: np.random.Generator) -> bytes:
    """A GLB with the base colour of one opaque material far from what it was."""
    length = struct.unpack_from("<I", glb, 12)[0]
    scene = json.loads(glb[20 : 20 + length])
    opaque = [m for m in scene["materials"] if m.get("alphaMode", "OPAQUE") == "OPAQUE"]
    material = opaque[random.integers(len(opaque))]["pbrMetallicRoughness"]
    was = np.array(material.get("baseColorFactor", [1, 1, 1, 1])[:3])
    linear = [np.power(np.array(colour), 2.2) for colour in COLOURS.values()]
    far = [colour for colour in linear if np.abs(colour - was).max() > 0.4]
    material["baseColorFactor"] = [*map(float, far[random.integers(len(far))]), 1.0]
    text = json.dumps(scene, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    rest = glb[20 + length :]
    return (
        struct.pack("<4sII", b"glTF", 2, 20 + len(text) + len(rest))
        + struct.pack("<I4s", len(text), b"JSON")
        + text
        + rest
    )


if __name__ == "__main__":
    main()
