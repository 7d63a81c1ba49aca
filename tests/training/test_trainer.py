import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from dataengine.cli import build
from dataengine.corpus.corpus import Corpus
from dataengine.errors import DataengineError, UsageError
from dataengine.tokenize import load
from dataengine.tokenize.checkpoint import shipped_as
from dataengine.training import checkpoints, tokens_spec, trainer
from dataengine.training.config import Sampling, TrainConfig, sampling_of
from dataengine.training.model.view_model import ViewModel
from dataengine.training.trainer import learning_rate, train

from .synthetic import SPEC, make_corpus

ROOT = Path(__file__).parents[2]
SIZE = {"tiny": (64, 2)}


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataengine.training.model.config.SIZES", SIZE)
    torch.set_num_threads(1)


def config(run: Path, corpus: Corpus, **more: Any) -> TrainConfig:
    settings = {"stage": "i2mv", "tokenizer": "toy", "size": "tiny", "batch": 8, "steps": 12, "warmup": 3}
    return TrainConfig(run=run, corpus=corpus.url, **{**settings, "checkpoint_every": 4, "device": "cpu", **more})


def curve(run: Path, stage: str = "i2mv") -> list[tuple[int, float, float, float]]:
    lines = map(json.loads, (run / stage / "metrics.jsonl").read_text().splitlines())
    return [(m["step"], m["loss"], m["nll"], m["grad_norm"]) for m in lines]


def held_out_curve(run: Path, stage: str = "i2mv") -> list[tuple[int, float]]:
    lines = map(json.loads, (run / stage / "metrics.jsonl").read_text().splitlines())
    return [(m["step"], m["nll_held_out"]) for m in lines if "nll_held_out" in m]


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    files = [load_file(checkpoint / f"{name}.safetensors") for name in ("model", "ema", "optimizer")]
    return {f"{i}/{name}": tensor for i, file in enumerate(files) for name, tensor in file.items()}


def equal(a: Path, b: Path) -> bool:
    one, other = weights(a), weights(b)
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_the_learning_rate_rises_and_falls(corpus: Corpus, tmp_path: Path) -> None:
    c = config(tmp_path, corpus, steps=103, lr=1.0)
    assert [learning_rate(s, c) for s in (0, 1, 2, 3)] == pytest.approx([1 / 3, 2 / 3, 1, 1])
    assert learning_rate(53, c) == pytest.approx(0.55)
    assert learning_rate(103, c) == pytest.approx(0.1)


def run_apart(*configs: TrainConfig, **environment: str) -> subprocess.Popen[str]:
    """Trains in a process of its own, which prints a word for each run that ended."""
    program = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from dataengine.training import config, trainer\n"
        "from dataengine.training.model import config as model_config\n"
        f"model_config.SIZES = {SIZE!r}\n"
        "if len(sys.argv) > 2: torch.distributed.init_process_group('gloo')\n"  # as Ray Train does before the loop
        "for text in sys.argv[1:]: print(trainer.train(config.TrainConfig.model_validate_json(text)).status)"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, *(c.model_dump_json() for c in configs)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for_step(run: Path, step: int) -> None:
    metrics = run / "i2mv" / "metrics.jsonl"
    deadline = time.monotonic() + 200
    while not metrics.exists() or len(metrics.read_bytes().splitlines()) < step:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_killed_and_resumed_is_bit_for_bit_undisturbed(corpus: Corpus, tmp_path: Path) -> None:
    steps = 18
    whole = train(config(tmp_path / "whole", corpus, steps=steps))
    disturbed = config(tmp_path / "disturbed", corpus, steps=steps)
    process = run_apart(disturbed)
    wait_for_step(tmp_path / "disturbed", 7)
    process.kill()
    process.communicate()
    saved = checkpoints.latest(tmp_path / "disturbed", "i2mv")
    assert saved is not None
    assert checkpoints.read_state(saved).step < steps
    again = train(disturbed)
    assert curve(tmp_path / "whole") == curve(tmp_path / "disturbed")
    assert [line[0] for line in curve(tmp_path / "whole")] == list(range(1, steps + 1))
    assert equal(whole.checkpoint, again.checkpoint)
    assert train(disturbed).step == steps  # and a finished run has nothing left to do


