from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

import dataengine
from dataengine.cli import build
from dataengine.cluster.options import RunOptions, stages_of
from dataengine.corpus.corpus import Corpus
from dataengine.errors import UsageError
from dataengine.stages.open_shard import is_done
from dataengine.tokenize import load
from dataengine.tokenize.detokenize import GAIN, HEADER, LINE, detokenize, load_for, sheet, tokens_of, weights_for
from dataengine.tokenize.device_tokenizer import DeviceTokenizer
from tests.synthetic import uid_of
from tests.token_corpus import disc, make_corpus, tokenize_shard
from tests.tokenize.published import save_small


@pytest.fixture(autouse=True)
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAENGINE_SPOOL", str(tmp_path / "spool"))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return save_small(tmp_path / "tiny.safetensors")


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return make_corpus(tmp_path / "corpus", assets=7, shard_size=4)


def run(*words: Any) -> Result:
    return CliRunner().invoke(build(), [str(w) for w in words])


def test_sheet_shows_original_decoded_and_difference() -> None:
    original = np.zeros((9, 16, 16, 3), np.uint8)
    decoded = original.copy()
    decoded[8, 3, 5] = 10
    picture = np.asarray(sheet(original, {"decoded": decoded}, [""] * 9))
    left = picture.shape[1] - 8 * 16
    assert picture.shape[0] == 2 * (HEADER + 3 * 16) and (picture[:, left - 4 : left] == 255).all()  # labels end before
    second = picture[HEADER + 3 * 16 + HEADER :]
    assert second[16 + 3, left + 5].tolist() == [10] * 3
    assert second[32 + 3, left + 5].tolist() == [10 * GAIN] * 3
    assert second[3, left + 5].tolist() == [0] * 3


def test_detokenize_draws_what_was_encoded(corpus: Corpus, weights: Path) -> None:
    compute = DeviceTokenizer(load("small", weights), torch.device("cpu"))
    fragment = tokenize_shard(corpus, 0, compute, background=(128, 128, 128))
    assert tokens_of(corpus, 0).sha256 == fragment.sha256
    picture = np.asarray(detokenize(corpus, fragment, uid_of(1), compute))
    codes = compute.encode(np.stack([_over_grey(disc(32, 100 + v)) for v in range(3)]))
    top, left = HEADER + LINE + 32, picture.shape[1] - 3 * 32
    for v, image in enumerate(compute.decode_array(codes.numpy())):
        assert np.array_equal(picture[top : top + 32, left + 32 * v : left + 32 * (v + 1)], image)
    with pytest.raises(UsageError, match="has no tokens of small: EMPTY_SCENE, has no views"):
        detokenize(corpus, fragment, uid_of(3), compute)
    with pytest.raises(UsageError, match="shard 1 of .* has no tokens of small; run"):
        tokens_of(corpus, 1)
    assert load_for(fragment, weights).spec == compute.tokenizer.spec


def test_a_corpus_goes_on_with_the_weights_it_was_begun_with(corpus: Corpus, tmp_path: Path) -> None:
    """Its tokens say `small` of the version that made them; a name that means another network today changes nothing."""
    before = DeviceTokenizer(load("small", "small-12"), torch.device("cpu"))
    first = tokenize_shard(corpus, 0, before)
    assert weights_for(corpus, "small") == "small-12"
    done = run("tokenize", corpus.url, "--shard", "all", "--device", "cpu")
    assert done.exit_code == 0, done.output
    fragments = [corpus.fragment("tokens/small", shard) for shard in corpus.shards()]
    assert fragments[0] is not None
    assert fragments[0].sha256 == first.sha256
    specs = [f.settings["tokenizer"] for f in fragments if f is not None]
    assert len(specs) == 2
    assert specs[0] == specs[1]
    (stage,) = stages_of(RunOptions(stages=("tokenize",)), corpus)
    assert is_done(corpus, stage, 0)
    assert dataengine.open(corpus.url).tokenize(device="cpu").shards == 0
    assert load_for(first).spec.weights_sha256 == load("small-12").spec.weights_sha256
    sheet_of_it = run("detokenize", corpus.url, uid_of(1), "-o", tmp_path / "sheet.png", "--device", "cpu")
    assert sheet_of_it.exit_code == 0, sheet_of_it.output

    own = save_small(tmp_path / "own.safetensors")
    mine = make_corpus(tmp_path / "mine", assets=2, shard_size=2)
    assert run("tokenize", mine.url, "--shard", "all", "--device", "cpu", "--weights", own).exit_code == 0
    made = tokens_of(mine, 0).sha256
    refused = run("tokenize", mine.url, "--shard", "all", "--device", "cpu")
    assert refused.exit_code == 2
    assert "made with other weights" in refused.output
    with pytest.raises(UsageError, match="name their file with --weights, or make others beside them: --weights small"):
        stages_of(RunOptions(stages=("tokenize",)), mine)
    with pytest.raises(UsageError, match="made with other weights"):
        dataengine.open(mine.url).tokenize(device="cpu")
    assert tokens_of(mine, 0).sha256 == made
    taken = run("tokenize", mine.url, "--device", "cpu", "--weights", "small")
    assert taken.exit_code == 2 and "was made with other settings" in taken.output
    beside = run("tokenize", mine.url, "--device", "cpu", "--weights", "small", "--name", "usual")
    assert beside.exit_code == 0, beside.output
    usual = mine.fragment("tokens/usual", 0)
    assert usual is not None and usual.settings["tokenizer"]["bits"] == 18
    kept = mine.fragment("tokens/small", 0)
    assert kept is not None and kept.sha256 == made

    fresh = make_corpus(tmp_path / "fresh", assets=2, shard_size=2)
    assert weights_for(fresh, "small") is None
    assert run("tokenize", fresh.url, "--shard", "all", "--device", "cpu").exit_code == 0
    assert tokens_of(fresh, 0).settings["tokenizer"]["bits"] == 18


def _over_grey(rgba: Any) -> Any:
    from dataengine.tokenize.images import composite

    return composite(rgba, (128, 128, 128))


def test_commands(corpus: Corpus, weights: Path, tmp_path: Path) -> None:
    words = ("tokenize", corpus.url, "--shard", "all", "--weights", weights, "--device", "cpu")
    corpus.store.delete("views/orbit8/00001.parquet")
    result = run(*words)
    assert result.exit_code == 0, result.output
    assert "1 shards have no views yet" in result.output
    assert "3 assets encoded, 1 without tokens" in result.output
    assert "nothing to do: 1 shards have their tokens" in run(*words).output
    out = tmp_path / "sheet.png"
    result = run("detokenize", corpus.url, uid_of(1)[:8], "-o", out, "--weights", weights)
    assert result.exit_code == 0, result.output
    with Image.open(out) as picture:
        assert picture.width > 3 * 32 and picture.height == HEADER + LINE + 3 * 32
    other = tmp_path / "other.safetensors"
    other.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    result = run("detokenize", corpus.url, uid_of(1), "-o", out, "--weights", other)
    assert result.exit_code == 2
    assert "made with other weights" in result.output
    result = run("tokenize", corpus.url, "--shard", "1", "--weights", weights)
    assert (result.exit_code, "has no views" in result.output) == (2, True)
    result = run(*words, "--background", "pink")
    assert (result.exit_code, "neither white" in result.output) == (2, True)
