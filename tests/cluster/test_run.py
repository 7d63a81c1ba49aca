"""Ray nodes die, drivers die, Blenders hang and crash, shards fail: what ends on disk is what a plain loop makes."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import trimesh

from dataengine.corpus.config import Limits, RenderConfig
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.fragments import list_fragments
from dataengine.corpus.storage import Store
from dataengine.manifests.catalog import Catalog
from dataengine.render.view_sets import sets_of_words
from dataengine.stages.plan import plan_corpus
from dataengine.training.config import TrainConfig
from dataengine.training.trainer import train
from tests.cluster.tokenizer import write_weights
from tests.hub_server import Hub, running
from tests.training.synthetic import make_corpus

# Ray leaves sockets to the collector when a node dies; the collector may come in any later test.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")

ASSETS = 8
NODE = {"num_cpus": 1, "memory": 8 << 30, "object_store_memory": 80 << 20}
# A hung Blender is found by the wall clock.
RENDER = RenderConfig(resolution=32, samples=1, rig="six_views", limits=Limits(wall_seconds=20))
VIEWS = "views/six_views"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for i in range(ASSETS - 1):
        mesh = trimesh.creation.icosphere(subdivisions=3, radius=1 + i)
        mesh.vertices *= np.random.default_rng(i).uniform(0.5, 1.5, mesh.vertices.shape)
        mesh.export(folder / f"{i}.glb")
    (folder / "broken.glb").write_bytes(b"glTF\x02\x00\x00\x00 and then nothing that makes sense")
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


class Runs:
    """Commands on one corpus, with a spool of its own."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.corpus = url or str(folder / "corpus")
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
        plan_corpus(self.corpus, sources=[f"local:{models}"], render=RENDER, shard_size=2)

    def contents(self) -> dict[str, str]:
        """The fragments' hashes, which leave only volatile columns out, and every committed tar's."""
        corpus = Corpus.open(self.corpus)
        found = {}
        for stage in (VIEWS, "tokens/small"):
            for n in corpus.shards():
                fragment = corpus.fragment(stage, n)
                assert fragment is not None
                found[f"{stage} {n}"] = f"{fragment.sha256} {fragment.tar}"
                assert fragment.tar is None or corpus.store.exists(fragment.tar)
        return found

    def committed(self) -> int:
        return len(list_fragments(Store(self.corpus), VIEWS))


