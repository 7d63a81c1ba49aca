"""What tokens are called, two sizes and two sets side by side, and that none is replaced silently."""

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from dataengine.cli import build
from dataengine.corpus.config import RenderConfig, ViewSet
from dataengine.corpus.corpus import CONFIG, Corpus
from dataengine.errors import UsageError
from dataengine.manifests.catalog import Catalog
from dataengine.stages.run import run_shards
from dataengine.stages.tokenize import TokenStage
from dataengine.tokenize import load
from dataengine.tokenize.detokenize import tokens_of, weights_for
from dataengine.tokenize.device_tokenizer import DeviceTokenizer
from dataengine.tokenize.views import read_views
from dataengine.training.data.index import build_index
from tests.cluster.tokenizer import write_weights
from tests.synthetic import put_plan
from tests.token_corpus import commit_views, make_corpus, png

SIDE = 32


@pytest.fixture(autouse=True)
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAENGINE_SPOOL", str(tmp_path / "spool"))


@pytest.fixture(scope="module")
def compute(tmp_path_factory: pytest.TempPathFactory) -> DeviceTokenizer:
    weights = write_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")
    return DeviceTokenizer(load("small", weights), torch.device("cpu"))


def with_sets(folder: Path, *names: str) -> Corpus:
    """Views of three assets in one shard, in each of these sets."""
    corpus = make_corpus(folder, assets=3, shard_size=3, views=2, side=SIDE)
    sets = tuple(ViewSet(name=name, render=RenderConfig(resolution=SIDE)) for name in names)
    config = corpus.config.model_copy(update={"sets": sets})
    rows = corpus.plan(0).to_pylist()
    corpus.store.put(CONFIG, config.to_yaml().encode())
    put_plan(corpus.store, rows)  # which holds a copy of corpus.yaml
    corpus = Corpus.open(folder)
    for name in names[1:]:
        commit_views(corpus, 0, views=3, side=SIDE, seed=len(name), view_set=name)
    return corpus


def test_one_set_as_rendered_is_called_after_the_tokenizer(tmp_path: Path, compute: DeviceTokenizer) -> None:
    corpus = with_sets(tmp_path / "c", "orbit8")
    assert TokenStage.on(compute).of(corpus).name == "tokens/small"
    assert TokenStage.on(compute, resolution=SIDE).of(corpus).name == "tokens/small"
    assert TokenStage.on(compute, resolution=16).of(corpus).name == "tokens/orbit8-small-16"
    assert TokenStage.on(compute).of(corpus, name="mine").name == "tokens/mine"


def test_tokens_of_a_size_that_are_there_already_keep_their_name(tmp_path: Path, compute: DeviceTokenizer) -> None:
    """As corpora have them that were tokenized when there were no other names."""
    corpus = with_sets(tmp_path / "c", "orbit8")
    run_shards(corpus, TokenStage.on(compute, resolution=16), [0])
    assert TokenStage.on(compute, resolution=16).of(corpus).name == "tokens/small"
    with pytest.raises(UsageError, match=r"tokens/small .* \(resolution 16 → None\): choose another name with --name"):
        TokenStage.on(compute).of(corpus)