def test_sigterm_saves_and_exits(corpus: Corpus, tmp_path: Path) -> None:
    process = run_apart(config(tmp_path, corpus, steps=100_000, checkpoint_every=0))
    wait_for_step(tmp_path, 3)
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=200)
    assert (process.returncode, out.strip()) == (0, "stopped"), errors
    saved = checkpoints.latest(tmp_path, "i2mv")
    assert saved is not None
    assert checkpoints.read_state(saved).step == len(curve(tmp_path))


def test_two_ranks_train_what_one_does(corpus: Corpus, tmp_path: Path) -> None:
    train(config(tmp_path / "one", corpus, steps=5))
    train(config(tmp_path / "accumulated", corpus, steps=5, micro_batch=2))
    two = [config(tmp_path / n, corpus, steps=5, sharded=n == "fsdp", micro_batch=2) for n in ("ddp", "fsdp")]
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(20000 + os.getpid() % 20000)}
    processes = [run_apart(*two, RANK=str(rank), LOCAL_RANK=str(rank), **common) for rank in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
    for name in ("accumulated", "ddp", "fsdp"):
        assert np.allclose(curve(tmp_path / "one"), curve(tmp_path / name), rtol=0, atol=1e-5), name
    held_out = {name: held_out_curve(tmp_path / name) for name in ("one", "ddp", "fsdp")}
    assert [step for step, _ in held_out["one"]] == [4, 5]
    assert all(np.allclose(held_out[name], held_out["one"], rtol=0, atol=0.05) for name in ("ddp", "fsdp"))
    states = {n: checkpoints.latest(tmp_path / n, "i2mv") for n in ("one", "ddp", "fsdp")}
    kept = {name: weights(path) for name, path in states.items() if path}
    moments = [k for k in kept["one"] if k.endswith("exp_avg")]
    for name in ("ddp", "fsdp"):
        assert kept[name].keys() == kept["one"].keys()
        assert all(torch.allclose(kept[name][k], kept["one"][k], rtol=0, atol=1e-5) for k in moments), name
    assert train(config(tmp_path / "fsdp", corpus, steps=6)).step == 6  # two sharded ranks' checkpoint, alone


def test_stages_begin_where_the_last_one_ended(corpus: Corpus, tmp_path: Path) -> None:
    first = train(config(tmp_path, corpus, stage="pretrain", steps=3))
    second = train(config(tmp_path, corpus, stage="t2mv", steps=1, lr=1e-12, size="unused"))
    before, after = (load_file(c.checkpoint / "ema.safetensors") for c in (first, second))
    assert all(torch.allclose(before[k], after[k], atol=1e-9) for k in before)
    assert checkpoints.newest_stage(tmp_path) == second.checkpoint
    with pytest.raises(UsageError, match="has no checkpoint of i2mv"):
        checkpoints.newest_stage(tmp_path, ("i2mv",))


def test_any_checkpoint_can_be_started_from(corpus: Corpus, tmp_path: Path) -> None:
    first = train(config(tmp_path / "one", corpus, steps=2)).checkpoint
    other = config(tmp_path / "two", corpus, steps=1, lr=1e-12, start=first)
    before, after = (load_file(c / "ema.safetensors") for c in (first, train(other).checkpoint))
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)
    with pytest.raises(UsageError, match="is no folder of a checkpoint"):
        train(config(tmp_path / "three", corpus, start=tmp_path / "one"))


def test_how_a_model_draws_best_is_kept_by_what_begins_with_it(corpus: Corpus, tmp_path: Path) -> None:
    first = train(config(tmp_path / "one", corpus, steps=1)).checkpoint
    assert checkpoints.read_state(first).sampling is None
    state = json.loads((first / "state.json").read_text())
    (first / "state.json").write_text(json.dumps({**state, "sampling": {"i2mv": {"steps": 3}}}))
    for steps in (1, 2):  # the second time it resumes its own
        again = train(config(tmp_path / "two", corpus, steps=steps, start=first)).checkpoint
        known = checkpoints.read_state(again).sampling
        assert sampling_of(known, "i2mv") == Sampling(steps=3)
        assert sampling_of(known, "i2mv", steps=5, remask=0.5) == Sampling(steps=5, remask=0.5)
        assert sampling_of(known, "t2mv", draw="bits") == Sampling(draw="bits")


def test_the_model_that_ships_is_whole_and_knows_the_small_tokenizer() -> None:
    state = checkpoints.read_state(checkpoints.PACKAGED)
    checkpoints.load_weights(checkpoints.PACKAGED, ViewModel(state.model))
    made_by = load(state.tokenizer["name"], shipped_as(state.tokenizer["weights_sha256"]))
    tokens_spec.check_tokenizer(state, made_by.spec.as_dict(), checkpoints.PACKAGED)


