"""What does training cost beside the machine's own matrix product, and sampling by its steps?

    python benchmarks/train.py                      nano at 64 tokens per view on a CPU, base at 256 on a GPU
    python benchmarks/train.py --size small --grid 16 --bits 18 --batch 64
    python benchmarks/train.py --quick              half a minute: does it run

The trainer itself runs, loader, masks, optimizer and logging included, stage i2mv on generated tokens; a step's time is
the median of its log. On a GPU it computes in bfloat16 and compiles. Model FLOP utilisation is the arithmetic of the
matrix products and of attention, forward and backward, over that time, divided by the rate of a large square matrix
product of the same dtype. Sampling is timed without decoding: its first line is one object, the second a batch.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from dataengine.training.config import Sampling, TrainConfig
from dataengine.training.masking import VIEWS, mask_batch, randoms_per_sample
from dataengine.training.model.view_model import ViewModel
from dataengine.training.sample import load_run
from dataengine.training.sampler import generate
from dataengine.training.text import LENGTH
from dataengine.training.trainer import train
from tests.training.synthetic import SPEC, make_corpus, orbit_cameras

STEPS = (5, 10, 20, 40)
SETTLED = 5  # steps that are left out: compiling, reading shards for the first time
OBJECTS = 8


def main() -> None:
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="base" if gpu else "nano")
    parser.add_argument("--grid", type=int, default=16 if gpu else 8, help="tokens per side")
    parser.add_argument("--bits", type=int, default=18 if gpu else 12)
    parser.add_argument("--batch", type=int, default=64 if gpu else 16)
    parser.add_argument("--steps", type=int, default=60 if gpu else 25)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    if args.quick:
        args.steps, args.batch = SETTLED + 3, 4
    device = torch.device("cuda" if gpu else "cpu")
    with tempfile.TemporaryDirectory() as folder:
        seconds, run = train_once(args, Path(folder))
        trained = load_run(run, ("i2mv",), str(device))
        flop, tokens = step_flop(trained.model, args.batch), args.batch * sequence(trained.model)
        ceiling = matrix_rate(device, torch.bfloat16 if gpu else torch.float32)
        name = torch.cuda.get_device_name() if gpu else f"CPU, {torch.get_num_threads()} threads"
        Console().print(
            f"{args.size} ({sum(p.numel() for p in trained.model.parameters()) / 1e6:.1f} M), {VIEWS} views of "
            f"{args.grid}×{args.grid} tokens, 2^{args.bits} codes, batch {args.batch}, {name}\n"
            f"  {seconds:.3f} s per step, {args.batch / seconds:.1f} samples/s, {tokens / seconds:,.0f} tokens/s\n"
            f"  {flop / seconds / 1e9:,.1f} GFLOP/s of {ceiling / 1e9:,.1f}: utilisation {flop / seconds / ceiling:.1%}"
        )
        grid = Table("objects at once", *(f"{n} steps" for n in STEPS), title="sampling, s an object")
        for objects in (1, OBJECTS):
            grid.add_row(str(objects), *(f"{sampling_seconds(trained.model, objects, n):.3f}" for n in STEPS))
        Console().print(grid)


def train_once(args: argparse.Namespace, folder: Path) -> tuple[float, Path]:
    """Median seconds of a step, and the run."""

    def tokens(i: int) -> np.ndarray:  # type: ignore[type-arg]
        dtype = np.uint16 if args.bits <= 16 else np.uint32
        return np.random.default_rng(i).integers(0, 1 << args.bits, (8, args.grid, args.grid), dtype)

    spec = {**SPEC, "bits": args.bits, "codebook_size": 1 << args.bits}
    corpus = make_corpus(folder / "corpus", 512, 64, tokens=tokens, spec=spec)
    config = TrainConfig(
        run=folder / "run", corpus=corpus.url, stage="i2mv", tokenizer="toy", size=args.size, batch=args.batch,
        steps=args.steps, checkpoint_every=0,
    )  # fmt: skip
    train(config)
    lines = [json.loads(line) for line in (config.run / "i2mv" / "metrics.jsonl").read_text().splitlines()]
    return median(line["seconds"] for line in lines[SETTLED:]), config.run


def sequence(model: ViewModel) -> int:
    return model.config.text_length + VIEWS * (model.config.view_tokens + 2)


def step_flop(model: ViewModel, batch: int) -> float:
    """Of a step's matrix products: 2 a weight and token forward, twice as much backward; the head on hidden tokens."""
    config, length = model.config, sequence(model)
    body = sum(p.numel() for p in model.blocks.parameters() if p.ndim == 2)
    head = sum(p.numel() for n, p in model.head.named_parameters() if p.ndim == 2 and "first" not in n)
    tokens = torch.zeros(512, 8, *config.grid, dtype=torch.long)
    uniforms = torch.rand(512, randoms_per_sample(8, config.view_tokens), generator=torch.Generator().manual_seed(0))
    hidden = mask_batch(tokens, uniforms, config.mask, stage="i2mv", schedule="cosine", weight="none", drop_text=0.5)
    attention = 4 * config.layers * length**2 * config.width
    masked = float(hidden.masked.sum()) / 512
    return batch * 3 * (2 * body * length + attention + 2 * head * masked)


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a large square matrix product."""
    side = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / timed(lambda: a @ b, device, 20 if device.type == "cuda" else 5)


def sampling_seconds(model: ViewModel, objects: int, steps: int) -> float:
    """Seconds an object: three views from one."""
    codes = torch.full((objects, VIEWS, model.config.view_tokens), model.config.mask)
    codes[:, 0] = 0
    text = torch.zeros(objects, LENGTH, dtype=torch.long)
    cameras = torch.from_numpy(orbit_cameras(VIEWS)).expand(objects, -1, -1)
    device = next(model.parameters()).device
    return timed(lambda: generate(model, text, codes, cameras, Sampling(steps)), device, 3) / objects


def timed(work, device: torch.device, rounds: int) -> float:  # type: ignore[no-untyped-def]
    """Median seconds, after one round to warm up."""
    found = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return median(found[1:])


if __name__ == "__main__":
    main()
