"""scripts/corpora.sh, with packages in small that stand-ins of apt-get and npm hand out."""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests import asset_files as files
from tests.sources.test_sweet_home_3d import HEAD, TERMS, entry, library

SCRIPT = Path(__file__).parents[1] / "scripts" / "corpora.sh"


def corpora(tmp_path: Path, *words: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PATH": path or f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "MODELS": str(tmp_path / "models"),
        "DATAENGINE": str(Path(sys.executable).with_name("dataengine")),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    return subprocess.run([SCRIPT, *words], env=environment, capture_output=True, text=True, check=False)


def stand_in(tmp_path: Path, command: str, script: str) -> None:
    (tmp_path / "bin").mkdir(exist_ok=True)
    (tmp_path / "bin" / command).write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "bin" / command).chmod(0o755)


def planned(corpus: Path) -> list[dict[str, Any]]:
    return sorted(pq.read_table(corpus / "plan/assets.parquet").to_pylist(), key=lambda r: r["uri"])


def test_controllers(tmp_path: Path) -> None:
    package = tmp_path / "package"
    names = ("htc-vive/none", "oculus-touch/left", "oculus-touch/right", "oculus-touch-v2/left")
    for i, name in enumerate(names):
        file = package / "dist/profiles" / f"{name}.glb"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(files.glb(i + 1))
    with tarfile.open(tmp_path / "assets.tgz", "w:gz") as tar:
        tar.add(package, "package")
    stand_in(tmp_path, "npm", f'[ "$*" = "pack --silent @webxr-input-profiles/assets" ] && cp {tmp_path}/assets.tgz .')
    for _ in range(2):  # the second time the models are there
        done = corpora(tmp_path, "controllers", str(tmp_path / "c"), "--resolution", "64")
        assert done.returncode == 0, done.stderr
        stand_in(tmp_path, "npm", "exit 1")
    vive, newer, left, right = planned(tmp_path / "c")
    assert {r["licence"] for r in (vive, newer, left, right)} == {"mit"}
    assert left["title"] == "oculus touch controller, left"
    assert left["caption"] == "oculus touch controller for the left hand"
    assert "Amazon" in left["attribution"]
    assert left["group_id"] == right["group_id"] == newer["group_id"] != vive["group_id"]


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb to build the package with")
def test_furniture(tmp_path: Path) -> None:
    furniture = tmp_path / "root/usr/share/sweethome3d/furniture"
    furniture.mkdir(parents=True)
    library(furniture / "T.sh3f", HEAD + entry(1, "/t/a/a.obj", name="Bed"), {"t/a/a.obj": 1.0}, LICENSE=TERMS)
    (tmp_path / "root/DEBIAN").mkdir()
    control = "Package: sweethome3d-furniture\nVersion: 1\nArchitecture: all\nMaintainer: A <a@b.c>\nDescription: x\n"
    (tmp_path / "root/DEBIAN/control").write_text(control)
    subprocess.run(["dpkg-deb", "-b", tmp_path / "root", tmp_path / "f.deb"], check=True, capture_output=True)
    stand_in(tmp_path, "apt-get", f'[ "$*" = "download -q sweethome3d-furniture" ] && cp {tmp_path}/f.deb .')
    done = corpora(tmp_path, "furniture", str(tmp_path / "c"))
    assert done.returncode == 0, done.stderr
    (row,) = planned(tmp_path / "c")
    assert (row["title"], row["licence"]) == ("Bed", "cc-by-3.0")
    assert row["uri"] == f"zip://t/a/a.obj::{tmp_path}/models/furniture/T.sh3f"


def test_what_is_missing_is_one_line_and_leaves_nothing_behind(tmp_path: Path) -> None:
    stand_in(tmp_path, "apt-get", "echo 'E: Unable to locate package' >&2; exit 100")
    done = corpora(tmp_path, "furniture", str(tmp_path / "c"))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "'apt-get update' refreshes its lists): E: Unable to locate package" in done.stderr
    assert not any((tmp_path / "models").iterdir())
    (tmp_path / "few").mkdir()
    for tool in ("bash", "env", "dirname", "mkdir", "mktemp", "rm"):
        (tmp_path / "few" / tool).symlink_to(str(shutil.which(tool)))
    done = corpora(tmp_path, "controllers", str(tmp_path / "c"), path=str(tmp_path / "few"))
    assert done.returncode == 1
    assert done.stderr == "corpora: npm is not here; it comes with Node.js: 'apt-get install npm'\n"
    assert corpora(tmp_path, "chairs", "c").stderr == (
        "corpora: no corpus is called chairs; furniture, controllers and generated are\n"
    )
    assert corpora(tmp_path, "furniture").returncode == 2
