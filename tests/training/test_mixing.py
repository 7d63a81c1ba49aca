"""Pictures beside views in one batch: `train --stage pretrain --mix`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dataengine.corpus.corpus import Corpus
from dataengine.errors import UsageError
from dataengine.training import checkpoints, trainer
from dataengine.training.config import TrainConfig
from dataengine.training.data.stream import Batch
from dataengine.training.mixing import split_share
from dataengine.training.model.config import CAMERA_INPUTS, ModelConfig
from dataengine.training.model.view_model import ViewModel
from dataengine.training.trainer import train

from . import synthetic
from .synthetic import SPEC, make_corpus


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataengine.training.model.config.SIZES", {"tiny": (64, 2)})
    torch.set_num_threads(1)


def one_view(i: int) -> Any:
    return ((np.arange(6).reshape(1, 2, 3) * 5 + i) % 16).astype(np.uint8)


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    monkeypatch.setattr(synthetic, "orbit_cameras", lambda views, size=32: np.zeros((views, 30), np.float32))
    made = make_corpus(tmp_path / "pictures", 30, tokens=one_view, caption=lambda i: f"picture {i}")
    monkeypatch.undo()
    monkeypatch.setattr("dataengine.training.model.config.SIZES", {"tiny": (64, 2)})
    return made


def config(run: Path, corpus: Corpus, mix: str, **more: Any) -> TrainConfig:
    settings = {"stage": "pretrain", "tokenizer": "toy", "size": "tiny", "batch": 8, "steps": 8, "warmup": 3}
    settings |= {"checkpoint_every": 4, "device": "cpu", "mix": mix, **more}
    return TrainConfig(run=run, corpus=corpus.url, **settings)


def lines(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "pretrain/metrics.jsonl").read_text().splitlines()]


def test_each_batch_has_its_share(
    corpus: Corpus, pictures: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    real = trainer._backward

    def watch(run: Any, batches: list[Batch]) -> Any:
        seen.append([caption for batch in batches for caption in batch.captions])
        return real(run, batches)

    monkeypatch.setattr(trainer, "_backward", watch)
    train(config(tmp_path / "run", corpus, f"{pictures.url}:0.25", micro_batch=4))
    assert [sum(c.startswith("picture") for c in captions) for captions in seen] == [2] * 8
    assert len({c for captions in seen[:13] for c in captions if c.startswith("picture")}) == 16  # none twice yet
    for line in lines(tmp_path / "run"):
        assert (
            min(line["nll_views"], line["nll_pictures"]) <= line["nll"] <= max(line["nll_views"], line["nll_pictures"])
        )
    state = checkpoints.read_state(tmp_path / "run/pretrain/checkpoints/00000008")
    assert (state.epoch * 36 + state.samples, list(state.pictures or ())) == (6 * 8, [0, 16])


def test_a_resumed_run_is_the_undisturbed_one(corpus: Corpus, pictures: Corpus, tmp_path: Path) -> None:
    whole = train(config(tmp_path / "whole", corpus, pictures.url))
    train(config(tmp_path / "halves", corpus, pictures.url, steps=4))
    kept = tmp_path / "halves/pretrain/checkpoints/00000004"
    assert list(checkpoints.read_state(kept).pictures or ()) == [0, 16]

    def stop(step: Any) -> None:
        if step["step"] == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # after a checkpoint, in the middle of the next part
        trainer.train(config(tmp_path / "broken", corpus, pictures.url), on_step=stop)
    again = train(config(tmp_path / "broken", corpus, pictures.url))
    names = ("loss", "nll", "nll_views", "nll_pictures", "grad_norm")
    assert [[m[n] for n in names] for m in lines(tmp_path / "broken")] == [
        [m[n] for n in names] for m in lines(tmp_path / "whole")
    ]
    for name in ("model", "ema", "optimizer"):
        assert (whole.checkpoint / f"{name}.safetensors").read_bytes() == (
            again.checkpoint / f"{name}.safetensors"
        ).read_bytes()


def test_two_ranks_train_what_one_does(corpus: Corpus, pictures: Corpus, tmp_path: Path) -> None:
    """Each rank has its half of the views and its half of the pictures of every batch."""
    train(config(tmp_path / "one", corpus, pictures.url, steps=5))
    program = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from dataengine.training import config, trainer\n"
        "from dataengine.training.model import config as model_config\n"
        "model_config.SIZES = {'tiny': (64, 2)}\n"
        "torch.distributed.init_process_group('gloo')\n"
        "trainer.train(config.TrainConfig.model_validate_json(sys.argv[1]))"
    )
    two = config(tmp_path / "two", corpus, pictures.url, steps=5).model_dump_json()
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(20000 + os.getpid() % 20000)}
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1", **common}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", program, two],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in ranks:
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
    for name in ("loss", "nll_views", "nll_pictures"):
        one, both = ([m[name] for m in lines(tmp_path / run)] for run in ("one", "two"))
        assert np.allclose(one, both, rtol=0, atol=1e-5), name
    state = checkpoints.read_state(tmp_path / "two/pretrain/checkpoints/00000005")
    assert list(state.pictures or ()) == [0, 20]


@pytest.mark.parametrize("camera", CAMERA_INPUTS)
def test_no_camera_adds_nothing(camera: Any) -> None:
    torch.manual_seed(0)
    shape = {"width": 64, "layers": 1, "bits": 4, "grid": (2, 3), "text_vocabulary": 9, "text_length": 2}
    model = ViewModel(ModelConfig(**shape, camera=camera))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    plain = ViewModel(ModelConfig(**shape, camera="none"))
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if k in plain.state_dict()})
    text, codes, cameras = torch.tensor([[1, 2]]), torch.arange(6).view(1, 1, 6), torch.zeros(1, 1, 30)
    assert torch.equal(model(text, codes, cameras), plain(text, codes, cameras))
    model(text, codes, cameras, codes, codes > 2).sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


def test_what_cannot_be_mixed(corpus: Corpus, pictures: Corpus, tmp_path: Path) -> None:
    other = make_corpus(tmp_path / "other", 8, tokens=one_view, spec={**SPEC, "weights_sha256": "1" * 64})
    wide = make_corpus(tmp_path / "wide", 8, tokens=lambda i: np.zeros((1, 3, 3), np.uint8))
    for mix, more, said in (
        (f"{pictures.url}:0.01", {}, "makes 0 of 8 samples pictures"),
        (f"{pictures.url}:1.0", {}, "makes 8 of 8"),
        (pictures.url, {"stage": "i2mv"}, "--mix goes with --stage pretrain"),
        (other.url, {}, "are of other codes .* tokenize both with the same --weights"),
        (wide.url, {}, "views of 2×3 tokens, .*wide of 3×3"),
        (corpus.url, {}, "samples of one view, those of .* have 4"),
        (str(tmp_path / "nowhere"), {}, "is not a corpus"),
    ):
        with pytest.raises(UsageError, match=said):
            train(config(tmp_path / "run", corpus, mix, **more))
    assert not (tmp_path / "run").exists()


def test_a_share_follows_the_last_colon() -> None:
    assert split_share("pictures") == ("pictures", 0.5)
    assert split_share("s3://bucket/pictures") == ("s3://bucket/pictures", 0.5)
    assert split_share("s3://bucket/pictures:0.3") == ("s3://bucket/pictures", 0.3)
