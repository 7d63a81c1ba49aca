import os
import pickle
import shutil
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from dataengine.corpus.corpus import Corpus
from dataengine.corpus.fragments import fragment_name
from dataengine.errors import DataengineError, UsageError
from dataengine.manifests.catalog import Catalog
from dataengine.manifests.compact import compact
from dataengine.training.data.index import SampleIndex, build_index
from dataengine.training.data.stream import Batch, Reader, Stream, StreamState
from tests.training.conftest import index_of
from tests.training.synthetic import make_corpus, orbit_cameras, plain_tokens, uid_of


def take(index: Any, count: int, **options: Any) -> list[Batch]:
    stream = Stream(index, **{"batch_size": 6, "width": 5, **options})
    try:
        return [batch.clone() for batch in islice(stream, count)]
    finally:
        stream.close()


def same(a: Batch, b: Batch) -> bool:
    return (
        torch.equal(a.tokens, b.tokens)
        and torch.equal(a.cameras, b.cameras)
        and torch.equal(a.uniforms, b.uniforms)
        and a.captions == b.captions
        and a.state == b.state
    )


def test_samples_arrive_whole(corpus: Corpus) -> None:
    index = index_of(corpus, split="train")
    assert len(index) == 36
    assert index.nbytes == 12 * len(index)
    numbers = {uid_of(i): i for i in range(40)}
    reader = Reader(index)
    for batch in take(index, 12):
        assert batch.tokens.dtype == torch.int64
        for k, uid in enumerate(reader.uids(batch.rows)):
            i = numbers[uid]
            assert np.array_equal(batch.tokens[k].numpy(), plain_tokens(i))
            assert np.array_equal(batch.cameras[k].numpy(), orbit_cameras(4, 48))
            assert batch.captions[k] == (f"thing {i}" if i % 5 else "")


def test_a_sample_has_its_uid(index: SampleIndex) -> None:
    for batch in take(index, 3):
        assert batch.uids == Reader(index).uids(batch.rows) and len(set(batch.uids)) == 6


@pytest.mark.parametrize("workers", [0, 2])
def test_a_torch_loader_gives_the_same_batches(index: SampleIndex, workers: int) -> None:
    alone = take(index, 9, seed=3, state=StreamState(0, 12))
    stream = Stream(index, batch_size=6, width=5, seed=3, state=StreamState(0, 12), ahead=workers > 0)
    loader = DataLoader(stream, batch_size=None, num_workers=workers)
    found = [batch.clone() for batch in islice(loader, 9)]
    stream.close()
    assert all(same(a, b) and a.uids == b.uids for a, b in zip(alone, found, strict=True))


def test_a_pickled_stream_goes_on(index: SampleIndex) -> None:
    stream = Stream(index, batch_size=6, seed=3)
    for _ in range(4):
        next(stream)
    again = pickle.loads(pickle.dumps(stream))
    assert all(same(next(stream), next(again)) for _ in range(5))
    stream.close()
    again.close()


def test_an_epoch_has_every_sample_once_across_batch_borders(index: SampleIndex) -> None:
    rows = np.concatenate([b.rows for b in take(index, 20)])  # 120 samples of 40
    for epoch in range(3):
        assert sorted(rows[40 * epoch : 40 * (epoch + 1)]) == list(range(40))


def test_selection_by_sql(corpus: Corpus) -> None:
    assert len(index_of(corpus, where="licence = 'cc0-1.0' and caption like 'thing 1%'")) == 5
    assert len(index_of(corpus, split="val")) == 4
    with pytest.raises(UsageError, match="no sample matches --where \"licence = 'none'\""):
        index_of(corpus, where="licence = 'none'")
    with pytest.raises(UsageError, match="nonsense"):
        index_of(corpus, where="nonsense > 3")
    with pytest.raises(UsageError, match="no tokens of 'magvit' \\(it has toy\\)"):
        build_index(Catalog(corpus), "magvit")
    with pytest.raises(UsageError, match="no sample of split 'test'"):
        index_of(corpus, split="test")
    with pytest.raises(UsageError, match="no split 'training'"):
        index_of(corpus, split="training")


