"""Every GPU figure of the docs in one go: tokenizers, training and sampling beside the machine's own matrix products.

    python benchmarks/gpu.py                                on a GPU, minutes
    python benchmarks/gpu.py --quick                        our tokenizers, two model sizes that are not compiled
    python benchmarks/gpu.py --quick --device cpu           does it run

Needs torch, numpy, Pillow, safetensors, fsspec, tokenizers, pydantic and this repository's folder, which is not
installed. Nothing is downloaded: the published tokenizers run with untrained weights, on which speed does not depend
(their agreement does: trained codes lie further from zero). FLOP are counted by torch for the networks, by arithmetic
for the transformer. Times are the best of three rounds after a warm-up, at one batch for each network.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1]))

from dataengine.tokenize import Tokenizer, build, load
from dataengine.training.config import Sampling
from dataengine.training.masking import VIEWS, loss_of, mask_batch, randoms_per_sample
from dataengine.training.model.config import preset
from dataengine.training.model.view_model import ViewModel
from dataengine.training.sampler import generate

TOKENIZERS = {"small": 128, "small-12": 128, "open-magvit2-128": 128, "open-magvit2-256": 256, "show-o": 256}
SHIPPED = {"small", "small-12"}
BATCHES = {"nano": 256, "micro": 256, "small": 128, "base": 64, "large": 32, "1b": 16}
LENGTH = 64  # tokens of a caption
GRID, BITS = (16, 16), 18


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("-o", "--output", type=Path, help="JSON to write, as it goes")
    options = parser.parse_args()
    device = torch.device(options.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    found: dict[str, Any] = {"device": name, "torch": torch.__version__}

    def say(key: str, value: Any) -> None:
        found[key] = value
        print(key, json.dumps(value), flush=True)
        if options.output:
            options.output.write_text(json.dumps(found, indent=1) + "\n")

    torch.backends.cudnn.benchmark = True
    ceilings = matrix_rates(device)
    say("matrix product, TFLOP/s", {k: round(v / 1e12, 3) for k, v in ceilings.items()})
    for tokenizer in ["small", "small-12"] if options.quick else TOKENIZERS:
        compiled = device.type == "cuda" and (tokenizer == "small" or not options.quick)
        say(f"tokenizer {tokenizer}", tokenizer_figures(tokenizer, device, ceilings, compiled=compiled))
    for size in ["nano"] if device.type == "cpu" else ["small", "base"] if options.quick else BATCHES:
        say(f"training {size}", training_figures(size, device, ceilings, compiled=not options.quick))
    for size in ["nano"] if device.type == "cpu" else ["base"] if options.quick else ["small", "base", "large"]:
        say(f"sampling {size}", sampling_figures(size, device))


def matrix_rates(device: torch.device) -> dict[str, float]:
    """FLOP/s of a large square matrix product of random numbers."""
    side = 8192 if device.type == "cuda" else 1024
    found = {}
    for kind, dtype in {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16}.items():
        with precision(kind, device):
            a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
            found[kind] = 2 * side**3 / seconds(lambda a=a, b=b: a @ b, device)
    return found


class precision:
    """float32 without TF32, float32 with it, or bfloat16 where autocast chooses it."""

    def __init__(self, kind: str, device: torch.device) -> None:
        self.tf32 = kind == "tf32"
        self.autocast = torch.autocast(device.type, torch.bfloat16, enabled=kind == "bfloat16")

    def __enter__(self) -> None:
        self.before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.tf32
        self.autocast.__enter__()

    def __exit__(self, *error: Any) -> None:
        self.autocast.__exit__(*error)
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = self.before


def seconds(work: Callable[[], Any], device: torch.device, spend: float = 0.6) -> float:
    """Of one call: the best of rounds of several calls, after one to warm up."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    def once(calls: int) -> float:
        wait()
        started = time.perf_counter()
        for _ in range(calls):
            work()
        wait()
        return (time.perf_counter() - started) / calls

    once(1)
    calls = max(1, round(spend / 3 / once(1)))
    return min(once(calls) for _ in range(3))


def tokenizer_figures(
    name: str, device: torch.device, ceilings: dict[str, float], *, compiled: bool
) -> dict[str, dict[str, float]]:
    """By precision: images/s and share of the ceiling of either half, and codes equal to those of float32."""
    torch.manual_seed(0)
    tokenizer = (load(name) if name in SHIPPED else build(name)).to(device, memory_format=torch.channels_last)
    side = TOKENIZERS[name]
    batch = (256 if side == 128 and name in SHIPPED else 32) if device.type == "cuda" else 2
    images = pictures(batch, side, device)
    with precision("float32", device):  # by itself torch lets convolutions take TF32
        codes = tokenizer.encode(images)
    flop = {"encode": flop_of(lambda: tokenizer.encode(images)), "decode": flop_of(lambda: tokenizer.decode(codes))}
    found: dict[str, dict[str, float]] = {"GFLOP per image": {k: round(v / batch / 1e9, 2) for k, v in flop.items()}}
    for kind, ceiling in ceilings.items():
        with precision(kind, device):
            times = {
                "encode": seconds(lambda: tokenizer.encode(images), device),
                "decode": seconds(lambda: tokenizer.decode(codes), device),
            }
            found[kind] = {
                **{f"{half} images/s": round(batch / t, 1) for half, t in times.items()},
                **{f"{half} share of ceiling": round(flop[half] / t / ceiling, 3) for half, t in times.items()},
                "agreement": agreement(tokenizer, tokenizer.encoder, images, codes),
            }
    if compiled:
        with precision("float32", device), torch.no_grad():
            encoder = torch.compile(tokenizer.encoder)
            encoder(images)
            found["float32 compiled"] = {
                "encode images/s": round(batch / seconds(lambda: encoder(images), device), 1),
                "agreement": agreement(tokenizer, encoder, images, codes),
            }
    return found


