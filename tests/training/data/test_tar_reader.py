"""Tars through the webdataset library: every sample once, from any store, divided among readers."""

from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pytest
from torch.utils.data import DataLoader

import dataengine
from dataengine.corpus.corpus import Corpus
from dataengine.errors import UsageError
from dataengine.training.data.tar_reader import TarDataset, tar_dataset
from tests.view_corpus import RADIUS, centre, make_view_corpus

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")  # nothing stays open


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_view_corpus(tmp_path_factory.mktemp("tars") / "corpus")


@pytest.fixture(scope="module")
def uids(corpus: Corpus) -> list[str]:
    found = dataengine.Catalog(corpus).sql("select uid from assets where status = 'ok' order by shard, row").fetchall()
    return [uid for (uid,) in found]


def keys(dataset: TarDataset) -> list[str]:
    return [sample["__key__"] for sample in dataset]


def test_samples_come_decoded_in_the_order_of_the_shards(corpus: Corpus, uids: list[str]) -> None:
    samples = list(dataengine.open(corpus.url).webdataset())
    assert [s["__key__"] for s in samples] == uids
    depth, camera = samples[0]["00.depth.png"], samples[0]["cameras.json"]["views"][0]
    nearest = np.linalg.norm(np.array(camera["c2w"])[:3, 3] - centre(0)) - RADIUS
    assert depth[depth > 0].min() == pytest.approx(nearest, abs=0.01)  # planar z of the sphere's nearest point, nearly


def test_a_seed_gives_each_epoch_its_own_order_and_the_same_one_again(corpus: Corpus, uids: list[str]) -> None:
    one, two = tar_dataset(corpus, "views/orbit8", seed=3), tar_dataset(corpus, "views/orbit8", seed=3)
    epochs = [keys(one) for _ in range(6)]
    assert epochs == [keys(two) for _ in range(6)]
    assert all(sorted(epoch) == sorted(uids) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_workers_and_ranks_divide_the_tars(corpus: Corpus, uids: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    loader = DataLoader(tar_dataset(corpus, "views/orbit8"), batch_size=None, num_workers=2)
    assert sorted(sample["__key__"] for sample in loader) == sorted(uids)
    parts: list[list[str]] = []
    for rank in range(3):  # as torchrun says it
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "3")
        parts.append(keys(tar_dataset(corpus, "views/orbit8", seed=1)))
    assert all(parts) and sorted(uid for part in parts for uid in part) == sorted(uids)


def test_more_readers_than_tars_are_refused(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UsageError, match="3 tars cannot be divided among 4 ranks with 1 workers"):
        keys(tar_dataset(corpus, "views/orbit8"))
    with pytest.raises(UsageError, match="no committed shards of 'tokens/small'"):
        tar_dataset(corpus, "tokens/small")


def test_a_store_that_webdataset_cannot_open_itself(corpus: Corpus, uids: list[str]) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(corpus.url, "/tars", recursive=True)
    remote = Corpus.open("memory://tars")
    assert keys(tar_dataset(remote, "views/orbit8")) == uids


def test_webdatasets_own_methods_go_on_from_there(corpus: Corpus, uids: list[str]) -> None:
    front: Callable[[dict[str, object]], object] = lambda sample: sample["__key__"]  # noqa: E731
    assert sorted(tar_dataset(corpus, "views/orbit8").shuffle(5, seed=0).map(front)) == sorted(uids)


def test_a_tar_that_is_gone_is_an_error(tmp_path: Path) -> None:
    corpus = make_view_corpus(tmp_path / "corpus", assets=2)
    for tar in (tmp_path / "corpus" / "views").rglob("*.tar"):
        tar.unlink()
    with pytest.raises(FileNotFoundError):
        keys(tar_dataset(corpus, "views/orbit8"))
