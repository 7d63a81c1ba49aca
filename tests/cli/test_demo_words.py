"""What the demo says at its end."""

import subprocess
import sys
from pathlib import Path

import pytest

from dataengine.cli.machine import activation


def test_a_shell_without_the_environment_is_told_how_to_enter_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / ".venv" / "bin" / "activate"
    script.parent.mkdir(parents=True)
    script.touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    monkeypatch.setenv("PATH", "/usr/bin")
    assert "`. .venv/bin/activate`" in activation()
    program = script.with_name("dataengine")
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    assert activation() == ""


def test_models_to_practise_with_are_a_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dataengine.demo.models"]
    done = subprocess.run([*command, str(tmp_path / "models"), "2"], check=True, capture_output=True, text=True)
    assert done.stdout == f"2 models in {tmp_path / 'models'}\n"
    assert len(list((tmp_path / "models").glob("*.glb"))) == 2
    done = subprocess.run([*command, "models"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr == "usage: python -m dataengine.demo.models FOLDER COUNT\n"