def test_samples_of_two_shapes_are_refused(tmp_path: Path) -> None:
    mixed = make_corpus(tmp_path, 4, 2, tokens=lambda i: np.zeros((4, 2, 3 if i < 2 else 200), np.uint8))
    with pytest.raises(UsageError, match="2 of 4 views of 2×3, 2 of 4 views of 2×200"):
        index_of(mixed)
    assert len(index_of(mixed, where="grid[2] = 3")) == 2


@pytest.mark.parametrize("shift", [1, None])
def test_samples_that_are_not_at_a_tars_blocks_are_refused(tmp_path: Path, shift: int | None) -> None:
    corpus = make_corpus(tmp_path, 4, 4)
    file = tmp_path / fragment_name("tokens/toy", 0)
    table = pq.read_table(file)
    for name in ("tokens_offset", "cameras_offset"):
        moved = pc.add(table[name], pa.scalar(shift, pa.int64()))
        table = table.set_column(table.schema.get_field_index(name), name, moved)
    file.chmod(0o644)
    pq.write_table(table, file)
    with pytest.raises(DataengineError, match=f"{tmp_path} names samples that do not begin at a tar's blocks"):
        index_of(corpus)


def test_the_index_is_the_same_whether_the_corpus_is_compacted_or_not(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, 40, 4)
    plain = index_of(corpus)
    compact(corpus, assets_per_file=12)
    # A shard of the first file is committed again: its rows come from its fragment now.
    fragment = tmp_path / fragment_name("tokens/toy", 1)
    os.utime(fragment, (1, 1))
    catalog = Catalog(corpus)
    pieces = [rows["shard"].unique().to_pylist() for rows in catalog.by_shards("SELECT shard FROM samples")]
    assert [sorted(shards) for shards in pieces] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    pieced = build_index(catalog, "toy")
    assert pieced.tars == plain.tars
    for name in ("counts", "shard", "block", "caption_size"):
        assert np.array_equal(getattr(pieced, name), getattr(plain, name))
    for name in ("tokens_at", "cameras_at", "caption_at", "tokens_layout", "cameras_layout"):
        assert getattr(pieced, name) == getattr(plain, name)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), stop=st.integers(1, 15), batch=st.sampled_from([2, 6, 10, 64]))
def test_a_resumed_stream_continues_exactly(index: SampleIndex, seed: int, stop: int, batch: int) -> None:
    whole = take(index, stop + 3, seed=seed, batch_size=batch)
    rest = take(index, 3, seed=seed, batch_size=batch, state=whole[stop - 1].state)
    assert all(same(a, b) for a, b in zip(whole[stop:], rest, strict=True))


@settings(max_examples=10, deadline=None)
@given(ranks=st.sampled_from([2, 3, 6]), seed=st.integers(0, 2**31), window=st.sampled_from([None, 2]))
def test_any_number_of_ranks_sees_the_same_global_batches(
    index: SampleIndex, ranks: int, seed: int, window: int | None
) -> None:
    alone = take(index, 9, seed=seed, window=window)
    parts = [take(index, 9, seed=seed, window=window, rank=r, ranks=ranks) for r in range(ranks)]
    for i, batch in enumerate(alone):
        assert torch.equal(batch.tokens, torch.cat([p[i].tokens for p in parts]))
        assert torch.equal(batch.uniforms, torch.cat([p[i].uniforms for p in parts]))
        assert batch.captions == [c for p in parts for c in p[i].captions]
        assert all(p[i].state == batch.state for p in parts)


def test_the_first_random_number_is_stratified(index: SampleIndex) -> None:
    for batch in take(index, 5):
        values = np.sort(batch.uniforms[:, 0].numpy())
        assert np.allclose(np.diff(values), 1 / 6, atol=1e-6)


def test_a_thread_ahead_changes_nothing(index: SampleIndex) -> None:
    assert all(same(a, b) for a, b in zip(take(index, 20), take(index, 20, ahead=True), strict=True))


def test_state_counts_epochs(index: SampleIndex) -> None:
    states = [b.state for b in take(index, 8)]
    assert states[5:] == [StreamState(0, 36), StreamState(1, 2), StreamState(1, 8)]


