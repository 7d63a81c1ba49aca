"""The held-out loss of a run while it trains. Right values are arithmetic, or a look at its checkpoint from outside."""

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dataengine.corpus.corpus import Corpus
from dataengine.manifests.catalog import Catalog
from dataengine.training.config import TrainConfig
from dataengine.training.data.index import build_index
from dataengine.training.data.stream import Reader
from dataengine.training.sample import load_run
from dataengine.training.text import text_tokenizer
from dataengine.training.trainer import train

from .synthetic import make_corpus


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataengine.training.model.config.SIZES", {"tiny": (64, 2)})
    torch.set_num_threads(1)


def config(run: Path, corpus: Corpus, **more: Any) -> TrainConfig:
    settings = {"stage": "i2mv", "tokenizer": "toy", "size": "tiny", "batch": 8, "steps": 10, "warmup": 3}
    return TrainConfig(run=run, corpus=corpus.url, **{**settings, "checkpoint_every": 4, "device": "cpu", **more})


def lines(run: Path, stage: str = "i2mv") -> list[dict[str, float]]:
    return list(map(json.loads, (run / stage / "metrics.jsonl").read_text().splitlines()))


def test_it_is_measured_with_each_checkpoint_and_is_the_same_after_a_stop(corpus: Corpus, tmp_path: Path) -> None:
    train(config(tmp_path / "one", corpus))
    found = {line["step"]: line["nll_held_out"] for line in lines(tmp_path / "one") if "nll_held_out" in line}
    assert list(found) == [4, 8, 10]

    def stop(figures: Mapping[str, float]) -> None:
        if figures["step"] == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    assert train(config(tmp_path / "two", corpus), on_step=stop).status == "stopped"
    train(config(tmp_path / "two", corpus))
    assert {x["step"]: x["nll_held_out"] for x in lines(tmp_path / "two") if "nll_held_out" in x} == found


def test_it_is_of_objects_that_are_not_trained_on(tmp_path: Path) -> None:
    """Those of split `train` have one code throughout, those of `val` another."""

    def tokens(i: int) -> Any:
        return np.full((4, 2, 3), 3 if i % 10 else 12, np.uint8)  # every tenth is of split val

    corpus = make_corpus(tmp_path / "corpus", tokens=tokens)
    train(config(tmp_path / "run", corpus, steps=60, checkpoint_every=0, lr=5e-3, ema=0.5, drop_text=1.0))
    last = lines(tmp_path / "run")[-1]
    assert last["nll"] < 0.1
    assert last["nll_held_out"] > 3
    trained = load_run(tmp_path / "run", ("i2mv",))
    index = build_index(Catalog(corpus), "toy", split="val")
    reader = Reader(index)
    batch = reader.batch(np.arange(len(index)))
    reader.close()
    codes = batch.tokens.flatten(2)[:, :4]
    hidden = torch.ones_like(codes, dtype=torch.bool)
    hidden[:, 0] = False
    with torch.no_grad():
        seen = codes.masked_fill(hidden, trained.state.model.mask)
        words = text_tokenizer().encode([""] * len(codes))
        nats = trained.model(words, seen, batch.cameras[:, :4], codes, hidden)
    assert float(nats.mean()) == pytest.approx(last["nll_held_out"], rel=0.3)  # there all is hidden, here a part


def test_a_corpus_without_such_objects_has_none(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", val_every=1000, samples=16)
    train(config(tmp_path / "run", corpus, where="split = 'train'", steps=4))
    assert not any("nll_held_out" in line for line in lines(tmp_path / "run"))
