"""What do cameras, shuffled order, a mixture of masks, and more data teach a model? Small runs, compared.

    python benchmarks/ablations.py FOLDER CORPUS --tokens orbit8-small-64 --held-out "uri ilike '%katorlegaz%'"
    python benchmarks/ablations.py FOLDER CORPUS … --plot data.svg      (needs matplotlib)

Every arm trains from nothing, as long as the others, on split `train` without what is held out; then the nats per
hidden token of the held-out objects are measured, three views from the first. FOLDER keeps the runs: what was
interrupted goes on, what is done is only measured. A table has the mean over seeds and the difference to `rays`: of one
seed paired by object, ± its 95 % interval over objects; of several the least and the most of any seed, since that is
what they differ by most.

- rays, matrix, azimuth, none: stage complete, by what the model is told of cameras.
- fixed: rays, the views in the rig's order, what is given first.
- i2mv: rays, stage i2mv alone.
- 1/2, 1/4, 1/8: rays, on that share of the assets.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from dataengine.corpus.corpus import Corpus
from dataengine.manifests.catalog import Catalog
from dataengine.training import stage_masks
from dataengine.training.completion import mask_for_completion
from dataengine.training.config import TrainConfig
from dataengine.training.data.index import build_index
from dataengine.training.evaluation.held_out_loss import held_out_loss
from dataengine.training.evaluation.intervals import mean_interval
from dataengine.training.sample import load_run
from dataengine.training.trainer import train

WHOLE = 8  # eighths of the assets
ARMS: dict[str, dict[str, Any]] = {
    "rays": {},
    "i2mv": {"stage": "i2mv"},
    "none": {"camera": "none"},
    "azimuth": {"camera": "azimuth"},
    "matrix": {"camera": "matrix"},
    "fixed": {},
    "1/8": {"share": 1},
    "1/4": {"share": 2},
    "1/2": {"share": 4},
}
DATA = ("1/8", "1/4", "1/2", "rays")
HIDDEN = (0.25, 0.75, 0.9, 0.95, 1.0)
TOLD = "hidden: {:.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("corpus")
    parser.add_argument("--tokens", required=True)
    parser.add_argument("--held-out", required=True, help="SQL")
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", default="nano")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--compile", action="store_true", help="on a CPU, too")
    parser.add_argument("--plot", type=Path, default=None, help="nats over data go here")
    args = parser.parse_args()
    catalog = Catalog(Corpus.open(args.corpus))
    index = build_index(catalog, args.tokens, where=args.held_out)
    found: dict[str, list[dict[str, Tensor]]] = {arm: [] for arm in args.arms.split(",")}
    for seed in range(args.seeds):
        for arm in found:
            folder = args.folder / f"{arm.replace('/', '-of-')}-{seed}"
            trained_once(arm, folder, seed, args)
            trained = load_run(folder)
            views = {"evenly spaced": True, "any": False}
            nats = {name: held_out_loss(trained, index, HIDDEN, even=even) for name, even in views.items()}
            found[arm].append(nats)
            print(f"{arm}, seed {seed}:", {k: [round(x, 3) for x in v.mean(1).tolist()] for k, v in nats.items()})
    show(found)
    if args.plot:
        draw(found, args.plot)


def trained_once(arm: str, folder: Path, seed: int, args: argparse.Namespace) -> None:
    settings = dict(ARMS[arm])
    share = settings.pop("share", WHOLE)
    where = f"NOT ({args.held_out}) AND md5_number_lower(uid) % {WHOLE} < {share}"
    usual: dict[str, Any] = {
        "run": folder,
        "corpus": args.corpus,
        "tokenizer": args.tokens,
        "stage": "complete",
        "where": where,
        "size": args.size,
        "steps": args.steps,
        "batch": args.batch,
        "lr": args.lr,
        "warmup": args.steps // 10,
        "ema": 0.99,
        "seed": seed,
        "device": args.device,
        "checkpoint_every": 100,
        "compile": args.compile or None,
    }
    config = TrainConfig(**usual | settings)
    with ordered_as_the_rig(arm == "fixed"):
        if train(config).status == "stopped":
            raise SystemExit(f"stopped; the same command goes on with {folder}")


@contextmanager
def ordered_as_the_rig(wanted: bool) -> Iterator[None]:
    usual = stage_masks.mask_for_completion
    if wanted:
        stage_masks.mask_for_completion = partial(mask_for_completion, shuffle=False)  # type: ignore[assignment]
    try:
        yield
    finally:
        stage_masks.mask_for_completion = usual


def show(found: dict[str, list[dict[str, Tensor]]]) -> None:
    for name in ("evenly spaced", "any"):
        table = Table(f"views {name}", *(TOLD.format(share) for share in HIDDEN))
        usual = by_seed(found["rays"], name) if "rays" in found else None
        for arm, runs in found.items():
            nats = by_seed(runs, name)
            row = [f"{x:.3f}" for x in nats.mean((0, 2)).tolist()]
            if usual is not None and arm != "rays":
                row = [f"{x} ({difference(d)})" for x, d in zip(row, (nats - usual).unbind(1), strict=True)]
            table.add_row(arm, *row)
        Console(width=200).print(table)


def by_seed(runs: list[dict[str, Tensor]], name: str) -> Tensor:
    """(seeds, shares, objects)"""
    return torch.stack([run[name] for run in runs])


def difference(nats: Tensor) -> str:
    """Of (seeds, objects)."""
    if len(nats) == 1:
        own = mean_interval(nats[0])
        return f"{own.value:+.3f} ± {(own.high - own.low) / 2:.3f}"
    seeds = nats.mean(1)
    return f"{float(seeds.mean()):+.3f}, {float(seeds.min()):+.3f} to {float(seeds.max()):+.3f}"


def draw(found: dict[str, list[dict[str, Tensor]]], path: Path) -> None:
    """Nats over the share of the data, a curve for each share of hidden tokens, the least to the most of any seed."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    shares = {arm: ARMS[arm].get("share", WHOLE) / WHOLE for arm in DATA if arm in found}
    figure, axes = pyplot.subplots(figsize=(6, 4))
    for i, hidden in enumerate(HIDDEN):
        points = []
        for arm, share in shares.items():
            seeds = by_seed(found[arm], "evenly spaced")[:, i].mean(1)
            points.append((share, float(seeds.mean()), float(seeds.min()), float(seeds.max())))
        x, value, low, high = zip(*points, strict=True)
        axes.plot(x, value, marker="o", label=TOLD.format(hidden))
        axes.fill_between(x, low, high, alpha=0.15)
    axes.set_xscale("log", base=2)
    axes.set_xticks(x, [arm if arm != "rays" else "all" for arm in shares])
    axes.set_xlabel("share of the assets, at equal compute")
    axes.set_ylabel("nats per hidden token, held out")
    axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    main()
