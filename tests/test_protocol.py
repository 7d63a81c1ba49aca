"""The papers' evaluation sets, on folders that are laid out like them."""

from pathlib import Path
from typing import Any

import pytest
import torch
import trimesh

from dataengine.corpus.config import Limits, RenderConfig
from dataengine.errors import UsageError
from dataengine.protocol import Protocol, find_models, protocol_corpus
from dataengine.tokenize.device_tokenizer import DeviceTokenizer
from dataengine.training import checkpoints
from dataengine.training.config import Sampling
from dataengine.training.evaluation.evaluate import evaluate
from dataengine.training.evaluation.means import means
from dataengine.training.model.config import ModelConfig
from dataengine.training.model.view_model import ViewModel
from dataengine.training.sample import Trained
from dataengine.training.text import LENGTH, text_tokenizer
from tests.tokenize.published import SMALL_TINY, filled

LAYOUTS: dict[Protocol, tuple[str, ...]] = {
    "gso": ("Box_{}/meshes/model.obj",),
    "3d-future": ("{}/raw_model.obj", "{}/normalized_model.obj"),
}


def stand_in(folder: Path, protocol: Protocol) -> Path:
    """Two boxes."""
    for n in (1, 2):
        for layout in LAYOUTS[protocol]:
            path = folder / layout.format(n)
            path.parent.mkdir(parents=True, exist_ok=True)
            trimesh.creation.box((1, 1 + n, 3 * n)).export(path)
    return folder


def test_models_are_found_once_and_stand_upright(tmp_path: Path) -> None:
    scans = find_models("gso", str(stand_in(tmp_path / "gso", "gso")), Limits()).assets
    assert scans["up"].to_pylist() == ["Z", "Z"]
    furniture = find_models("3d-future", str(stand_in(tmp_path / "future", "3d-future")), Limits()).assets
    assert furniture["path"].to_pylist() == ["1/raw_model.obj", "2/raw_model.obj"]
    assert "Z" not in furniture["up"].to_pylist()
    with pytest.raises(UsageError, match="is empty"):
        (tmp_path / "empty").mkdir()
        find_models("gso", str(tmp_path / "empty"), Limits())


def test_from_a_folder_to_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAENGINE_SPOOL", str(tmp_path / "spool"))
    compute = DeviceTokenizer(filled("small", **SMALL_TINY), torch.device("cpu"))
    grid = (32 // compute.spec.factor,) * 2
    said: list[str] = []
    known: dict[str, Any] = {**compute.spec.as_dict(), "background": [255, 255, 255]}
    arguments: Any = ("gso", str(stand_in(tmp_path / "gso", "gso")), tmp_path / "made", compute)
    with pytest.raises(UsageError, match="measures on white"):
        protocol_corpus(*arguments, {**known, "background": [0, 0, 0]}, grid)
    render = RenderConfig(recipe="syncdreamer", resolution=64, samples=1)
    corpus = protocol_corpus(*arguments, known, grid, render=render, workers=1, say=said.append)
    assert "not as the protocol has it" in said[0]
    assert "draws 32×32 pixels" in said[1]
    config = ModelConfig(64, 1, compute.spec.bits, grid, text_tokenizer().size, LENGTH)
    state = checkpoints.RunState(0, 0, 0, config, known, text_tokenizer().sha256, [], {"stage": "i2mv"})
    trained = Trained(tmp_path / "run" / "i2mv" / "checkpoints" / "0", state, ViewModel(config).eval())
    asked: dict[str, Any] = {"tokenizer": "small", "split": None, "limit": None, "sampling": Sampling(2)}
    found = means(evaluate(trained, corpus, compute.tokenizer, **asked))
    assert [(row["method"], row["objects"]) for row in found] == [
        ("reference", 2), ("model", 2), ("round_trip", 2),
    ]  # fmt: skip
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small steps: two threads wait for each other longer than they work
    _, model, ceiling = means(evaluate(trained, corpus, compute.tokenizer, **asked | {"limit": 1, "shapes": True}))
    torch.set_num_threads(threads)
    assert model["volume_iou"] is not None and 0 <= ceiling["volume_iou"] <= 1
    # A corpus that was made before is taken as it is.
    again = protocol_corpus("gso", corpus.url, tmp_path / "unused", compute, known, grid, workers=1)
    assert again.url == corpus.url
    assert not (tmp_path / "unused").exists()
