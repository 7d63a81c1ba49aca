"""Do views that are decoded together show the surface better than views decoded one by one, and where?

    python benchmarks/decoder.py CORPUS --where SQL --view-set orbit8 --decoder A.safetensors --decoder B.safetensors
    python benchmarks/decoder.py CORPUS --view-set orbit8 --decoder A.safetensors --sample slim
    python benchmarks/decoder.py CORPUS --view-set orbit8 --decoder A.safetensors --depth true,hull --rerender

Held-out objects (splits val and test, or `--where`, of any split: what no training saw). The first view is given and is
never scored. Every decoder beside the plain one, paired, with 95 % intervals over objects (bootstrap):

- near, object: PSNR on the object, of views within 60° of the given one, of all;
- near interior, interior: two pixels or more from the true silhouette's edge: what is not the silhouette, which a
  decoder is told with the depth;
- SSIM, feature distance, and reprojection between neighbours;
- correspondences: SIFT matches between neighbouring views that the true depth confirms within a pixel, pooled, as a
  ratio of the plain decoder's (`pip install 'dataengine[benchmark]'`; `--no-correspondences` leaves them out).

Depth that the decoders are told (`--depth`): true; off by structured noise of 5 %; silhouettes one pixel larger or
smaller than they are; the visual hull of what the plain decoder shows. `--sample` takes tokens that a run draws from
the first view in place of the true ones; there is no depth then but the hull's.

`--rerender` fits Gaussians to the views that each decoder shows, and to the true ones, draws them again at the same
cameras, and scores that against the true views in a table of its own, paired with the plain decoder's: views that do
not agree blur. `--rerender-held-out` fits every second view and scores the others, too, in as much time again. A fit
of 128² views takes one thread half a minute: choose with `--depth` and `--limit`, and keep what is done with
`--scores`.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from dataengine.errors import UsageError
from dataengine.tokenize import load
from dataengine.tokenize.decoder_file import load_decoder
from dataengine.tokenize.decoder_quality import rounded
from dataengine.tokenize.decoder_views import Pictures
from dataengine.tokenize.depth_guided import DepthGuidedDecoder
from dataengine.tokenize.depth_noise import structured_noise, wrong_silhouette
from dataengine.tokenize.model import Tokenizer
from dataengine.training.camera_columns import camera_rows
from dataengine.training.config import Sampling
from dataengine.training.contact_sheet import sheet
from dataengine.training.data.views import Views
from dataengine.training.evaluation.intervals import Interval, mean_interval, ratio_interval
from dataengine.training.evaluation.rerender import COUNT, STEPS, rerender, score_held_out
from dataengine.training.evaluation.view_scores import COUNTS, SCORES, score_views
from dataengine.training.guided import hull_of
from dataengine.training.sample import Trained, load_run
from dataengine.training.sampler import generate
from dataengine.training.text import PAD

DEPTHS = ("true", "noise", "larger", "smaller", "hull")
NOISE = 0.05  # world units: 5 % of the object's cube
SHEET = 6  # objects
TRUE = "true views"
RERENDERED, HELD_OUT = "re-rendered: ", "held out of the fit: "  # before the decoder's name
Scores = dict[str, dict[str, float]]  # of one object: by decoder and depth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="+")
    parser.add_argument("--decoder", type=Path, action="append", default=[], help="a file of `decoder fit`; repeatable")
    parser.add_argument("--tokenizer", default="small")
    parser.add_argument("--weights", default=None)
    parser.add_argument("--view-set", default=None)
    parser.add_argument("--views", help="numbers of some views of the set, neighbours in turn, such as 0,1,2,3")
    parser.add_argument("--where", help="SQL; these assets of any split")
    parser.add_argument("--skip", type=int, default=0, help="objects at first, to measure in pieces")
    parser.add_argument("--limit", type=int, default=32, help="objects in all")
    parser.add_argument("--depth", default=",".join(DEPTHS))
    parser.add_argument("--sample", type=Path, default=None, metavar="RUN")
    parser.add_argument("--steps", type=int, default=8, help="of the sampling")
    parser.add_argument("--no-correspondences", action="store_true")
    parser.add_argument("--rerender", action="store_true", help="fit Gaussians to what is decoded, and score those")
    parser.add_argument("--rerender-held-out", action="store_true", help="and those of every second view on the others")
    parser.add_argument("--gaussians", type=int, default=COUNT, help="of a fit")
    parser.add_argument("--fit-steps", type=int, default=STEPS)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--scores", type=Path, help="JSON lines, one an object, are added here; the table is of them all"
    )
    parser.add_argument("--sheet", type=Path, default=None, help="pictures of the first objects go here")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    try:
        run(args)
    except UsageError as e:
        sys.exit(f"error: {e}")


def run(args: argparse.Namespace) -> None:
    kinds = ["hull"] if args.sample else args.depth.split(",")
    if unknown := set(kinds) - set(DEPTHS):
        raise UsageError(f"--depth {', '.join(sorted(unknown))}: it can be {', '.join(DEPTHS)}")
    tokenizer = load(args.tokenizer, args.weights).to(args.device).eval()
    decoders = {path.stem: load_decoder(path, tokenizer) for path in args.decoder}
    trained = load_run(args.sample, device=args.device) if args.sample else None
    found = [json.loads(line) for line in args.scores.read_text().splitlines()] if exists(args.scores) else []
    rows: list[tuple[str, Tensor]] = []
    for number, truth in enumerate(objects(args)):
        codes = draw(trained, tokenizer, truth, args.steps) if trained else None
        shown = decode(tokenizer, decoders, truth, kinds, codes, seed=args.skip + number)
        true = {TRUE: (truth.colour[0] + 1) / 2}
        counted = shown if args.no_correspondences else shown | true  # of true views, as many as can be found
        found.append(
            {name: score_views(v, truth, correspondences=not args.no_correspondences) for name, v in counted.items()}
        )
        drawn: dict[str, Tensor] = {}
        if args.rerender or args.rerender_held_out:
            scores, drawn = rerendered(shown | true, truth, args, number)
            found[-1] |= scores
        if args.scores:
            with args.scores.open("a") as file:
                file.write(json.dumps(found[-1]) + "\n")
        if number < SHEET:
            rows += [("true, the first view given", (truth.colour[0].cpu() + 1) / 2)]
            rows += [(name, views.cpu()) for name, views in (shown | drawn).items()]
    if not found:
        raise UsageError("no object was measured")
    for prefix in ("", RERENDERED, HELD_OUT):
        if some := [scores for scores in (named(each, prefix) for each in found) if scores]:
            Console(width=190).print(table(some, prefix))
    if args.sheet and rows:
        sheet(rows, scale=2).save(args.sheet)
        print(args.sheet)


def exists(path: Path | None) -> bool:
    return path is not None and path.exists()


def objects(args: argparse.Namespace) -> Iterator[Pictures]:
    """Of one object each (B = 1)."""

    chosen = [int(view) for view in args.views.split(",")] if args.views else None

    def every() -> Iterator[Pictures]:
        for url in args.corpora:
            for split in (None,) if args.where else ("val", "test"):
                try:
                    views = Views(
                        url, view_set=args.view_set, fields=Pictures._fields, split=split, where=args.where,
                        views=chosen, batch_size=1, epochs=1, threads=1,
                    )  # fmt: skip
                except UsageError as e:
                    print(f"{url}, split {split}: {e}", file=sys.stderr)
                    continue
                for sample in views:
                    yield Pictures.of(sample, torch.device(args.device))

    yield from islice(every(), args.skip, args.skip + args.limit)


def draw(trained: Trained, tokenizer: Tokenizer, truth: Pictures, steps: int) -> Tensor:
    """(V, L) tokens of the views that a run draws from the first one."""
    true = tokenizer.encode(truth.colour[0]).long().flatten(1)
    codes = torch.full_like(true, trained.state.model.mask)
    codes[0] = true[0]
    ends = torch.ones(truth.K.shape[:2], device=truth.K.device)
    cameras = camera_rows(truth.K, truth.c2w, ends, ends, (truth.depth.shape[-2], truth.depth.shape[-1]))
    text = torch.full((1, trained.state.model.text_length), PAD)
    return generate(trained.model, text, codes[None], cameras, Sampling(steps=steps))[0]


@torch.no_grad()
def decode(
    tokenizer: Tokenizer,
    decoders: dict[str, DepthGuidedDecoder],
    truth: Pictures,
    kinds: list[str],
    codes: Tensor | None,
    seed: int,
) -> dict[str, Tensor]:
    """(V, 3, H, W) in [0, 1], as 8 bits hold it, by the plain decoder, and by each with each depth."""
    factor = tokenizer.spec.factor
    grid = (truth.depth.shape[-2] // factor, truth.depth.shape[-1] // factor)
    tokens = tokenizer.encode(truth.colour[0]) if codes is None else codes.view(-1, *grid)
    z = tokenizer.quantize.features(tokens)
    shown = {"plain": rounded(tokenizer.pixels(z))}
    known = torch.zeros(truth.c2w.shape[:2], dtype=torch.bool, device=z.device)
    known[:, 0] = True
    for kind in kinds if decoders else ():
        depth = told(kind, truth, shown["plain"], seed)
        for name, decoder in decoders.items():
            exact = torch.full_like(known, kind == "true")
            shown[f"{name}, {kind}"] = rounded(decoder(z[None], truth.scene(known, depth, exact))[0])
    return shown


def rerendered(
    shown: dict[str, Tensor], truth: Pictures, args: argparse.Namespace, number: int
) -> tuple[Scores, dict[str, Tensor]]:
    """Scores of what Gaussians show that are fitted to the views of each decoder, and what they show of all views."""
    scores: Scores = {}
    drawn: dict[str, Tensor] = {}
    how = {"count": args.gaussians, "steps": args.fit_steps, "seed": args.skip + number}
    begun = time.monotonic()
    for name, views in shown.items():
        start = time.monotonic()
        if args.rerender:
            drawn[RERENDERED + name] = rerender(views, truth, **how)
            scores[RERENDERED + name] = score_views(drawn[RERENDERED + name], truth, correspondences=False)
        if args.rerender_held_out:
            scores[HELD_OUT + name] = score_held_out(rerender(views, truth, every=2, **how), truth)
        print(f"object {number + 1}, {name}: fitted in {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    spent = time.monotonic() - begun
    print(f"object {number + 1} of at most {args.limit}: {spent:.0f} s of fits", file=sys.stderr, flush=True)
    return scores, drawn


def told(kind: str, truth: Pictures, plain: Tensor, seed: int) -> Tensor:
    """(1, V, 1, H, W) depth of a kind."""
    views = truth.c2w.shape[:2]
    if kind == "noise":
        return structured_noise(truth.depth, NOISE, torch.Generator(truth.depth.device).manual_seed(seed))
    if kind in ("larger", "smaller"):
        pixels = [torch.full(views, int(kind == one), device=truth.depth.device) for one in ("larger", "smaller")]
        return wrong_silhouette(truth.depth, *pixels)
    if kind == "hull":
        white = torch.ones(3, device=plain.device)
        return hull_of(plain, white, truth.K[0], truth.c2w[0], truth.orthographic[0])[None, :, None]
    return truth.depth


def named(scores: Scores, prefix: str) -> Scores:
    """Those whose names begin so, without it; with none, those that are neither of the fits."""
    if not prefix:
        return {name: own for name, own in scores.items() if not name.startswith((RERENDERED, HELD_OUT))}
    return {name.removeprefix(prefix): own for name, own in scores.items() if name.startswith(prefix)}


def table(found: list[Scores], prefix: str) -> Table:
    """Absolute figures of the plain decoder, differences from it of the others."""
    heads = ("near", "near interior", "object", "interior", "SSIM", "feature", "reprojection")
    out = Table("decoder, depth", *heads, title=f"{prefix}{len(found)} objects")
    plain = [each["plain"] for each in found]
    values = [column(plain, name) for name in SCORES]
    cells = [f"{float(v.nanmean()):.{digits(name)}f}" for name, v in zip(SCORES, values, strict=True)]
    counted = all(COUNTS[0] in each for each in plain)
    if counted:
        out.add_column("correspondences")
        right, total = (int(column(plain, name).sum()) for name in COUNTS)
        cells.append(f"{right} of {total}")
    out.add_row("plain", *cells)
    for name in list(found[-1])[1:]:
        if any(name not in each for each in found):
            continue  # measured in some pieces only
        own = [each[name] for each in found]
        cells = [show(mean_interval(column(own, s) - column(plain, s)), digits(s), "+") for s in SCORES]
        cells = [""] * len(SCORES) if name == TRUE and not prefix else cells
        if counted:
            cells.append(show(ratio_interval(column(own, COUNTS[0]), column(plain, COUNTS[0])), 2, "") + " ×")
        out.add_row(name, *cells)
    return out


def column(scores: list[dict[str, float]], name: str) -> Tensor:
    return torch.tensor([each[name] for each in scores])


def digits(name: str) -> int:
    return {"ssim": 4, "feature": 4}.get(name, 2)


def show(interval: Interval, places: int, sign: str) -> str:
    return f"{interval.value:{sign}.{places}f} [{interval.low:.{places}f}, {interval.high:.{places}f}]"


if __name__ == "__main__":
    main()