@pytest.fixture(scope="module")
def plain(models: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """What one process makes."""
    runs = Runs(tmp_path_factory.mktemp("plain"))
    runs.plan(models)
    runs.run("render", runs.corpus, "--shard", "all", "--workers", "2")
    runs.run("tokenize", runs.corpus, "--shard", "all", "--weights", str(weights))
    return runs


@pytest.fixture(scope="module")
def cluster(s3_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Ray cluster of two nodes, whose workers know the S3 server; a test that takes a node away adds one."""
    from ray.cluster_utils import Cluster

    assert s3_server
    # The nodes' workers inherit these.
    settings = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_metrics_report_interval_ms": "1000",
        "DATAENGINE_SPOOL": str(tmp_path_factory.mktemp("spool")),
        "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")),
        "OMP_NUM_THREADS": "1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        made = Cluster(initialize_head=True, head_node_args=NODE)
        made.add_node(**NODE)
        yield made
        made.shutdown()


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running(Hub()) as server:
        yield server


def blenders(seen: set[int] = set()) -> list[psutil.Process]:  # noqa: B006 - read only
    """The Blenders of this test's nodes, but for those already seen to."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.pid not in seen and any("start.py" in word for word in process.cmdline()):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def wait_until(condition: Callable[[], Any], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)


def metrics(cluster: Any) -> str:
    """What Prometheus would scrape from all nodes."""
    texts = []
    for node in cluster.list_all_nodes():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{node.metrics_export_port}/metrics", timeout=5) as answer:
                texts.append(answer.read().decode())
        except OSError:  # a node that has just come
            continue
    return "\n".join(texts)


def test_sets_of_a_corpus_are_rendered_together_and_tokenized_each(
    cluster: Any, models: Path, weights: Path, tmp_path: Path
) -> None:
    """Two view sets of three assets, of which one cannot be imported; then a third set, alone."""
    few = tmp_path / "few"
    few.mkdir()
    for name in ("0.glb", "1.glb", "broken.glb"):
        (few / name).write_bytes((models / name).read_bytes())
    runs = Runs(tmp_path)

    def plan(*words: str) -> None:
        sets = sets_of_words(words, {"resolution": 32, "samples": 1})
        plan_corpus(runs.corpus, sources=[f"local:{few}"], sets=sets, shard_size=2)

    def run(*more: str) -> str:
        words = (
            "--address",
            cluster.address,
            "--weights",
            str(weights),
            "--render-cpus",
            "1",
            "--gpu-per-tokenizer",
            "0",
        )
        return runs.run("run", runs.corpus, *words, *more)

    plan("six_views", "few=hammersley-2")
    run()
    counted = (
        "SELECT stage, shards_done FROM (SELECT stage, count(*) AS shards_done FROM current_fragments GROUP BY stage)"
    )
    first = dict(Catalog(runs.corpus).sql(counted).fetchall())
    assert first == {
        "views/six_views": 2, "views/few": 2, "tokens/six_views-small-32": 2, "tokens/few-small-32": 2,
    }  # fmt: skip
    finished = "SELECT view_set, uid, finished_at FROM renders WHERE finished_at IS NOT NULL ORDER BY ALL"
    before = Catalog(runs.corpus).sql(finished).fetchall()
    plan("one=hammersley-1")
    said = " ".join(run("--stages", "render", "--views", "one", "--sandbox", "landlock").split())
    assert said.count("sandbox (Landlock alone) confines") == 1 and "NOT in force: system calls: open" in said
    after = Catalog(runs.corpus).sql(finished).fetchall()
    assert [row for row in after if row[0] != "one"] == before and len(after) == len(before) + 3
    failed = Catalog(runs.corpus).sql("SELECT stage, error FROM failures ORDER BY ALL").fetchall()
    assert failed == [(f"views/{name}", "MALFORMED") for name in ("few", "one", "six_views")]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nodes_drivers_and_blenders_die_and_nothing_shows(
    models: Path, weights: Path, plain: Runs, tmp_path: Path, cluster: Any
) -> None:
    runs = Runs(tmp_path)
    runs.plan(models)
    words = ("run", runs.corpus, "--weights", str(weights), "--address", cluster.address, "--render-cpus", "1")

    # A Blender hangs, another crashes, and a node goes with what it has begun.
    doomed = cluster.add_node(**NODE)
    driver = runs.start(*words)
    wait_until(lambda: len(blenders()) >= 2)
    hung, crashed, *_ = blenders()
    hung.send_signal(signal.SIGSTOP)
    crashed.send_signal(signal.SIGSEGV)
    wait_until(lambda: runs.committed() >= 1 or driver.poll() is not None)
    cluster.remove_node(doomed, allow_graceful=False)

    # The driver is killed, started again, and killed again with Blenders at work.
    for _ in range(2):
        driver.send_signal(signal.SIGKILL)
        driver.communicate()
        seen = {process.pid for process in blenders()}
        driver = runs.start(*words)
        wait_until(lambda seen=seen, driver=driver: blenders(seen) or driver.poll() is not None)  # type: ignore[misc]
    driver.send_signal(signal.SIGKILL)
    driver.communicate()

    with suppress(psutil.NoSuchProcess):
        hung.kill()  # its worker may be gone, and a stopped process cannot be told to end

    # Two at once do no harm.
    both = [runs.start(*words) for _ in range(2)]
    scraped: list[str] = []

    def exported() -> bool:
        scraped.append(metrics(cluster))
        ended = all(driver.poll() is not None for driver in both)
        return ended or all(f"ray_dataengine_{name}" in scraped[-1] for name in ("shards{", "done_total{"))

    wait_until(exported)
    for driver in both:
        output, _ = driver.communicate(timeout=300)
        assert driver.returncode == 0, output
        assert "set aside" not in output
    assert "ray_dataengine_shards{" in scraped[-1], scraped[-1]
    assert "ray_dataengine_done_total{" in scraped[-1], scraped[-1]
    assert runs.contents() == plain.contents()
    assert "all as written" in runs.run("verify", runs.corpus)

    # Nothing is left to do, and it says so at once; then the trainer gets the finished shards.
    output = runs.run(*words, "--stages", "fetch,render,tokenize,train", "--train", "steps=2", "--train", "batch=2")
    assert f"fetch: 0 shards fetched\n{VIEWS}: 0 shards committed\ntokens/small: 0 shards committed\n" in output
    assert f"train: finished at step 2: {runs.corpus}/run/pretrain/checkpoints/00000002" in output


@pytest.mark.slow
def test_a_bucket_ends_with_what_a_folder_has(
    models: Path, weights: Path, plain: Runs, tmp_path: Path, cluster: Any, s3_url: str
) -> None:
    runs = Runs(tmp_path, s3_url)
    runs.plan(models)
    words = ("run", s3_url, "--weights", str(weights), "--address", cluster.address)
    assert "fetch: 4 shards fetched" in runs.run(*words, "--stages", "fetch,render,tokenize")
    assert runs.contents() == plain.contents()


@pytest.mark.slow
def test_the_nodes_download_what_they_render(models: Path, tmp_path: Path, cluster: Any, hub: Hub) -> None:
    lines = ["uri,licence", f"{hub.url}/gone.glb,cc0"]
    for i in range(3):
        hub.files[f"/{i}.glb"] = (models / f"{i}.glb").read_bytes()
        lines.append(f"{hub.url}/{i}.glb,by")
    hub.faults["/1.glb"] = ["500", "cut"]
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    runs = Runs(tmp_path)
    plan_corpus(runs.corpus, sources=[f"csv:{tmp_path / 'list.csv'}"], render=RENDER, shard_size=2)
    words = ("run", runs.corpus, "--stages", "fetch,render", "--address", cluster.address)
    output = runs.run(*words, "--allow-private")
    assert f"fetch: 2 shards fetched\n{VIEWS}: 2 shards committed" in output
    assert {n: hub.whole[f"/{n}.glb"] for n in range(3)} == {0: 1, 1: 0, 2: 1}  # 1 came in two pieces
    found = Catalog(runs.corpus).sql("SELECT uri, status, error FROM assets ORDER BY uri").fetchall()
    ok = [(f"{hub.url}/{i}.glb", "ok", None) for i in range(3)]
    assert found == [*ok, (f"{hub.url}/gone.glb", "failed", "FETCH_404")]


@pytest.mark.slow
def test_ranks_on_ray_train_what_one_process_does_and_go_on_after_a_kill(tmp_path: Path, cluster: Any) -> None:
    runs = Runs(tmp_path)
    make_corpus(Path(runs.corpus))
    config = {"stage": "i2mv", "tokenizer": "toy", "batch": 8, "steps": 16, "checkpoint_every": 4, "device": "cpu"}
    torch.set_num_threads(1)
    train(TrainConfig(run=tmp_path / "plain", corpus=runs.corpus, **config))  # type: ignore[arg-type]
    words = [word for key, value in config.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    on_ray = ("train", str(tmp_path / "ray"), runs.corpus, *words, "--ray", "--address", cluster.address)
    driver = runs.start(*on_ray, "--ranks", "2")
    wait_until(lambda: len(curve(tmp_path / "ray")) >= 6 or driver.poll() is not None)
    for process in psutil.Process().children(recursive=True):
        if "RayTrainWorker" in process.name() or any("RayTrainWorker" in word for word in process.cmdline()):
            process.kill()
            break
    output, _ = driver.communicate(timeout=200)
    assert driver.returncode == 0, output
    assert "going on from the last checkpoint" in output
    assert "finished at step 16" in output
    assert [m["samples"] for m in curve(tmp_path / "ray")] == [m["samples"] for m in curve(tmp_path / "plain")]
    losses = [[m["loss"] for m in curve(tmp_path / name)] for name in ("plain", "ray")]
    assert np.allclose(*losses, rtol=0, atol=1e-4)
    empty = runs.run(*on_ray, "--where", "licence = 'mit'", code=2)
    assert "error: no sample of split 'train' matches --where" in empty


def curve(run: Path) -> list[dict[str, Any]]:
    file = run / "i2mv" / "metrics.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_a_shard_that_cannot_be_made_is_set_aside_with_its_reason(models: Path, tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    runs.plan(models)
    (tmp_path / "spool").write_bytes(b"a file where the folder should be")
    words = ("run", runs.corpus, "--stages", "render", "--address", "local", "--retries", "0")
    output = runs.run(*words, code=1)
    assert "not a folder" in output
    assert "shards are not done; the same command tries them again" in output.replace("\n", " ")
