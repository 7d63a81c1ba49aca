"""Are reconstructions from four views worth it, and does sampling with them in the loop give views that agree?

    python benchmarks/reconstruct.py true CORPUS [CORPUS …] --view-set orbit24
    python benchmarks/reconstruct.py sample slim CORPUS [CORPUS …] --view-set orbit8 --limit 64 --weight 0.25,0.5

Held-out objects (splits val and test, or `--where`), or those of packed files (`*.safetensors`, see packed.py). 95 %
intervals over objects, paired where one thing is compared with another.

- true: four true views are given. PSNR of the others, beside the nearest given view copied; the median error of depth
  on the true foreground in % of the object's size, beside a visual hull of the four silhouettes.
- sample: the first view is given to a run, which draws the others, with and without reconstruction, from the same
  seeds. PSNR, reprojection and flow-warping error (true depth); Chamfer distance, in % of the object's size, from the
  Gaussians' centres that are reconstructed from four drawn views to the true surface. `--surface` fuses that
  reconstruction's depth at all cameras and compares it with the fused true depth: Chamfer distance and volume IoU.
  `--fit` fits Gaussians to every second view and measures the others, and the surface of the fit likewise.
  `--true` draws with tokens of the true views in the reconstruction's place as well: what a perfect reconstructor would
  give. `--ceiling` measures the true views too. `--rows FILE` keeps a line of JSON an object; objects that are in it
  are not drawn again, so a long run may be stopped and gone on with.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from dataengine.errors import UsageError
from dataengine.geometry.gaussians import Gaussians
from dataengine.geometry.tensors import lift, scale_intrinsics
from dataengine.geometry.visual_hull import hull_depth, visual_hull
from dataengine.tokenize import load
from dataengine.training.config import Sampling
from dataengine.training.contact_sheet import decode_views, sheet
from dataengine.training.data.views import Views
from dataengine.training.evaluation.gaussian_fit import held_out
from dataengine.training.evaluation.metrics import reprojection_psnr, warping_error
from dataengine.training.evaluation.surface import Surface, fuse_surface, gaussians_surface, volume_iou
from dataengine.training.evaluation.surface import chamfer as surface_chamfer
from dataengine.training.reconstruct.corrupt import rows_around
from dataengine.training.reconstruct.floaters import without_floaters
from dataengine.training.reconstruct.guide import ReconstructionGuide
from dataengine.training.reconstruct.loss import Truth
from dataengine.training.reconstruct.measure import depth_error, measure, psnr
from dataengine.training.reconstruct.network import Reconstructor
from dataengine.training.reconstruct.packed import Packed
from dataengine.training.reconstruct.view_choice import four_around
from dataengine.training.reconstruct.weights import load_reconstructor
from dataengine.training.sample import load_run
from dataengine.training.sampler import Agreement, Guide, generate
from dataengine.training.text import PAD

POINTS = 4096  # of each surface, for the Chamfer distance
HULL_CELLS = 96  # of a side
SURFACE_SIDE = 64  # pixels of the depth that is drawn of Gaussians and fused
Figures = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    for name in ("true", "sample"):
        command = commands.add_parser(name)
        if name == "sample":
            command.add_argument("run", type=Path)
        command.add_argument("objects", nargs="+", help="corpora, or packed files")
        command.add_argument("--view-set", default=None)
        command.add_argument("--where", help="SQL; these assets of any split: a source that no training saw")
        command.add_argument("--limit", type=int, default=64, help="objects in all")
        command.add_argument("--reconstructor", default=None)
        command.add_argument("--device", default="cpu")
        command.add_argument("--sheet", type=Path, default=None, help="pictures of the first objects go here")
        if name == "sample":
            command.add_argument("--weight", default=str(Guide.weight), help="log-odds, one or more")
            command.add_argument("--every", type=int, default=1)
            command.add_argument("--again", type=float, default=Guide.again)
            command.add_argument("--after", type=float, default=Guide.after)
            command.add_argument("--steps", type=int, default=8)
            command.add_argument("--method", default="halton")
            command.add_argument("--draw", default="bits")
            command.add_argument("--temperature", type=float, default=0.0)
            command.add_argument("--seeds", type=int, default=1)
            command.add_argument("--batch", type=int, default=4)
            command.add_argument("--true", action="store_true")
            command.add_argument("--ceiling", action="store_true")
            command.add_argument("--fit", action="store_true")
            command.add_argument("--surface", action="store_true")
            command.add_argument("--rows", type=Path, default=None)
    args = parser.parse_args()
    model = load_reconstructor(args.reconstructor, args.device)
    found, rows = (true_views if args.what == "true" else sampled)(args, model)
    table = Table("", "mean", "± 95 %", "median", "objects")
    for name, values in found.items():
        own = torch.tensor([v for v in values if v == v and abs(v) != float("inf")])
        half = 1.96 * float(own.std()) / len(own) ** 0.5 if len(own) > 1 else float("nan")
        middle = torch.tensor(values).nanmedian()
        table.add_row(name, f"{own.mean():.3f}", f"{half:.3f}", f"{middle:.3f}", f"{len(own)} of {len(values)}")
    Console(width=120).print(table)
    if args.sheet and rows:
        sheet(rows).save(args.sheet)
        print(args.sheet)


def objects(args: argparse.Namespace, batch: int) -> Iterator[Truth]:
    """Held-out objects (B, V, …)."""
    left = args.limit
    for source in args.objects:
        for truth in _packed(source, batch) if source.endswith(".safetensors") else _corpus(source, args, batch):
            if left <= 0:
                return
            own = Truth(*(values[:left].to(args.device) for values in truth))
            left -= len(own.colour)
            yield own


def _packed(source: str, batch: int) -> Iterator[Truth]:
    packed = Packed(Path(source))
    for start in range(0, len(packed), batch):
        yield Truth(**packed.take(torch.arange(start, min(start + batch, len(packed)))))


def _corpus(source: str, args: argparse.Namespace, batch: int) -> Iterator[Truth]:
    how = {"view_set": args.view_set, "fields": Truth._fields, "batch_size": batch, "epochs": 1, "where": args.where}
    for split in (None,) if args.where else ("val", "test"):
        try:
            views = Views(source, split=split, **how)
        except UsageError as e:
            print(f"{source}, split {split}: {e}", file=sys.stderr)
            continue
        for sample in views:
            yield Truth(*(sample[name] for name in Truth._fields))


def true_views(args: argparse.Namespace, model: Reconstructor) -> tuple[Figures, list[tuple[str, Tensor]]]:
    found: Figures = {}
    rows: list[tuple[str, Tensor]] = []
    for truth in objects(args, 1):
        begun = time.monotonic()
        own = measure(model, truth)
        values = {
            "PSNR of other views, dB": float(own.psnr),
            "nearest given view copied, dB": float(own.copied),
            "ahead of it, dB": float(own.psnr - own.copied),
            "depth error, % of size": float(own.depth),
            "seconds an object": time.monotonic() - begun,
        }
        values.update(hull_figures(truth, float(own.depth)))
        add(found, values)
        if len(rows) < 16:
            rows += pictures(model, truth)
    return found, rows


def hull_figures(truth: Truth, ours: float) -> dict[str, float]:
    """The depth error of a visual hull of the same four silhouettes, and ours as a share of it."""
    four, rest = split(truth)
    given, others = (Truth(*(values[0] for values in truth.pick(views[None]))) for views in (four, rest))
    parallel = [torch.zeros(len(views.K), dtype=torch.bool) for views in (given, others)]
    hull = visual_hull(given.alpha[:, 0] > 0.1, given.K, given.c2w, parallel[0], HULL_CELLS)
    size = (truth.colour.shape[-2], truth.colour.shape[-1])
    error = float(depth_error(hull_depth(hull, others.K, others.c2w, parallel[1], size)[:, None], others.depth))
    return {"visual hull's depth error, %": error, "ours / the hull's": ours / error}


def split(truth: Truth) -> tuple[Tensor, Tensor]:
    """The four views that are given, and the others, of one object (B = 1)."""
    four = four_around(truth.c2w[0].cpu())
    rest = [v for v in range(truth.c2w.shape[1]) if v not in four]
    return torch.tensor(four), torch.tensor(rest)


@torch.no_grad()
def pictures(model: Reconstructor, truth: Truth) -> list[tuple[str, Tensor]]:
    four, rest = split(truth)
    given, others = truth.pick(four[None]), truth.pick(rest[:4][None])
    made = without_floaters(model(given.colour, given.K, given.c2w))
    drawn = draw(made, others)
    shown = (given.colour, others.colour, drawn)
    return [(n, s[0].cpu()) for n, s in zip(("given", "true others", "reconstructed"), shown, strict=True)]


def draw(gaussians: Gaussians, at: Truth) -> Tensor:
    from dataengine.geometry.rasterise import rasterise

    return rasterise(gaussians, at.K, at.c2w, (at.colour.shape[-2], at.colour.shape[-1])).colour.clamp(0, 1)


def sampled(args: argparse.Namespace, model: Reconstructor) -> tuple[Figures, list[tuple[str, Tensor]]]:
    trained = load_run(args.run, device=args.device)
    state = trained.state
    codec = load(state.tokenizer["name"]).to(args.device)
    how: Any = {"method": args.method, "draw": args.draw, "temperature": args.temperature}
    sampling = replace(Sampling(steps=args.steps), **how)
    found: Figures = {}
    rows: list[tuple[str, Tensor]] = []
    done = read_rows(args.rows)
    for values in done:
        add(found, values)
    for n, truth in enumerate(objects(args, args.batch)):
        if n * args.batch < len(done):
            continue
        batch, views, _, height, width = truth.colour.shape
        cameras = rows_around(truth.K, truth.c2w, (height, width))
        with torch.no_grad():
            true = codec.encode(truth.colour.flatten(0, 1) * 2 - 1).long().view(batch, views, -1)
        codes = torch.full_like(true, state.model.mask)
        codes[:, 0] = true[:, 0]
        text = torch.full((batch, state.model.text_length), PAD)
        look = ReconstructionGuide(model, codec, cameras, state.model.grid)
        figures = Measures(args, truth, cameras.cpu(), look)
        objects_found: list[dict[str, float]] = [{} for _ in range(batch)]
        if args.ceiling:
            note(objects_found, "true views", figures(truth.colour.cpu()))
        for seed in range(args.seeds):
            plain: list[dict[str, float]] = []
            for name, weight, agree in variants(args, look, true):
                begun = time.monotonic()
                guide = None if weight is None else Guide(agree, args.every, args.after, weight, args.again)
                out = generate(trained.model, text, codes, cameras, sampling, seed, guide=guide)
                seconds = (time.monotonic() - begun) / batch
                drawn = decode_views(codec, out, state.model.grid)
                own = figures(drawn)
                plain = plain or [dict(values) for values in own]
                for values, before in zip(own, plain, strict=True):
                    values.update({} if weight is None else {f"- plain: {k}": values[k] - before[k] for k in before})
                    values["seconds"] = seconds
                note(objects_found, name, own)
                if len(rows) < 24 and seed == 0:
                    rows += [("true", truth.colour[0].cpu())] if weight is None else []
                    rows += [(name, drawn[0]), (f"{name}, reconstructed", rendered(look, drawn)[0])]
        for values in objects_found:
            add(found, values)
            if args.rows:
                with args.rows.open("a") as file:
                    file.write(json.dumps(values) + "\n")
    return found, rows


def variants(args: argparse.Namespace, look: ReconstructionGuide, true: Tensor) -> Iterator[tuple[str, Any, Any]]:
    """Name, weight and what the views are told: nothing, the reconstruction, or tokens of the true views."""
    yield "plain", None, None
    for weight in map(float, args.weight.split(",")):
        yield f"weight {weight}", weight, look
        if args.true:
            yield (
                f"true, weight {weight}",
                weight,
                lambda _: Agreement(true, torch.ones_like(true, dtype=torch.float32)),
            )


def note(objects_found: list[dict[str, float]], name: str, own: list[dict[str, float]]) -> None:
    for values, kept in zip(own, objects_found, strict=True):
        kept.update({f"{name} {k}" if k.startswith("-") else f"{name}: {k}": v for k, v in values.items()})


def read_rows(path: Path | None) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path and path.exists() else []


def rendered(look: ReconstructionGuide, drawn: Tensor) -> Tensor:
    return look.render(look.reconstruct(drawn), (drawn.shape[-2], drawn.shape[-1])).cpu()


class Measures:
    """What is measured of drawn views (B, V, 3, H, W) of a batch of objects."""

    def __init__(self, args: argparse.Namespace, truth: Truth, cameras: Tensor, look: ReconstructionGuide) -> None:
        self.args, self.look, self.cameras = args, look, cameras
        self.truth = Truth(*(values.cpu() for values in truth))
        self.surfaces: list[Surface] = []
        if args.fit or args.surface:
            views = zip(self.truth.depth[:, :, 0], self.truth.K, self.truth.c2w, strict=True)
            self.surfaces = [fuse_surface(*own) for own in views]

    def __call__(self, drawn: Tensor) -> list[dict[str, float]]:
        made = self.look.reconstruct(drawn)
        return [self.of(i, drawn[i], Gaussians(*(values[i].cpu() for values in made))) for i in range(len(drawn))]

    def of(self, i: int, drawn: Tensor, made: Gaussians) -> dict[str, float]:
        cameras, depth, K, c2w = self.cameras[i], self.truth.depth[i, :, 0], self.truth.K[i], self.truth.c2w[i]
        surface = torch.cat([lift(d, k, c)[0] for d, k, c in zip(depth, K, c2w, strict=True)])
        found = {
            "PSNR": float(psnr(drawn[1:], self.truth.colour[i, 1:])),
            "reprojection": float(reprojection_psnr(drawn, depth, cameras)),
            "centres' Chamfer, %": 100 * chamfer(made.centres[made.opacities > 0.5], surface),
        }
        for frames in (1, 6):
            if len(drawn) > 2 * frames:
                found[f"warping error, f = {frames}"] = float(warping_error(drawn, depth, cameras, frames))
        if self.args.surface:
            found.update(self.shape(i, "surface's", made))
        if self.args.fit:
            fit = held_out(drawn, K, c2w)
            found.update({"fit's PSNR": fit.psnr, "fit's SSIM": fit.ssim, "fit's feature": fit.feature})
            found.update(self.shape(i, "fit's", fit.gaussians))
        return found

    def shape(self, i: int, name: str, gaussians: Gaussians) -> dict[str, float]:
        factor = SURFACE_SIDE / self.truth.colour.shape[-1]
        K = scale_intrinsics(self.truth.K[i], factor, factor)
        own = gaussians_surface(gaussians, K, self.truth.c2w[i], (SURFACE_SIDE, SURFACE_SIDE))
        true = self.surfaces[i]
        return {f"{name} Chamfer, %": 100 * surface_chamfer(own, true), f"{name} IoU": volume_iou(own, true)}


def chamfer(a: Tensor, b: Tensor) -> float:
    """The mean of both directions' mean distance to the nearest, of evenly chosen points (N, 3)."""
    if not len(a) or not len(b):
        return float("nan")
    a, b = (points[:: max(1, len(points) // POINTS)] for points in (a, b))
    apart = torch.cdist(a, b)
    return float(apart.min(0).values.mean() + apart.min(1).values.mean()) / 2


def add(found: Figures, values: dict[str, float]) -> None:
    for name, value in values.items():
        found.setdefault(name, []).append(value)


if __name__ == "__main__":
    main()