def test_weights_decide_what_codes_mean_not_the_name_they_go_by() -> None:
    old, new = load("small-12").spec, load("small").spec
    state = replace(checkpoints.read_state(checkpoints.PACKAGED), tokenizer={**old.as_dict(), "name": "small"})
    tokens_spec.check_tokenizer(state, old.as_dict(), checkpoints.PACKAGED)
    with pytest.raises(UsageError, match="bits 12.*bits 18.*tokenize with --tokenizer small-12, or train in a new"):
        tokens_spec.check_tokenizer(state, new.as_dict(), checkpoints.PACKAGED)


def test_a_run_of_another_tokenizer_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    train(config(tmp_path / "run", corpus, steps=1))
    other = make_corpus(tmp_path / "other", 8, spec={**SPEC, "weights_sha256": "1" * 64})
    with pytest.raises(UsageError, match="weights_sha256 0000.*train in a new folder"):
        train(config(tmp_path / "run", other))


def test_going_on_with_other_captions_is_said_and_asked(tmp_path: Path) -> None:
    first = make_corpus(tmp_path / "first", 16)
    train(config(tmp_path / "run", first, steps=1))
    other = make_corpus(tmp_path / "other", 16, caption=lambda i: f"another word {i}")
    with pytest.raises(UsageError, match="other samples or captions .*--accept-captions"):
        train(config(tmp_path / "run", other, steps=2))
    assert train(config(tmp_path / "run", first, steps=2)).step == 2
    assert train(config(tmp_path / "run", other, steps=3, accept_captions=True)).step == 3
    assert train(config(tmp_path / "run", other, steps=4)).step == 4  # pinned anew


def test_nan_stops_and_keeps_the_last_good_checkpoint(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(100))
    real = trainer.loss_of
    monkeypatch.setattr(trainer, "loss_of", lambda *a: real(*a) * (float("nan") if next(calls) == 6 else 1))
    with pytest.raises(DataengineError, match="at step 7: stopped. The last good checkpoint is .*00000004"):
        train(config(tmp_path, corpus))
    kept = checkpoints.latest(tmp_path, "i2mv")
    assert kept is not None
    assert all(t.isfinite().all() for t in weights(kept).values())
    assert len(curve(tmp_path)) == 6


