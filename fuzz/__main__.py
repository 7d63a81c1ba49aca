"""`python -m fuzz [--seconds N] [--seed N] [TARGET …]`: damaged files for every reader, and a table of how they end.

Finds are kept in fuzz/kept/ and tried first the next time; each belongs into a test. Exit code 1 if there are any.
"""

import argparse
import hashlib
import itertools
import logging
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from types import FrameType

import psutil

from dataengine.errors import AssetFailure, DataengineError
from fuzz.mutations import mutate
from fuzz.render import render_batches
from fuzz.targets import TARGETS, Try, Wrong

KEPT = Path(__file__).parent / "kept"
HANG_SECONDS = 90


class Hang(BaseException):
    """A reader did not come back."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join([*TARGETS, "render"]))
    parser.add_argument("--seconds", type=float, default=120, help="for all targets together")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    names = options.targets or [*TARGETS, "render"]
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGALRM, _hang)
    before = psutil.Process().memory_info().rss
    finds = total = 0
    share = options.seconds / (len(names) + 3 * ("render" in names))  # rendering takes longest
    print(f"{'target':<12} {'tried':>7} {'refused':>8} {'read':>7} {'finds':>6} {'slowest':>8}")
    for name in names:
        if name == "render":
            tried, found = render_batches(4 * share, options.seed)
            finds, total = finds + found, total + tried
            continue
        if name not in TARGETS:
            parser.error(f"unknown target {name}")
        with tempfile.TemporaryDirectory(prefix="dataengine-fuzz-") as folder:
            counts, slowest = fuzz(name, Path(folder), share, options.seed)
        finds, total = finds + counts["find"], total + counts.total()
        print(
            f"{name:<12} {counts.total():>7} {counts['refused']:>8} {counts['read']:>7} {counts['find']:>6}"
            f" {slowest:>7.2f}s",
            flush=True,
        )
    grown = psutil.Process().memory_info().rss - before
    print(f"{total} files, {finds} finds; this process has grown by {grown >> 20} MiB")
    return 1 if finds else 0


def fuzz(name: str, folder: Path, seconds: float, seed: int) -> tuple[Counter[str], float]:
    """Tries what was kept, then mutations until the time is up."""
    good, attempt = TARGETS[name](folder)
    dice = random.Random(f"{name} {seed}")
    counts: Counter[str] = Counter()
    slowest = 0.0
    deadline = time.monotonic() + seconds
    kept = [path.read_bytes() for path in sorted(KEPT.glob(f"{name}-*"))]
    for data in itertools.chain(kept, good, iter(lambda: mutate(dice.choice(good), dice), None)):
        started = time.monotonic()
        counts[how_it_ends(name, attempt, data)] += 1
        slowest = max(slowest, time.monotonic() - started)
        if time.monotonic() > deadline:
            return counts, slowest
    raise AssertionError("unreachable")


def how_it_ends(name: str, attempt: Try, data: bytes) -> str:
    """'read', 'refused' or 'find'; a find is kept."""
    signal.alarm(HANG_SECONDS)
    try:
        attempt(data)
    except DataengineError as error:
        words = error.message if isinstance(error, AssetFailure) else str(error)
        if "in a way of its own" not in words and "\n" not in words:
            return "refused"
        return "refused" if "\n" not in words else keep(name, data, "an error of several lines")
    except Wrong as error:
        return keep(name, data, f"wrong: {error}")
    except Hang:
        return keep(name, data, "it hangs")
    except Exception:  # noqa: BLE001 - what nobody expected is what we look for
        return keep(name, data, traceback.format_exc(limit=-4))
    finally:
        signal.alarm(0)
    return "read"


def keep(name: str, data: bytes, why: str) -> str:
    path = KEPT / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    print(f"find: {path}: {why}", file=sys.stderr)
    return "find"


def _hang(_number: int, _frame: FrameType | None) -> None:
    raise Hang


if __name__ == "__main__":
    sys.exit(main())
