"""That training learns, goes on as if nothing had happened, and that what it is fed is what it should be."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dataengine.errors import DataengineError, UsageError
from dataengine.geometry.tensors import lift
from dataengine.tokenize import build
from dataengine.training.reconstruct.corrupt import Corruption
from dataengine.training.reconstruct.fit import begin_with
from dataengine.training.reconstruct.fit_files import finish, keep, resume
from dataengine.training.reconstruct.fit_step import FitRecipe, FitRun, train
from dataengine.training.reconstruct.measure import measure
from dataengine.training.reconstruct.network import Reconstructor, ReconstructorConfig
from dataengine.training.reconstruct.packed import Packed, augment, pack
from dataengine.training.reconstruct.weights import load_reconstructor, report_of

from .scenes import ball_views

TINY = ReconstructorConfig(widths=(16, 24, 32), blocks=1, carving=(8, 16))


def batches() -> Iterator[dict[str, Any]]:
    while True:
        yield ball_views()._asdict()


def new_run(config: ReconstructorConfig = TINY, **recipe: Any) -> FitRun:
    torch.manual_seed(0)
    return FitRun(Reconstructor(config), FitRecipe(warmup=5, average=0.9, **recipe))


def test_a_small_network_learns_a_ball() -> None:
    """The first network alone, hardly held by the hull: what carving learns is tested apart."""
    run = new_run(replace(TINY, carving=(), slack=0.2), learning_rate=5e-3, others=1)
    before = measure(run.average, ball_views())
    losses: list[float] = []
    train(run, batches(), steps=40, on_step=lambda run, step, seconds: losses.append(float(step.loss)))
    after = measure(run.average, ball_views())
    assert sum(losses[-5:]) < sum(losses[:5]) / 2
    assert float(after.depth) < 3  # % of the object's size
    assert float(after.depth) < float(before.depth) / 2
    assert float(after.psnr) > float(before.psnr) + 3


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Threads add up gradients in any order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_a_resumed_fit_is_the_undisturbed_one(tmp_path: Path) -> None:
    whole = new_run()
    train(whole, batches(), steps=6)
    first = new_run()
    for _ in range(3):
        first.train_step(next(batches()), first.step / 6)
    keep(first, tmp_path / "w.safetensors", streams=[{"epoch": 0}])
    second = new_run()
    assert (resume(second, tmp_path / "w.safetensors") or {})["streams"] == [{"epoch": 0}]
    train(second, batches(), steps=6)
    for a, b in zip(whole.average.parameters(), second.average.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_state_of_another_network_is_refused(tmp_path: Path) -> None:
    keep(new_run(), tmp_path / "w.safetensors")
    other = FitRun(Reconstructor(ReconstructorConfig(widths=(16, 24, 32), blocks=2)), FitRecipe())
    with pytest.raises(UsageError, match="fit with blocks 1, not 2"):
        resume(other, tmp_path / "w.safetensors")
    (tmp_path / "w.fit").write_bytes(b"nothing")
    with pytest.raises(UsageError, match="not the state of such a fit"):
        resume(other, tmp_path / "w.safetensors")


def test_weights_come_back_as_they_were_written(tmp_path: Path) -> None:
    run, file = new_run(), tmp_path / "w.safetensors"
    finish(run, file, {"objects": 1})
    found = load_reconstructor(file)
    assert found.config == TINY
    assert report_of(file)["objects"] == 1
    for name, value in run.average.state_dict().items():
        assert torch.equal(found.state_dict()[name], value)
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(DataengineError, match="no reconstructor that this version can read"):
        load_reconstructor(file)
    with pytest.raises(UsageError, match="there is no file"):
        load_reconstructor(tmp_path / "none.safetensors")
    with pytest.raises(UsageError, match="no weights nosuch"):
        load_reconstructor("nosuch")


def test_files_of_the_first_format_carve_nothing(tmp_path: Path) -> None:
    """They say nothing of a second network: there is none."""
    run, file = FitRun(Reconstructor(replace(TINY, carving=())), FitRecipe()), tmp_path / "w.safetensors"
    finish(run, file, {"objects": 1})
    with safe_open(file, "pt") as opened:
        told = json.loads(opened.metadata()["dataengine.reconstructor/2"])
    del told["config"]["carving"]
    save_file(load_file(file), file, {"dataengine.reconstructor/1": json.dumps(told)})
    found = load_reconstructor(file)
    assert found.config == replace(TINY, carving=()) and found.carver is None
    assert report_of(file)["objects"] == 1


def test_a_fit_begins_with_weights_and_adds_what_they_lack() -> None:
    torch.manual_seed(1)
    start, model = Reconstructor(replace(TINY, carving=())), Reconstructor(TINY)
    carver = {k: v.clone() for k, v in model.state_dict().items() if k.startswith("carver.")}
    begin_with(model, start)
    found = model.state_dict()
    assert carver and all(torch.equal(found[name], value) for name, value in {**start.state_dict(), **carver}.items())
    with pytest.raises(UsageError, match="another network's"):
        begin_with(model, Reconstructor(replace(TINY, widths=(16, 24, 40))))


def test_steps_may_leave_rendering_out() -> None:
    run = new_run(rendered=0.5)
    drawn = [bool(run.train_step(next(batches()), 0.0).psnr.isfinite()) for _ in range(12)]
    assert 2 <= sum(drawn) <= 10


def test_packed_views_are_the_views(tmp_path: Path) -> None:
    truth = ball_views(side=64)
    views = {name: values[0] for name, values in truth._asdict().items()}
    assert pack([views, views], tmp_path / "p.safetensors") == 2
    found = Packed(tmp_path / "p.safetensors").take(torch.tensor([1]))
    assert (found["depth"] - truth.depth).abs().max() < 0.004  # 8 bits of the ball's depth, halved by rounding; float16
    assert torch.equal(found["depth"] > 0, truth.depth > 0)
    assert torch.equal(found["alpha"], truth.alpha)
    assert (found["colour"] - truth.colour).abs().mean() < 0.02
    assert torch.equal(found["c2w"], truth.c2w)


def test_a_mirrored_batch_is_of_the_mirrored_object() -> None:
    truth = ball_views(views=4)
    truth.K[..., 0, 2] += 0.7  # no symmetry hides a mistake
    seeds = (torch.Generator().manual_seed(seed) for seed in range(20))
    mirrored = next(
        b for b in (augment(truth._asdict(), random) for random in seeds) if not torch.equal(b["K"], truth.K)
    )
    assert torch.allclose(torch.linalg.det(mirrored["c2w"][..., :3, :3]), torch.ones(1, 4))
    for v in range(4):
        before, _ = lift(truth.depth[0, v, 0], truth.K[0, v], truth.c2w[0, v])
        after, _ = lift(mirrored["depth"][0, v, 0], mirrored["K"][0, v], mirrored["c2w"][0, v])
        wanted = before * torch.tensor([-1.0, 1, 1])
        assert (wanted[:, None] - after).abs().amax(-1).min(1).values.max() < 1e-4


def test_corrupted_views_keep_what_was_not_hidden() -> None:
    torch.manual_seed(0)
    truth = ball_views(views=4, side=32)
    codec = build("small").eval()
    corrupt = Corruption(codec)
    with torch.no_grad():
        plain = codec.decode(codec.encode(truth.colour[0] * 2 - 1)).float() / 2 + 0.5
    codes = codec.encode(truth.colour[0] * 2 - 1)
    found = corrupt(truth.colour, truth.K, truth.c2w, torch.Generator().manual_seed(1))
    again = corrupt(truth.colour, truth.K, truth.c2w, torch.Generator().manual_seed(1))
    assert found.shape == truth.colour.shape
    assert torch.equal(found, again)
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert not torch.equal(found[0], plain.clamp(0, 1))
    assert codes.shape == (4, 4, 4)
