"""What are completion's tasks worth, beside what needs no model? Held-out objects, true depth, 95 % intervals.

    python benchmarks/tasks.py RUN CORPUS [CORPUS …] --limit 32 --uids held_out.txt
    python benchmarks/tasks.py RUN CORPUS --tasks novel-view --noise 0.05

Every figure is dB of PSNR, a mean over objects. On objects of eight views around (`orbit8`):

- interpolate: on any orbit (`--view-set orbit24`): views `--apart` degrees from each other are given, those every
  `--between` degrees from the first to the last are drawn, with the reconstructor that ships and by the tokens alone;
  beside the better endpoint and a cross-fade of the two.
- novel-view: view 0 is carried to views 1, 2 and 7 by depth and completed; beside the same model without the warp, the
  warp with its holes filled smoothly and, where OpenCV is installed, inpainted (Telea); also on hole pixels alone; and
  with depth that was estimated from the view alone.
  With --noise, the depth is disturbed by smooth noise of that share of the object's depth, and each patch that the warp
  gives is doubted (stochastic conditioning) or not.
- visible: 5, 10 and 25 % of the tokens of three views are given besides the first view.
- eight: seven views from the first, the four of an evenly spaced choice apart from the others.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from dataengine.corpus.corpus import Corpus
from dataengine.manifests.catalog import Catalog
from dataengine.tokenize import load
from dataengine.tokenize.metrics import psnr
from dataengine.training.config import Sampling
from dataengine.training.contact_sheet import sheet
from dataengine.training.reconstruct.weights import load_reconstructor
from dataengine.training.sample import Trained, background_of, load_run
from dataengine.training.tasks.complete import complete
from dataengine.training.tasks.interpolate import cross_fade, interpolate
from dataengine.training.tasks.novel_view import estimate_depth, novel_views
from dataengine.training.tasks.objects import ObjectViews, object_views
from dataengine.training.tasks.warp import warp

TASKS = ("interpolate", "novel-view", "visible", "eight")
Figures = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("corpus", nargs="+")
    parser.add_argument("--where", default="split <> 'train'")
    parser.add_argument("--uids", type=Path, default=None, help="a file of uids, one a line: only these")
    parser.add_argument("--limit", type=int, default=32, help="objects of each corpus")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--doubt", default="1,2,4", help="nats, with --noise")
    parser.add_argument("--doubt-after", type=float, default=Sampling().doubt_after, help="share of the steps")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--temperature", type=float, default=0.1)
    parser.add_argument("--method", default="confidence")
    parser.add_argument("--draw", default="codes")
    parser.add_argument("--view-set", default=None)
    parser.add_argument("--apart", default="90", help="interpolate: degrees between the endpoints, one or more")
    parser.add_argument("--between", type=float, default=45.0, help="interpolate: degrees between neighbours")
    parser.add_argument("--weights", default=None)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sheet", type=Path, default=None, help="pictures of the novel views go here")
    args = parser.parse_args()
    trained = load_run(args.run, device=args.device)
    args.reconstructor = load_reconstructor(device=args.device)
    codec = load(trained.state.tokenizer["name"], args.weights).to(trained.device)
    how: Any = {"method": args.method, "draw": args.draw}
    sampling = Sampling(args.steps, temperature=args.temperature, doubt_after=args.doubt_after, **how)
    found: dict[str, list[float]] = defaultdict(list)
    rows: list[tuple[str, Tensor]] = []
    for known in objects(args, trained):
        for task in args.tasks.split(","):
            for name, value in MEASURES[task](trained, codec, known, sampling, args, rows).items():
                found[f"{task}: {name}"].append(value)
    table = Table("", "dB", "± 95 %", "objects")
    for name, values in found.items():
        own = [v for v in values if np.isfinite(v)]
        half = 1.96 * float(np.std(own)) / len(own) ** 0.5 if own else float("nan")
        table.add_row(name, f"{np.mean(own):.2f}" if own else "–", f"{half:.2f}", str(len(own)))
    Console().print(table)
    if args.sheet and rows:
        sheet(rows[: 4 * 8]).save(args.sheet)


def objects(args: argparse.Namespace, trained: Trained) -> Iterator[ObjectViews]:
    side = trained.state.model.grid[0] * trained.state.tokenizer["factor"]
    wanted = set(args.uids.read_text().split()) if args.uids else None
    for url in args.corpus:
        corpus = Corpus.open(url)
        uids = [u for u in Catalog(corpus).uids(args.where) if wanted is None or u in wanted]
        for uid in uids[:: max(1, len(uids) // args.limit)][: args.limit]:
            yield object_views(corpus, uid, background_of(trained.state.tokenizer), side, args.view_set)


def db(found: Tensor, true: Tensor, where: Tensor | None = None) -> float:
    """Mean over views (V, 3, H, W) of PSNR, on the pixels that a mask (V, H, W) names."""
    return float(psnr(found, true, None if where is None else where[:, None]).nanmean())


def measure_interpolate(
    trained: Trained,
    codec: Any,
    known: ObjectViews,
    sampling: Sampling,
    args: argparse.Namespace,
    rows: list[tuple[str, Tensor]],
) -> Figures:
    found: Figures = {}
    spacing = 360 / len(known.images)
    for apart in map(float, args.apart.split(",")):
        views = [round(turn / spacing) for turn in np.arange(0, apart + 1, args.between)]
        images, cameras = known.images[views], known.cameras[views]
        true = images[1:-1]
        ends = (trained, codec, images[0], images[-1], cameras)
        drawn = interpolate(*ends, sampling=sampling, reconstructor=args.reconstructor)[1:-1]
        alone = interpolate(*ends, sampling=sampling)[1:-1]
        better = max((images[i].expand_as(true) for i in (0, -1)), key=lambda end: db(end, true))
        others = {
            "tokens alone": alone,
            "better endpoint": better,
            "cross-fade": cross_fade(images[0], images[-1], len(true)),
        }
        found[f"{apart:g}°, drawn"] = ours = db(drawn, true)
        found |= {f"{apart:g}°, {name}": db(pictures, true) for name, pictures in others.items()}
        found |= {f"{apart:g}°, drawn - {name}": ours - db(pictures, true) for name, pictures in others.items()}
        rows += [("true", images), ("drawn", torch.cat([images[:1], drawn, images[-1:]]))]
        rows += [("drawn by the tokens alone", torch.cat([images[:1], alone, images[-1:]]))]
    return found


def measure_novel_view(
    trained: Trained,
    codec: Any,
    known: ObjectViews,
    sampling: Sampling,
    args: argparse.Namespace,
    rows: list[tuple[str, Tensor]],
) -> Figures:
    views = torch.tensor([0, 1, 2, 7])
    images, cameras, depth = known.images[views], known.cameras[views], known.depth[0]
    true = images[1:]
    if args.noise:
        depth = disturbed(depth, args.noise)
    background = torch.tensor(background_of(trained.state.tokenizer)) / 255
    carried = warp(images[0], depth, cameras[0], cameras[1:], background)
    holes = ~carried.known
    given = torch.zeros(1, 4, trained.state.model.view_tokens, dtype=torch.bool)
    given[:, 0] = True
    bare = complete(trained, codec, images[None], given, cameras[None], sampling=sampling)[0, 1:]
    drawn = novel_views(trained, codec, images[0], depth, cameras, sampling=sampling).images[1:]
    out = {
        "without the warp": db(bare, true),
        "warp, filled smoothly": db(carried.images, true),
        "drawn": db(drawn, true),
    }
    out |= {"holes: " + n: db(v, true, holes) for n, v in (("without the warp", bare), ("filled", carried.images))}
    out["holes: drawn"] = db(drawn, true, holes)
    if (painted := inpainted(carried.images, holes)) is not None:
        out |= {"warp, OpenCV": db(painted, true), "holes: OpenCV": db(painted, true, holes)}
    pasted = torch.where(holes[:, None], drawn, carried.images)
    out["drawn, known pixels kept"] = db(pasted, true)
    out |= {
        f"drawn - {other}": out["drawn"] - out[other] for other in ("without the warp", "warp, OpenCV") if other in out
    }
    if not args.noise:
        own = estimate_depth(trained, codec, args.reconstructor, images[0], cameras[0], sampling=sampling)
        again = novel_views(trained, codec, images[0], own, cameras, estimated=True, sampling=sampling).images[1:]
        out["drawn, depth estimated"] = db(again, true)
        out["depth estimated - without the warp"] = out["drawn, depth estimated"] - out["without the warp"]
    if args.noise:
        for nats in map(float, args.doubt.split(",")):
            how = replace(sampling, doubt=nats)
            again = novel_views(trained, codec, images[0], depth, cameras, estimated=True, sampling=how).images[1:]
            out[f"drawn, doubt {nats:g} nats"] = db(again, true)
            out[f"doubt {nats:g} nats - none"] = out[f"drawn, doubt {nats:g} nats"] - out["drawn"]
    grey = torch.where(carried.known[:, None], carried.images, 0.5)
    rows += [("true", images), ("warped by depth", torch.cat([images[:1], grey]))]
    rows += [("drawn", torch.cat([images[:1], drawn])), ("without the warp", torch.cat([images[:1], bare]))]
    return out


def measure_visible(trained: Trained, codec: Any, known: ObjectViews, sampling: Sampling, *_: Any) -> Figures:
    views = torch.tensor([0, 2, 4, 6])
    images, out = known.images[views], {}
    chance = torch.rand(1, 4, trained.state.model.view_tokens, generator=torch.Generator().manual_seed(0))
    chance[:, 0] = -1
    for share in (0.0, 0.05, 0.1, 0.25):
        drawn = complete(trained, codec, images[None], chance < share, known.cameras[views][None], sampling=sampling)[0]
        out[f"{share:.0%}"] = db(drawn[1:], images[1:])
    return out


def measure_eight(trained: Trained, codec: Any, known: ObjectViews, sampling: Sampling, *_: Any) -> Figures:
    given = torch.zeros(1, 8, trained.state.model.view_tokens, dtype=torch.bool)
    given[:, 0] = True
    drawn = complete(trained, codec, known.images[None], given, known.cameras[None], sampling=sampling)[0]
    even, odd = [2, 4, 6], [1, 3, 5, 7]
    four = [0, 2, 4, 6]
    some = complete(
        trained, codec, known.images[four][None], given[:, four], known.cameras[four][None], sampling=sampling
    )
    return {
        "views 2, 4, 6 of four": db(some[0, 1:], known.images[even]),
        "views 2, 4, 6 of eight": db(drawn[even], known.images[even]),
        "views 1, 3, 5, 7 of eight": db(drawn[odd], known.images[odd]),
    }


def disturbed(depth: Tensor, share: float) -> Tensor:
    """Depth with smooth noise at three scales, where there is depth."""
    random, (height, width) = torch.Generator().manual_seed(0), depth.shape
    inside = depth > 0
    span = float(depth[inside].max() - depth[inside].min()) if inside.any() else 0.0
    noise = torch.zeros_like(depth)
    for cells, weight in ((4, 1.0), (12, 1 / 3), (40, 1 / 9)):
        field = torch.randn(1, 1, cells, cells, generator=random)
        noise += weight * F.interpolate(field, (height, width), mode="bicubic", align_corners=True)[0, 0]
    return torch.where(inside, depth + share * span * noise, depth)


def inpainted(images: Tensor, holes: Tensor) -> Tensor | None:
    """(V, 3, H, W) with the holes inpainted by OpenCV; None where it is not installed."""
    try:
        import cv2
    except ImportError:
        return None
    out = []
    for image, hole in zip(images, holes, strict=True):
        pixels = (image.permute(1, 2, 0) * 255).round().byte().numpy()
        out.append(
            torch.from_numpy(cv2.inpaint(pixels, hole.byte().numpy(), 3, cv2.INPAINT_TELEA)).permute(2, 0, 1) / 255
        )
    return torch.stack(out)


MEASURES: dict[str, Any] = {
    "interpolate": measure_interpolate,
    "novel-view": measure_novel_view,
    "visible": measure_visible,
    "eight": measure_eight,
}

if __name__ == "__main__":
    main()
