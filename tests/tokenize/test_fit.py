import json
from pathlib import Path

import pytest
import torch

from dataengine.errors import UsageError
from dataengine.tokenize import load
from dataengine.tokenize.fit import FitSettings, Progress, fit
from dataengine.tokenize.fit_views import draw_batch, find_views
from tests.token_corpus import disc, make_corpus, png

RECIPE = FitSettings(batch=4, resolution=32, crop=16, warmup=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty models of two views; by the hash of their names, some are held out."""
    folder = tmp_path_factory.mktemp("views")
    for n in range(30):
        (folder / f"model{n}").mkdir()
        for v in range(2):
            (folder / f"model{n}" / f"{v}.png").write_bytes(png(disc(64 if n == 5 else 32, 10 * n + v)))
    return folder


def test_views_of_a_folder(folder: Path, tmp_path: Path) -> None:
    views = find_views(str(folder))
    assert len(views.train) + len(views.held_out) == 60
    assert 0 < views.held_out_models < 10
    assert not {*views.train} & {*views.held_out}
    with pytest.raises(UsageError, match="has no views to train on"):
        find_views(str(tmp_path))


def test_views_of_a_corpus_follow_its_split(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", assets=12, shard_size=6, views=2)
    views = find_views(corpus.url)
    assert (views.held_out_models, views.train_models) == (2, 8)  # rows 0 and 10 are val; one a shard has failed
    assert len(views.train) == 16


@pytest.mark.parametrize("crop", [16, None])
def test_a_step_draws_the_same_batch_again(folder: Path, crop: int | None) -> None:
    views = find_views(str(folder)).train
    x, alpha = draw_batch(views, 0, 3, 6, resolution=32, crop=crop)
    again, _ = draw_batch(views, 0, 3, 6, resolution=32, crop=crop)
    other, _ = draw_batch(views, 0, 4, 6, resolution=32, crop=crop)
    side = crop or 32
    assert (x.shape, alpha.shape) == ((6, 3, side, side), (6, 1, side, side))
    assert torch.equal(x, again)
    assert not torch.equal(x, other)
    assert x.abs().max() <= 1
    if crop is not None:
        assert (alpha.amax((1, 2, 3)) > 0).all()  # each square has some of the object


def test_a_stopped_fit_goes_on_to_the_same_weights(folder: Path, tmp_path: Path) -> None:
    said: list[Progress] = []
    quality = fit(str(folder), tmp_path / "a.safetensors", steps=4, device="cpu", recipe=RECIPE, on_step=said.append)
    assert [p.step for p in said] == [1, 2, 3, 4]
    assert said[-1].quality is not None
    assert 0 < quality.codes_used < 1
    assert quality.views == len(find_views(str(folder)).held_out)

    class Stopped(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.step == 2:
            raise Stopped

    out = tmp_path / "b.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dataengine.tokenize.fit.KEEP_EVERY", 1)
        with pytest.raises(Stopped):
            fit(str(folder), out, steps=4, device="cpu", recipe=RECIPE, on_step=stop)
    assert not out.exists()
    resumed: list[Progress] = []
    fit(str(folder), out, steps=4, device="cpu", recipe=RECIPE, on_step=resumed.append)
    assert [p.step for p in resumed] == [3, 4]
    assert out.read_bytes() == (tmp_path / "a.safetensors").read_bytes()
    report = json.loads(out.with_suffix(".json").read_text())
    assert (report["steps"], report["held_out"]["views"]) == (4, quality.views)
    tokenizer = load("small", out)
    assert tokenizer.spec.weights_sha256 == load("small", tmp_path / "a.safetensors").spec.weights_sha256


def test_wrong_output(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"written as \.safetensors"):
        fit(str(folder), tmp_path / "a.pt")
    with pytest.raises(UsageError, match="device 'nothing' cannot be used"):
        fit(str(folder), tmp_path / "a.safetensors", device="nothing")
    (tmp_path / "a.fit").write_bytes(b"something else")
    with pytest.raises(UsageError, match="delete it"):
        fit(str(folder), tmp_path / "a.safetensors", device="cpu")