def test_sizes_and_sets_lie_side_by_side(tmp_path: Path, compute: DeviceTokenizer) -> None:
    corpus = with_sets(tmp_path / "c", "orbit8", "wide")
    stages = [
        TokenStage.on(compute).of(corpus, "orbit8"),
        TokenStage.on(compute, resolution=16).of(corpus, "orbit8"),
        TokenStage.on(compute).of(corpus, "wide"),
    ]
    for stage in stages:
        run_shards(corpus, stage, [0])
    names = ["orbit8-small-16", "orbit8-small-32", "wide-small-32"]
    catalog = Catalog(corpus)
    counted = "SELECT tokenizer, view_set, any_value(num_views), any_value(grid) FROM samples GROUP BY ALL ORDER BY ALL"
    factor = compute.spec.factor
    assert catalog.sql(counted).fetchall() == [
        (names[0], "orbit8", 2, [16 // factor] * 2),
        (names[1], "orbit8", 2, [SIDE // factor] * 2),
        (names[2], "wide", 3, [SIDE // factor] * 2),
    ]
    for name, views in zip(names, (2, 2, 3), strict=True):
        assert build_index(catalog, name).tokens_layout.shape[0] == views
        assert tokens_of(corpus, 0, name).stage == f"tokens/{name}"
    with pytest.raises(UsageError, match="no tokens called 'wide-small-23'; did you mean wide-small-32"):
        tokens_of(corpus, 0, "wide-small-23")
    assert weights_for(corpus, "small") is None  # they do not ship, and are found by the tokenizer all the same


def test_a_name_that_is_taken_is_refused_with_what_differs(tmp_path: Path, compute: DeviceTokenizer) -> None:
    corpus = with_sets(tmp_path / "c", "orbit8", "wide")
    run_shards(corpus, TokenStage.on(compute).of(corpus, "wide", "mine"), [0])
    assert TokenStage.on(compute).of(corpus, "wide", "mine").name == "tokens/mine"
    with pytest.raises(UsageError, match=r"view set wide → orbit8; background \[255, 255, 255\] → \[0, 0, 0\]"):
        TokenStage.on(compute, background=(0, 0, 0)).of(corpus, "orbit8", "mine")
    with pytest.raises(UsageError, match="the view sets orbit8, wide: say which"):
        TokenStage.on(compute).of(corpus)


def test_another_channel_is_encoded_and_named(tmp_path: Path, compute: DeviceTokenizer) -> None:
    """Normals, whose pictures have no alpha: what the colour does not cover is the background."""
    corpus = with_sets(tmp_path / "c", "orbit8")
    stage = TokenStage.on(compute, channel="normal")
    assert "channel" not in compute.spec.as_dict(), "the hash of tokens of colour is what it was"
    assert stage.tokenizer.as_dict()["channel"] == "normal"
    with pytest.raises(UsageError, match="view set orbit8 has no channel 'normal' of colours"):
        stage.of(corpus)
    normals = np.full((SIDE, SIDE, 3), (255, 128, 0), np.uint8)
    members: dict[str, bytes | None] = {f"{v:02d}.normal.png": png(normals) for v in range(2)}
    commit_views(corpus, 0, views=2, side=SIDE, changed=dict.fromkeys(range(3), members))
    fragment = corpus.fragment("views/orbit8", 0)
    assert fragment is not None
    row = fragment.table.to_pylist()[0]
    seen, colour = (read_views(corpus.store, row, (9, 9, 9), channel=channel) for channel in ("normal", "rgba"))
    solid = colour.covered & (colour.rgb != 9).any(-1)
    assert (seen.covered == colour.covered).all() and (seen.rgb[~seen.covered] == 9).all()
    assert solid.any() and abs(seen.rgb[solid].astype(int) - (255, 128, 0)).min(0).max() == 0
    run_shards(corpus, stage, [0])
    made = corpus.fragment("tokens/small", 0)
    assert made is not None and made.settings["tokenizer"]["channel"] == "normal"
    with pytest.raises(UsageError, match="channel normal → None"):
        TokenStage.on(compute).of(corpus)


def test_the_command_says_which_set_it_needs(tmp_path: Path) -> None:
    corpus = with_sets(tmp_path / "c", "orbit8", "wide")
    weights = str(write_weights(tmp_path / "tiny.safetensors"))
    words = ["tokenize", corpus.url, "--shard", "all", "--weights", weights, "--device", "cpu"]
    refused = CliRunner().invoke(build(), words)
    assert refused.exit_code == 2 and "view sets orbit8, wide: say which" in refused.output
    done = CliRunner().invoke(build(), [*words, "--views", "wide", "--resolution", "16"])
    assert done.exit_code == 0 and "3 assets encoded" in done.output
    again = CliRunner().invoke(build(), [*words, "--views", "wide", "--resolution", "16"])
    assert "nothing to do: 1 shards have their tokens/wide-small-16" in again.output
    unknown = CliRunner().invoke(build(), [*words, "--views", "wid"])
    assert unknown.exit_code == 2 and "no view set 'wid'; did you mean wide?" in unknown.output
