"""kill -9 in the middle of a shard: the same command again ends in the same bytes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from dataengine.tokenize import load
from dataengine.tokenize.device_tokenizer import DeviceTokenizer
from tests.token_corpus import make_corpus, tokenize_shard
from tests.tokenize.published import save_small


def test_a_killed_run_ends_in_the_same_tar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = make_corpus(tmp_path / "corpus", assets=60, shard_size=60, views=8, side=64)
    weights = save_small(tmp_path / "tiny.safetensors")
    spool = tmp_path / "spool"
    words = ["tokenize", corpus.url, "--shard", "0", "--weights", str(weights), "--device", "cpu"]
    environment = {**os.environ, "DATAENGINE_SPOOL": str(spool), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "dataengine", *words], env=environment, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list(spool.glob("*/*.tar"))) < 5:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = len(list(spool.glob("*/*.tar")))
    assert 5 <= kept < 59
    assert corpus.fragment("tokens/small", 0) is None

    monkeypatch.setenv("DATAENGINE_SPOOL", str(spool))
    compute = DeviceTokenizer(load("small", weights), torch.device("cpu"))
    resumed = tokenize_shard(corpus, 0, compute)
    tar = corpus.store.read(str(resumed.tar))

    corpus.store.delete("tokens/small/00000.parquet")
    corpus.store.delete(str(resumed.tar))
    whole = tokenize_shard(corpus, 0, compute)
    assert whole.sha256 == resumed.sha256
    assert corpus.store.read(str(whole.tar)) == tar
