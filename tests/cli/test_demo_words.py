"""What the demo says at its end."""

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
