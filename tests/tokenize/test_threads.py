"""Neither the number of threads nor who calls at the same time changes what is encoded, decoded or measured."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from dataengine.tokenize.device_tokenizer import DeviceTokenizer
from tests.token_corpus import disc, make_corpus
from tests.tokenize.published import SMALL_TINY, filled, save_small


def test_a_shard_and_its_hash_are_the_same_with_1_2_and_4_threads(tmp_path: Path) -> None:
    weights = save_small(tmp_path / "tiny.safetensors")
    made = set()
    for threads in (1, 2, 4):
        corpus = make_corpus(tmp_path / f"corpus{threads}", assets=12, shard_size=12, views=8, side=64)
        words = ["tokenize", corpus.url, "--shard", "0", "--weights", str(weights), "--device", "cpu"]
        environment = {**os.environ, "DATAENGINE_SPOOL": str(tmp_path / "spool"), "OMP_NUM_THREADS": str(threads)}
        subprocess.run([sys.executable, "-m", "dataengine", *words], env=environment, check=True, capture_output=True)
        fragment = corpus.fragment("tokens/small", 0)
        assert fragment is not None
        made.add((fragment.sha256, corpus.store.read(str(fragment.tar))))
    assert len(made) == 1


@pytest.fixture(scope="module")
def compute() -> DeviceTokenizer:
    """Parts of two views, so that an asset's views are computed side by side."""
    return DeviceTokenizer(filled("small", **SMALL_TINY), torch.device("cpu"), pixels=2 * 64 * 64)


def test_many_callers_get_what_one_gets(compute: DeviceTokenizer) -> None:
    views = [np.stack([disc(64, 10 * n + v) for v in range(5)]) for n in range(8)]

    def round_trip(asset: np.ndarray) -> tuple[bytes, bytes, object]:
        codes = compute.encode(asset[..., :3])
        return (
            codes.numpy().tobytes(),
            compute.decode(codes).numpy().tobytes(),
            compute.check(asset[..., :3], asset[..., 3] > 0, codes),
        )

    alone = [round_trip(v) for v in views]
    with ThreadPoolExecutor(8) as callers:
        for _ in range(5):
            assert list(callers.map(round_trip, views)) == alone


def test_a_model_in_the_same_process_keeps_its_threads(compute: DeviceTokenizer) -> None:
    before = torch.get_num_threads()
    compute.encode(np.zeros((4, 64, 64, 3), np.uint8))
    assert torch.get_num_threads() == before
    with ThreadPoolExecutor(1) as later:
        assert later.submit(torch.get_num_threads).result() == before
