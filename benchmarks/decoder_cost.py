"""What does attention between views cost at each level of a decoder: near the surface, along the whole line, to all?

    python benchmarks/decoder_cost.py CORPUS --view-set orbit8                  # levels of 16², 32², 64², 128²
    python benchmarks/decoder_cost.py CORPUS --view-set orbit8 --side 16,32 --views 6

Of one object: seconds (median of `--rounds`) and the peak of memory above what is there before, forward only, of

- truncated: the decoder's own, 7, 7, 7 and 2 points by level, at the pixels that have depth;
- line: the same network with a point for every pixel along the line, at every pixel (the conventional one);
- full: every pixel attends to all pixels of all views, by torch's fused attention of one head as wide, and with the
  scores written out, as it was before fused ones.

Each is measured in a process of its own. What would take more than `--memory` is left out, and said.
"""

import argparse
import multiprocessing
import resource
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from dataengine.tokenize.decoder_views import Pictures
from dataengine.tokenize.depth_guided import POINTS, WIDTHS
from dataengine.tokenize.epipolar import EpipolarAttention, Scene
from dataengine.training.data.views import Views

CHANNELS = (192, 96, 64, 32)  # of the decoder `small`, by level
KINDS = ("truncated", "line", "full, fused", "full, written out")


class FullAttention(nn.Module):
    """(B, V, C, h, w) → the same: every pixel attends to every pixel of every view."""

    def __init__(self, channels: int, width: int, *, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        self.qkv, self.out = nn.Linear(channels, 3 * width), nn.Linear(width, channels)

    def forward(self, h: Tensor, scene: Scene) -> Tensor:
        flat = h.permute(0, 1, 3, 4, 2).flatten(1, 3)
        q, k, v = self.qkv(flat).chunk(3, -1)
        if self.fused:
            merged = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        else:
            merged = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1) @ v
        out: Tensor = self.out(merged)
        return out.view(h.shape[0], h.shape[1], *h.shape[3:], -1).permute(0, 1, 4, 2, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("--view-set", default=None)
    parser.add_argument("--views", type=int, default=6)
    parser.add_argument("--side", default="16,32,64,128")
    parser.add_argument("--kind", default=",".join(k.replace(", ", "-") for k in KINDS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=float, default=4.0, help="GB")
    parser.add_argument("--seconds", type=float, default=60.0, help="of one forward pass at most, by the level before")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    sides = [int(side) for side in args.side.split(",")]
    kinds = [kind for kind in KINDS if kind.replace(", ", "-") in args.kind.split(",")]
    out = Table("level", *kinds, title=f"{args.views} views, {args.device}, one thread: seconds, MB above the rest")
    before: dict[str, float] = {}
    for side in sides:
        cells = []
        for kind in kinds:
            wanted = needed(kind, side, args.views)
            if wanted > args.memory * 1e9:
                cells.append(f"not run: {wanted / 1e9:.1f} GB of scores")
            elif before.get(kind, 0) * 16 > args.seconds:
                cells.append(f"not run: about {before[kind] * 16:.0f} s")
                before[kind] *= 16
            else:
                seconds, memory = apart(kind, side, args)
                before[kind] = seconds
                cells.append(f"{seconds:.3f} s, {memory / 1e6:.0f} MB")
        out.add_row(f"{side}²", *cells)
    Console(width=140).print(out)


def needed(kind: str, side: int, views: int) -> float:
    """Bytes of the scores that are written out, twice: before and after the softmax."""
    return 8.0 * (views * side * side) ** 2 if kind == "full, written out" else 0.0


def apart(kind: str, side: int, args: argparse.Namespace) -> tuple[float, float]:
    """Seconds and bytes of one kind at one level, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(measure, (kind, side, args))


@torch.no_grad()
def measure(kind: str, side: int, args: argparse.Namespace) -> tuple[float, float]:
    torch.set_num_threads(1)
    scene = first_object(args).at(side, side)
    level = [16, 32, 64, 128].index(side)
    channels, width, points = CHANNELS[level], WIDTHS[level], POINTS[level]
    block: nn.Module
    if kind == "truncated":
        block = EpipolarAttention(channels, width, points)
    elif kind == "line":
        block = EpipolarAttention(channels, width, side, full=True)
    else:
        block = FullAttention(channels, width, fused=kind == "full, fused")
    block = block.to(args.device).eval()
    h = torch.randn(1, args.views, channels, side, side, device=args.device)
    cuda = h.is_cuda
    small = EpipolarAttention(channels, width, 1).to(args.device).eval()
    small(h[:, :2, :, :4, :4], Scene(*(f[:, :2] for f in fields(scene))).at(4, 4))  # libraries are loaded
    start = torch.cuda.memory_allocated() if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    seconds = []
    for _ in range(args.rounds):
        begun = time.monotonic()
        block(h, scene)
        if cuda:
            torch.cuda.synchronize()
        seconds.append(time.monotonic() - begun)
    peak = torch.cuda.max_memory_allocated() if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return statistics.median(seconds), float(peak - start)


def first_object(args: argparse.Namespace) -> Scene:
    views = Views(
        args.corpus, view_set=args.view_set, fields=Pictures._fields, split=None, batch_size=1, epochs=1, threads=1
    )
    pictures = Pictures.of(next(iter(views)), torch.device(args.device))
    known = torch.zeros(pictures.c2w.shape[:2], dtype=torch.bool, device=args.device)
    known[:, 0] = True
    return Scene(*(field[:, : args.views] for field in fields(pictures.scene(known))))


def fields(scene: Scene) -> tuple[Tensor, ...]:
    return scene.depth, scene.K, scene.c2w, scene.orthographic, scene.given, scene.known


if __name__ == "__main__":
    main()
