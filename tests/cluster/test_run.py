"""Ray nodes die, drivers die, shards fail: what ends on disk is what a plain loop makes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from safetensors.torch import save_file

from dataengine.corpus import Corpus
from dataengine.tokenize import build, load
from dataengine.tokenize.checkpoint import METADATA
from dataengine.tokenize.compute import Compute, pick_device
from dataengine.tokenize.stage import tokenize_shard

ASSETS = 8
NODE = {"num_cpus": 1, "memory": 8 << 30, "object_store_memory": 80 << 20}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for i in range(ASSETS - 1):
        mesh = trimesh.creation.icosphere(subdivisions=3, radius=1 + i)
        mesh.vertices *= np.random.default_rng(i).uniform(0.5, 1.5, mesh.vertices.shape)
        mesh.export(folder / f"{i}.glb")
    (folder / "broken.glb").write_bytes(b"glTF\x02\x00\x00\x00 and then nothing that makes sense")
    return folder


class Runs:
    """Commands on one corpus, with a spool of its own."""

    def __init__(self, folder: Path) -> None:
        self.corpus = folder / "corpus"
        self.env = {**os.environ, "DATAENGINE_SPOOL": str(folder / "spool"), "RAY_USAGE_STATS_ENABLED": "0"}

    def start(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "dataengine", *words],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words: str, code: int = 0) -> str:
        process = self.start(*words)
        output, _ = process.communicate(timeout=500)
        assert process.returncode == code, output
        return output

    def plan(self, models: Path) -> None:
        self.run(
            "plan", str(self.corpus), "--source", f"local:{models}",
            "--resolution", "32", "--samples", "1", "--rig", "six_views", "--shard-size", "2",
        )  # fmt: skip

    def contents(self) -> dict[str, str]:
        """The fragments' hashes, which leave only volatile columns out, and every committed tar's."""
        corpus = Corpus.open(self.corpus)
        found = {}
        for stage in ("views", "tokens/small"):
            for n in corpus.shards():
                fragment = corpus.fragment(stage, n)
                assert fragment is not None
                found[f"{stage} {n}"] = f"{fragment.sha256} {fragment.tar}"
                assert fragment.tar is None or (self.corpus / fragment.tar).exists()
        return found

    def committed(self) -> int:
        return len(list((self.corpus / "views").glob("*.parquet")))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Any]:
    """A Ray head; add nodes with add_node."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["DATAENGINE_SPOOL"] = str(tmp_path / "spool")  # the workers inherit it from their node
    made = Cluster(initialize_head=True, head_node_args=NODE)
    yield made
    made.shutdown()
    del os.environ["DATAENGINE_SPOOL"]


def add_node(cluster: Any) -> Any:
    return cluster.add_node(**NODE)


def wait_until(condition: Any, seconds: float = 400) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained tokenizer in miniature, as `tokenizer fit` would write it."""
    widths = {"ch": 8, "ch_mult": [1, 2], "num_res_blocks": 1, "z_channels": 4, "groups": 4, "patch": 4}
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(build("small", **widths).state_dict(), path, {METADATA: json.dumps({"widths": widths})})
    return path


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_node_and_the_driver_are_killed_and_nothing_shows(
    models: Path, weights: Path, tmp_path: Path, cluster: Any
) -> None:
    plain = Runs(tmp_path / "plain")
    plain.plan(models)
    plain.run("render", str(plain.corpus), "--shard", "all", "--workers", "2")
    corpus = Corpus.open(plain.corpus)
    compute = Compute(load("small", weights), pick_device("cpu"))
    for shard in corpus.shards():
        tokenize_shard(corpus, shard, compute)

    runs = Runs(tmp_path)
    runs.plan(models)
    doomed = add_node(cluster)
    words = ("run", str(runs.corpus), "--stages", "render,tokenize", "--weights", str(weights))
    words += ("--address", cluster.address, "--render-cpus", "1")
    driver = runs.start(*words)
    wait_until(lambda: runs.committed() >= 1 or driver.poll() is not None)
    cluster.remove_node(doomed, allow_graceful=False)
    add_node(cluster)
    time.sleep(1)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()

    output = runs.run(*words)
    assert "set aside" not in output
    assert runs.contents() == plain.contents()
    assert "all as written" in runs.run("verify", str(runs.corpus))
    assert "render: 0 shards committed" in runs.run(*words)  # nothing is left to do, and it says so at once


def test_a_shard_that_cannot_be_made_is_set_aside_with_its_reason(models: Path, tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    runs.plan(models)
    (tmp_path / "spool").write_bytes(b"a file where the folder should be")
    output = runs.run("run", str(runs.corpus), "--address", "local", "--retries", "0", code=1)
    assert "not a folder" in output
    assert "shards are not done; the same command tries them again" in output.replace("\n", " ")