@pytest.mark.parametrize("ahead", [False, True])
def test_buffers_are_reused_but_live_long_enough(index: SampleIndex, ahead: bool) -> None:
    stream = Stream(index, batch_size=6, ahead=ahead)
    seen = set()
    previous: tuple[torch.Tensor, torch.Tensor] | None = None
    for batch in islice(stream, 30):
        if previous is not None:
            assert torch.equal(*previous)
        previous = batch.tokens, batch.tokens.clone()
        seen.add(batch.tokens.data_ptr())
    stream.close()
    assert len(seen) < 8


def test_a_batch_must_be_divisible_by_the_ranks(index: SampleIndex) -> None:
    with pytest.raises(UsageError, match="a batch of 6 cannot be divided among 4 ranks"):
        Stream(index, batch_size=6, ranks=4)


def damage(tar: Path, how: str) -> None:
    if how == "vanished":
        tar.unlink()
    elif how == "cut":
        os.truncate(tar, 700)
    elif how == "flipped":
        content = bytearray(tar.read_bytes())
        content[-2000] ^= 1
        tar.chmod(0o644)
        tar.write_bytes(content)


@pytest.mark.parametrize("how", ["vanished", "cut", "flipped"])
@pytest.mark.parametrize(("url", "ahead"), [("", False), ("", True), ("memory", True)])
def test_a_shard_that_is_not_the_manifests_is_named_by_its_hash(
    tmp_path: Path, how: str, url: str, ahead: bool
) -> None:
    corpus = make_corpus(tmp_path / "c", 8, 4)
    index = index_of(corpus)
    victim = tmp_path / "c" / index.tars[1]
    damage(victim, how)
    if url:
        index = remote(index, tmp_path / "c")
    digest = index.tars[1].rsplit("-", 1)[1][:16]
    words = "is not there" if how == "vanished" else "has changed"
    stream = Stream(index, batch_size=8, ahead=ahead, cache=tmp_path / "cache")
    with pytest.raises(DataengineError, match=f"{index.tars[1]}.*") as caught:
        next(stream)
    assert digest in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize("how", ["vanished", "cut"])
def test_the_first_shard_is_named_by_its_hash_too(tmp_path: Path, how: str) -> None:
    corpus = make_corpus(tmp_path, 8, 4)
    tar = index_of(corpus).tars[0]
    damage(tmp_path / tar, how)
    with pytest.raises(DataengineError, match=f"{tar}.*SHA-256 {tar.rsplit('-', 1)[1][:16]}"):
        index_of(corpus)


def test_a_file_cut_while_it_is_read_is_an_error_and_no_crash(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, 4, 4)
    index = index_of(corpus)
    reader = Reader(index)
    reader.batch(np.arange(4))
    damage(tmp_path / index.tars[0], "cut")
    time.sleep(0.06)  # sizes are compared every 50 ms
    with pytest.raises(DataengineError, match="has changed"):
        reader.batch(np.arange(4))
    reader.close()


def remote(index: Any, folder: Path) -> Any:
    """The same index over a store that is not a local disk."""
    from dataclasses import replace

    import fsspec

    from dataengine.corpus.storage import Store

    fs = fsspec.filesystem("memory")
    fs.store.clear()
    store = Store("memory://bucket")
    for tar in index.tars:
        if (folder / tar).exists():
            store.put(tar, (folder / tar).read_bytes())
    return replace(index, store=store)


def test_remote_shards_are_cached_whole_within_a_bound(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "c", 40, 4)
    index = index_of(corpus)
    local = take(index, 14)
    far = remote(index, tmp_path / "c")
    cache = tmp_path / "cache"
    size = (tmp_path / "c" / index.tars[0]).stat().st_size
    assert all(same(a, b) for a, b in zip(local, take(far, 14, cache=cache, cache_bytes=100 * size), strict=True))
    assert len(list(cache.glob("*.tar"))) == 10
    shutil.rmtree(cache)
    windowed = take(far, 14, cache=cache, cache_bytes=3 * size, window=2)
    assert all(same(a, b) for a, b in zip(take(index, 14, window=2), windowed, strict=True))
    assert 0 < sum(f.stat().st_size for f in cache.glob("*.tar")) <= 6 * size