def test_a_full_disk_keeps_the_old_checkpoint(corpus: Corpus, tmp_path: Path) -> None:
    first = train(config(tmp_path, corpus, steps=4))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with pytest.raises(DataengineError, match="00000008.*last good checkpoint is 00000004"):
            train(config(tmp_path, corpus, steps=8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert checkpoints.latest(tmp_path, "i2mv") == first.checkpoint
    assert [p.name for p in first.checkpoint.parent.iterdir()] == ["00000004"]
    assert train(config(tmp_path, corpus, steps=8)).step == 8


def test_damaged_checkpoints_are_refused_by_name(corpus: Corpus, tmp_path: Path) -> None:
    saved = train(config(tmp_path, corpus, steps=1)).checkpoint
    whole = (saved / "ema.safetensors").read_bytes()
    (saved / "ema.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataengineError, match="ema.safetensors cannot be read"):
        train(config(tmp_path, corpus, steps=2))
    (saved / "ema.safetensors").write_bytes(whole)
    (saved / "state.json").write_text("{}")
    with pytest.raises(DataengineError, match="no checkpoint that this version can read"):
        train(config(tmp_path, corpus, steps=2))


def test_batches_that_cannot_be_divided_and_corpora_without_tokens(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a batch of 8 cannot be divided among 1 ranks with micro-batches of 3"):
        train(config(tmp_path, corpus, micro_batch=3))
    with pytest.raises(UsageError, match="no tokens of 'small' \\(it has toy\\)"):
        train(config(tmp_path, corpus, tokenizer="small"))
    with pytest.raises(UsageError, match="no sample of split 'train' matches --where 'false'"):
        train(config(tmp_path, corpus, where="false"))


def test_remote_shards_are_copied_into_the_cache_that_was_asked_for_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = make_corpus(tmp_path / "near", 16, 8)
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    for file in (tmp_path / "near").rglob("*"):
        if file.is_file():
            fs.pipe_file(f"/far/{file.relative_to(tmp_path / 'near')}", file.read_bytes())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    far = config(tmp_path / "run", near, steps=2).model_copy(
        update={"corpus": "memory://far", "cache": tmp_path / "cache"}
    )
    assert train(far).step == 2
    assert len(list((tmp_path / "cache").glob("*.tar"))) == 2
    assert not list((tmp_path / "temporary").rglob("*.tar"))


def test_the_command_trains_and_explains(corpus: Corpus, tmp_path: Path) -> None:
    def dataengine(*words: str) -> Any:
        return CliRunner().invoke(build(), ["train", str(tmp_path / "run"), corpus.url, "--stage", "t2mv", *words])

    common = ("--tokenizer", "toy", "--size", "tiny", "--batch", "4", "--device", "cpu")
    done = dataengine(*common, "--steps", "2")
    assert (done.exit_code, done.stdout.split(":")[0]) == (0, "finished at step 2"), done.output
    first, last = done.stderr.splitlines()
    assert " train t2mv: 1 of 2 steps, loss " in first and " train t2mv: 2 of 2 steps, loss " in last
    assert all(words in last for words in (" tokens/s, ", " GB, ", " gone"))
    empty = dataengine(*common, "--steps", "2", "--where", "licence = 'mit'")
    assert empty.exit_code == 2
    assert "no sample of split 'train' matches --where" in empty.output


def test_completion_trains_resumes_and_goes_on_from_another_stage(corpus: Corpus, tmp_path: Path) -> None:
    first = train(config(tmp_path / "run", corpus, stage="i2mv", steps=2))
    whole = train(config(tmp_path / "run", corpus, stage="complete", steps=9))
    assert json.loads((whole.checkpoint / "state.json").read_text())["model"]["camera"] == "rays"
    # Stopped while the rate still rises, so that the number of steps that were asked for has not told yet.
    train(config(tmp_path / "again", corpus, stage="complete", steps=4, start=first.checkpoint))
    again = train(config(tmp_path / "again", corpus, stage="complete", steps=9, start=first.checkpoint))
    assert curve(tmp_path / "again", "complete") == curve(tmp_path / "run", "complete")
    assert equal(whole.checkpoint, again.checkpoint)
    parts = train(config(tmp_path / "parts", corpus, stage="complete", steps=9, start=first.checkpoint, micro_batch=2))
    assert np.allclose(curve(tmp_path / "run", "complete"), curve(tmp_path / "parts", "complete"), rtol=0, atol=1e-5)
    assert checkpoints.newest_stage(tmp_path / "again") == again.checkpoint
    assert parts.step == 9


def test_the_model_that_ships_has_a_name_wherever_a_run_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert checkpoints.newest_stage(Path("nano")) == checkpoints.PACKAGED
    assert checkpoints.read_state(checkpoints.PACKAGED).stage in ("i2mv", "complete")
    with pytest.raises(UsageError, match="nano, which ships, was trained for .*, not for pretrain"):
        checkpoints.newest_stage(Path("nano"), ("pretrain",))
    (tmp_path / "nano").mkdir()
    with pytest.raises(UsageError, match="nano has no checkpoint"):  # a run of one's own of that name
        checkpoints.newest_stage(Path("nano"))


def test_the_larger_model_that_ships_completes_views_of_the_shipped_tokenizer() -> None:
    checkpoint = checkpoints.newest_stage(Path("slim"), ("complete",))
    state = checkpoints.read_state(checkpoint)
    checkpoints.load_weights(checkpoint, ViewModel(state.model))
    assert load("small").spec.weights_sha256 == state.tokenizer["weights_sha256"]
    assert (checkpoint / "ema.safetensors").stat().st_size < 10e6


def test_sheets_are_decoded_with_the_weights_that_made_the_tokens(tmp_path: Path) -> None:
    spec = {**SPEC, "name": "small-12", "weights_sha256": "1" * 64}
    others = make_corpus(tmp_path / "corpus", 8, spec=spec)
    with pytest.raises(UsageError, match="tokens small-12 were made with other weights of small-12 .* with --weights"):
        tokens_spec.codec_of(others, "small-12", None, "cpu")
    shipped = json.loads((files("dataengine.tokenize") / "weights/small-12.json").read_text())["weights_sha256"]
    ours = make_corpus(tmp_path / "ours", 8, spec={**spec, "weights_sha256": shipped})
    assert tokens_spec.codec_of(ours, "small-12", None, "cpu").spec.weights_sha256 == shipped
