"""A tokenizer's row of docs/tokenizers.md: the round trip of rendered views, and images/s.

    python benchmarks/round_trip.py corpus other-corpus                                  small, on the views held out
    python benchmarks/round_trip.py corpus --tokenizer show-o --resolution 256           the published weights
    python benchmarks/round_trip.py corpus --tokenizer open-magvit2-128 --weights imagenet_128_L.ckpt --all

A line for each corpus (or folder of `<model>/<view>.png`), then one for the speed. Views are over white. Bits are those
of the codes: 2^bits codes take bits each, whatever holds them on disk.

(Not called tokenizers.py: scripts import from their own folder first, and the text tokenizer's package has that name.)
"""

import argparse
import time

import torch

from dataengine.tokenize import load
from dataengine.tokenize.device_tokenizer import pick_device
from dataengine.tokenize.fit_quality import measure
from dataengine.tokenize.fit_views import decode, find_views


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("views", nargs="+", metavar="CORPUS|FOLDER")
    parser.add_argument("--tokenizer", default="small")
    parser.add_argument("--weights")
    parser.add_argument("--use", choices=["raw", "ema"])
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--all", action="store_true", help="views of every split, where the weights saw none of them")
    parser.add_argument("--limit", type=int, default=2000, help="views of each, evenly spaced")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = pick_device(options.device)
    made = load(options.tokenizer, options.weights, use=options.use).to(device, memory_format=torch.channels_last)
    bits = (options.resolution // made.spec.factor) ** 2 * made.spec.bits
    print("views | number | object, dB | view, dB | SSIM | feature | bits per view")
    for source in options.views:
        found = find_views(source)
        contents = found.held_out + (found.train if options.all else [])
        contents = contents[:: -(-len(contents) // options.limit)]
        q = measure(made, torch.from_numpy(decode(contents, options.resolution)).to(device))
        figures = f"{q.psnr_object:.2f} | {q.psnr:.2f} | {q.ssim:.3f} | {q.feature:.4f} | {bits}"
        print(f"{source} | {q.views} | {figures}", flush=True)
    images = torch.rand(4 if device.type == "cpu" else 64, 3, options.resolution, options.resolution, device=device)
    images = (images * 2 - 1).contiguous(memory_format=torch.channels_last)
    codes = made.encode(images)
    rates = [len(images) / best(work, device) for work in (lambda: made.encode(images), lambda: made.decode(codes))]
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"{rates[0]:.1f} images/s encoded, {rates[1]:.1f} decoded, on {where}")


def best(work, device: torch.device, rounds: int = 10) -> float:  # type: ignore[no-untyped-def]
    """Least seconds of a call."""
    found = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - started)
    return min(found)


if __name__ == "__main__":
    main()
