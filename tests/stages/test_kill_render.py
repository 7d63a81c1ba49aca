"""kill -9 of the driver or of a Blender, at any moment: the same command again ends in the same bytes."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import trimesh

from dataengine.corpus.corpus import Corpus
from dataengine.stages.spool import ROW, Spool

MOMENTS = 10
ASSETS = 9


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine small solids, of which one is no GLB at all."""
    folder = tmp_path_factory.mktemp("models")
    for i in range(ASSETS - 1):
        mesh = trimesh.creation.icosphere(subdivisions=4, radius=1 + i)
        mesh.vertices *= np.random.default_rng(i).uniform(0.5, 1.5, mesh.vertices.shape)
        mesh.export(folder / f"{i}.glb")
    (folder / "broken.glb").write_bytes(b"glTF\x02\x00\x00\x00 and then nothing that makes sense")
    return folder


class Runs:
    """Commands on one corpus, with a spool of its own."""

    def __init__(self, folder: Path) -> None:
        self.corpus = folder / "corpus"
        self.env = {**os.environ, "DATAENGINE_SPOOL": str(folder / "spool")}

    def start(self, *words: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "dataengine", *words]
        return subprocess.Popen(
            command, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )

    def run(self, *words: str) -> None:
        process = self.start(*words)
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors.decode()

    def plan(self, models: Path) -> None:
        self.run(
            "plan", str(self.corpus), "--source", f"local:{models}",
            "--resolution", "64", "--samples", "4", "--shard-size", "4",
        )  # fmt: skip

    def render(self, *more: str) -> None:
        self.run("render", str(self.corpus), "--shard", "all", "--workers", "2", *more)

    def start_render(self, *more: str) -> "subprocess.Popen[bytes]":
        return self.start("render", str(self.corpus), "--shard", "all", "--workers", "2", *more)

    def contents(self) -> tuple[dict[str, bytes], dict[int, str]]:
        """The committed tars' bytes by name, and the fragments' hashes without their volatile columns."""
        corpus = Corpus.open(self.corpus)
        fragments = {n: f for n in corpus.shards() if (f := corpus.fragment("views/orbit8", n))}
        tars = {f.tar: (self.corpus / f.tar).read_bytes() for f in fragments.values() if f.tar}
        return tars, {n: f.sha256 for n, f in fragments.items()}

    def spooled(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
        """When each asset in the spool was finished, by uid."""
        monkeypatch.setenv("DATAENGINE_SPOOL", self.env["DATAENGINE_SPOOL"])
        root = Path(self.env["DATAENGINE_SPOOL"])
        found = {}
        for file in root.glob("*/*.tar"):
            result = Spool(file.parent.name).get(file.stem)
            assert result is not None, f"{file} is torn; {ROW} cannot be read"
            found[file.stem] = result.row["finished_at"]
        return found


@pytest.fixture(scope="module")
def undisturbed(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    runs = Runs(tmp_path_factory.mktemp("undisturbed"))
    runs.plan(models)
    runs.render()
    return runs


def blenders(driver: int) -> list[psutil.Process]:
    found = []
    for process in psutil.Process(driver).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie too: it ended while we looked
            if "start.py" in " ".join(process.cmdline()):
                found.append(process)
    return found


@pytest.mark.slow
def test_kills_at_random_moments_change_nothing(
    models: Path, undisturbed: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Runs(tmp_path)
    runs.plan(models)
    chance = random.Random(0)
    finished: dict[str, object] = {}
    for moment in range(MOMENTS):
        process = runs.start_render()
        time.sleep(chance.uniform(1.0, 4.0))
        if moment % 2 and process.poll() is None:
            for victim in blenders(process.pid)[:1]:
                with contextlib.suppress(psutil.NoSuchProcess):  # ended by itself
                    victim.send_signal(signal.SIGKILL)
            time.sleep(chance.uniform(0.0, 1.0))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        for uid, when in runs.spooled(monkeypatch).items():
            assert finished.setdefault(uid, when) == when, "a finished asset was rendered again"
    runs.render()
    assert runs.contents() == undisturbed.contents()
    rows = {
        r["uid"]: r["finished_at"]
        for n in Corpus.open(runs.corpus).shards()
        for r in Corpus.open(runs.corpus).fragment("views/orbit8", n).table.to_pylist()  # type: ignore[union-attr]
    }
    assert all(rows[uid] == when for uid, when in finished.items()), "a finished asset was rendered again"


@pytest.mark.slow
def test_a_kill_in_the_middle_of_a_retry_changes_nothing(models: Path, undisturbed: Runs, tmp_path: Path) -> None:
    """Two assets fail because their file is away; it comes back, and the retry is killed again and again."""
    away = tmp_path / "away"
    away.mkdir()
    lost = sorted(models.glob("?.glb"))[:2]
    runs = Runs(tmp_path)
    runs.plan(models)
    for file in lost:
        file.rename(away / file.name)
    try:
        runs.render()
    finally:
        for file in lost:
            (away / file.name).rename(file)
    failed = [r for n in range(3) for r in Corpus.open(runs.corpus).fragment("views/orbit8", n).table.to_pylist()]  # type: ignore[union-attr]
    assert sorted(r["error"] for r in failed if r["status"] == "failed") == ["FETCH_404", "FETCH_404", "MALFORMED"]
    for seconds in (1.2, 1.8, 2.4):
        process = runs.start_render("--retry")
        time.sleep(seconds)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    runs.render("--retry")
    assert runs.contents() == undisturbed.contents()
