"""A full disk, a read-only one, no Blender: one line each, exit code 1, and nothing lost that was done."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trimesh

from dataengine.corpus.corpus import Corpus

FULL = "the disk is full; free some space and run the same command again, what is done is kept"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte; only root can make one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("no permission to mount a small disk here")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    for i in range(3):
        trimesh.creation.icosphere(subdivisions=3, radius=1 + i).export(folder / f"{i}.glb")
    return folder


def run(*words: object, spool: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "dataengine", *map(str, words)]
    return subprocess.run(
        command,
        env={**os.environ, "DATAENGINE_SPOOL": str(spool), **env},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def plan(corpus: Path, models: Path, spool: Path) -> None:
    done = run("plan", corpus, "--source", f"local:{models}", "--resolution", 64, "--samples", 1, spool=spool)
    assert done.returncode == 0, done.stderr


def last_line(process: "subprocess.CompletedProcess[str]") -> str:
    assert "Traceback" not in process.stderr
    return process.stderr.strip().splitlines()[-1]


def test_a_corpus_on_a_full_disk_keeps_what_was_rendered(small_disk: Path, models: Path, tmp_path: Path) -> None:
    corpus, spool = small_disk / "corpus", tmp_path / "spool"
    plan(corpus, models, spool)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(950_000))
    full = run("render", corpus, "--shard", "all", spool=spool)
    assert full.returncode == 1
    assert FULL in last_line(full)
    assert Corpus.open(corpus).fragment("views/orbit8", 0) is None
    assert not list((corpus / "views/orbit8").glob("*"))
    finished = {f.name: f.stat().st_mtime_ns for f in spool.glob("*/*.tar")}
    assert len(finished) == 3
    filler.unlink()
    again = run("render", corpus, "--shard", "all", spool=spool)
    assert again.returncode == 0, again.stderr
    fragment = Corpus.open(corpus).fragment("views/orbit8", 0)
    assert fragment is not None and set(fragment.table["status"].to_pylist()) == {"ok"}


def test_a_spool_on_a_full_disk_is_named(small_disk: Path, models: Path, tmp_path: Path) -> None:
    plan(tmp_path / "corpus", models, small_disk)
    (small_disk / "filler").write_bytes(bytes(1_000_000))
    full = run("render", tmp_path / "corpus", "--shard", "all", spool=small_disk / "spool")
    assert full.returncode == 1
    assert FULL in last_line(full) and str(small_disk) in last_line(full)
    (small_disk / "filler").unlink()
    assert run("render", tmp_path / "corpus", "--shard", "all", spool=small_disk / "spool").returncode == 0


def test_a_read_only_folder_is_named(small_disk: Path, models: Path, tmp_path: Path) -> None:
    plan(small_disk / "corpus", models, tmp_path / "spool")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for words in (
        ("render", small_disk / "corpus", "--shard", "0"),
        ("plan", small_disk / "other", "--source", f"local:{models}"),
    ):
        refused = run(*words, spool=tmp_path / "spool")
        assert refused.returncode == 1
        assert "read-only" in last_line(refused) and str(small_disk) in last_line(refused)


def test_an_interpreter_without_blender_is_named(models: Path, tmp_path: Path) -> None:
    plan(tmp_path / "corpus", models, tmp_path / "spool")
    empty = tmp_path / "empty"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", empty], check=True)
    words = ("render", tmp_path / "corpus", "--shard", "0")
    refused = run(*words, spool=tmp_path / "spool", DATAENGINE_BLENDER_PYTHON=str(empty / "bin/python"))
    assert refused.returncode == 1
    assert "bpy" in last_line(refused) or "numpy" in last_line(refused)
    assert len([line for line in refused.stderr.splitlines() if "render: 3 assets" not in line]) == 1