@torch.no_grad()
def agreement(tokenizer: Tokenizer, encoder: Callable[[Tensor], Tensor], images: Tensor, codes: Tensor) -> float:
    """Share of codes that are those of float32."""
    return round(float((tokenizer.quantize.indices(encoder(images)) == codes).float().mean()), 5)


def pictures(count: int, side: int, device: torch.device) -> Tensor:
    """(count, 3, side, side) in [-1, 1]: shaded, textured discs on white."""
    random = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(side) / side - 0.5, torch.arange(side) / side - 0.5, indexing="ij")
    a, b, c = (torch.rand(count, 3, 1, 1, generator=random) for _ in range(3))
    texture = 0.5 + 0.3 * torch.sin((20 + 40 * a) * x + 6 * b) * torch.sin((20 + 40 * b) * y) + 0.2 * c * x
    disc = torch.where(torch.hypot(x, y) < 0.2 + 0.2 * a[:, :1], texture.clamp(0, 1), 1.0)
    return (disc * 2 - 1).to(device).contiguous(memory_format=torch.channels_last)


def flop_of(work: Callable[[], Any]) -> float:
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


def new_model(size: str, device: torch.device) -> ViewModel:
    torch.manual_seed(0)
    return ViewModel(preset(size, bits=BITS, grid=GRID, text_vocabulary=2048, text_length=LENGTH)).to(device)


def training_figures(
    size: str, device: torch.device, ceilings: dict[str, float], *, compiled: bool
) -> dict[str, float | int]:
    """Tokens/s of stage i2mv in bfloat16, the optimizer included, and FLOP/s over bfloat16's ceiling."""
    model = new_model(size, device)
    batch = BATCHES[size] if device.type == "cuda" else 2
    tokens = torch.randint(1 << BITS, (batch, 8, *GRID)).to(device)
    uniforms = torch.rand(batch, randoms_per_sample(8, model.config.view_tokens), device=device)
    masked = mask_batch(
        tokens, uniforms, model.config.mask, stage="i2mv", schedule="cosine", weight="none", drop_text=0.1
    )
    text = torch.zeros(batch, LENGTH, dtype=torch.long, device=device)
    angles = torch.zeros(batch, VIEWS, 2, device=device)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=device.type == "cuda")
    if compiled:
        for block in model.blocks:
            block.compile()

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            loss = loss_of(model(text, masked.codes, angles, masked.targets, masked.masked), masked)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    spent = seconds(step, device, 2.0)
    length = LENGTH + VIEWS * (model.config.view_tokens + 2)
    body = sum(p.numel() for p in model.blocks.parameters() if p.ndim == 2)
    head = sum(p.numel() for n, p in model.head.named_parameters() if p.ndim == 2 and "first" not in n)
    attention = 4 * model.config.layers * length**2 * model.config.width
    flop = 3 * (batch * (2 * body * length + attention) + 2 * head * int(masked.masked.sum()))
    return {
        "million parameters": round(sum(p.numel() for p in model.parameters()) / 1e6, 1),
        "batch": batch,
        "seconds per step": round(spent, 4),
        "tokens/s": round(batch * length / spent),
        "utilisation of bfloat16": round(flop / spent / ceilings["bfloat16"], 3),
        **({"peak GB": round(torch.cuda.max_memory_allocated() / 1e9, 1)} if device.type == "cuda" else {}),
    }


def sampling_figures(size: str, device: torch.device) -> dict[str, float]:
    """Seconds per object: three views from one, 20 steps, in float32 as `dataengine sample` does."""
    model = new_model(size, device).eval()
    found = {}
    for objects in (1, 8) if device.type == "cuda" else (1,):
        codes = torch.full((objects, VIEWS, model.config.view_tokens), model.config.mask)
        codes[:, 0] = 0
        text, angles = torch.zeros(objects, LENGTH, dtype=torch.long), torch.zeros(objects, VIEWS, 2)
        run = Sampling(20)
        spent = seconds(lambda c=codes, t=text, a=angles, r=run: generate(model, t, c, a, r), device, 1.0)
        found[f"seconds per object, {objects} at once"] = round(spent / objects, 4)
    return found


if __name__ == "__main__":
    main()
