"""Nats of objects that were held out, against those of an even guess."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dataengine.manifests.catalog import Catalog
from dataengine.training.config import TrainConfig
from dataengine.training.data.index import SampleIndex, build_index
from dataengine.training.evaluation.held_out_loss import held_out_loss
from dataengine.training.sample import Trained, load_run
from dataengine.training.trainer import train
from tests.training.synthetic import make_corpus

HIDDEN = (0.25, 1.0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, SampleIndex]:
    """Views of one colour each, one of four that a fixed turn brings about: whoever knows one knows all."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("held-out")

    def turning(i: int) -> np.ndarray[Any, Any]:
        return np.stack([np.full((2, 2), (i + 4 * v) % 16) for v in range(8)]).astype(np.uint8)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dataengine.training.model.config.SIZES", {"tiny": (64, 2)})
        corpus = make_corpus(folder / "corpus", 80, 40, tokens=turning, val_every=5)
        common: dict[str, Any] = {"tokenizer": "toy", "size": "tiny", "device": "cpu", "camera": "azimuth"}
        train(TrainConfig(run=folder / "run", corpus=corpus.url, stage="i2mv", steps=150, batch=16, lr=3e-3, **common))
    return load_run(Path(folder / "run")), build_index(Catalog(corpus), "toy", split="val")


def test_an_even_guess_costs_the_logarithm_of_the_codebook(trained: tuple[Trained, SampleIndex]) -> None:
    run, index = trained
    model = type(run.model)(run.model.config)
    for parameter in model.head.parameters():
        torch.nn.init.zeros_(parameter)
    found = held_out_loss(Trained(run.checkpoint, run.state, model.eval()), index, HIDDEN)
    assert found.shape == (2, len(index)) == (2, 16)
    assert torch.allclose(found, torch.full_like(found, 4 * math.log(2)), atol=1e-5)


def test_what_was_learned_costs_less_and_depends_on_the_seed_alone(trained: tuple[Trained, SampleIndex]) -> None:
    run, index = trained
    found = held_out_loss(run, index, HIDDEN)
    assert torch.equal(found, held_out_loss(run, index, HIDDEN))
    assert not torch.equal(found, held_out_loss(run, index, HIDDEN, seed=1))
    assert float(found.mean()) < 0.5 * 4 * math.log(2)
    few, all_of_them = found.mean(1).tolist()
    assert few < all_of_them  # the other patches of a view tell what the hidden ones are
    anyhow = held_out_loss(run, index, HIDDEN, even=False)
    assert anyhow.shape == found.shape
    assert float(anyhow.mean()) < 4 * math.log(2)
