"""Training on packed views, for a machine with a GPU and little else.

    pack(dataengine.Views("corpus", epochs=1), Path("train.safetensors"))      # where the corpus is
    python3 -m dataengine.training.reconstruct.fit_packed -o reconstructor.safetensors --train train.safetensors \
        --held-out test.safetensors --seconds 200 --batch 16
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from dataengine.tokenize import load
from dataengine.training.reconstruct.corrupt import Corruption, guessing_model
from dataengine.training.reconstruct.fit_files import finish, keep, resume
from dataengine.training.reconstruct.fit_step import FitRecipe, FitRun, Step, train
from dataengine.training.reconstruct.loss import Truth
from dataengine.training.reconstruct.measure import Measured, measure
from dataengine.training.reconstruct.network import Reconstructor, ReconstructorConfig
from dataengine.training.reconstruct.packed import Packed

GUESSER = Path(__file__).parent.parent / "weights" / "slim"


def fit_packed(
    files: Sequence[Path],
    held_out: Sequence[Path],
    out: Path,
    *,
    seconds: float,
    batch: int = 16,
    config: ReconstructorConfig = ReconstructorConfig(),  # noqa: B008 - it is frozen
    recipe: FitRecipe = FitRecipe(),  # noqa: B008
    guesser: Path | None = GUESSER,
    measure_every: int = 250,
    device: str = "cuda",
    say: Callable[[str], None] = print,
) -> Measured:
    """Trains, keeps state and weights at every measurement, and returns what the held-out objects give at the end.

    Args:
        files, held_out: of `pack`.
        out: weights, `.safetensors`. A state beside it is gone on from.
        seconds: of training, measurements included.
        guesser: a checkpoint's folder of a model on 128² views of 2^18 codes, which guesses hidden tokens; None: no
            model, see `Corruption`.
    """
    began = time.monotonic()
    views = Packed(*files, device=device)
    others = Packed(*held_out, device=device)
    say(f"{len(views)} objects, {len(others)} held out, read in {time.monotonic() - began:.0f} s")
    model = None if guesser is None else guessing_model(guesser, device)
    corrupt = Corruption(load("small").to(device), model)
    torch.manual_seed(recipe.seed)
    run = FitRun(Reconstructor(config).to(device), recipe, corrupt)
    resume(run, out)

    def on_step(run: FitRun, step: Step, passed: float) -> None:
        if run.step % 50 == 0:
            say(
                f"step {run.step} {passed:.0f} s loss {float(step.loss):.4f} "
                f"psnr {float(step.psnr):.2f} depth {float(step.depth):.4f}"
            )
        if run.step % measure_every == 0:
            say(f"held out: {_measured(run, others, None).line()}")

    passed = train(run, views.batches(batch, recipe.seed, run.step), seconds=seconds, on_step=on_step)
    keep(run, out)
    finish(run, out, {"seconds": round(passed), "batch": batch, "objects": len(views)})
    result = _measured(run, others, None)
    say(f"held out, true views: {result.line()}")
    say(f"held out, views of an unfinished sampler: {_measured(run, others, corrupt).line()}")
    return result


def _measured(run: FitRun, views: Packed, corrupt: Corruption | None, at_once: int = 8) -> Measured:
    parts = []
    random = torch.Generator().manual_seed(0)
    for start in range(0, len(views), at_once):
        rows = torch.arange(start, min(start + at_once, len(views)))
        truth = Truth(**views.take(rows))
        parts.append(measure(run.average, truth, None if corrupt is None else _corrupted(truth, corrupt, random)))
    return Measured(*(torch.cat(values).cpu() for values in zip(*parts, strict=True)))


def _corrupted(truth: Truth, corrupt: Corruption, random: torch.Generator) -> torch.Tensor:
    from dataengine.training.reconstruct.view_choice import four_around

    four = torch.tensor([four_around(poses) for poses in truth.c2w.cpu()], device=truth.c2w.device)
    given = truth.pick(four)
    return corrupt(given.colour, given.K, given.c2w, random)


def main() -> None:
    """Command line of a bare machine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--train", type=Path, nargs="+", required=True)
    parser.add_argument("--held-out", type=Path, nargs="+", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=FitRecipe.learning_rate)
    parser.add_argument("--measure-every", type=int, default=250)
    parser.add_argument("--device", default="cuda")
    given = parser.parse_args()
    fit_packed(
        given.train,
        given.held_out,
        given.out,
        seconds=given.seconds,
        batch=given.batch,
        recipe=FitRecipe(learning_rate=given.lr),
        measure_every=given.measure_every,
        device=given.device,
    )


if __name__ == "__main__":
    main()
