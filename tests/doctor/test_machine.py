"""What the doctor finds, and what it says to do."""

import io
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from dataengine.cli import build
from dataengine.doctor import machine
from dataengine.report.checks import Check, print_checks

GOOD = [Check("python", "ok", "3.11")]
BAD = [*GOOD, Check("blender", "fail", "libX11.so.6 is missing", f"run as root: {machine.INSTALL} libx11-6")]


def test_this_machine_can_render(tmp_path: Path) -> None:
    checks = {check.name: check for check in machine.doctor(tmp_path)}
    assert {"python", "packages", "system libraries", "blender", "devices", "memory", "disk: corpus"} <= checks.keys()
    assert not [c for c in checks.values() if c.state == "fail"]
    assert checks["blender"].detail.startswith("4.5")
    assert any(name.startswith("sandbox: ") for name in checks)
    assert all(c.remedy for c in checks.values() if c.state != "ok")


def test_missing_libraries_become_one_line_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(machine.APT_PACKAGES, "libnowhere.so.6", "libnowhere6")
    monkeypatch.setitem(machine.APT_PACKAGES, "libneither.so.1", "libneither1")
    check = next(iter(machine._libraries()))
    assert check.state == "fail"
    assert check.remedy == "run as root: apt-get install -y --no-install-recommends libnowhere6 libneither1"


def test_a_blender_that_does_not_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATAENGINE_BLENDER_PYTHON", str(tmp_path / "no-python"))
    (check,) = machine._blender()
    assert check.state == "fail" and "no-python" in check.detail and check.remedy


def test_packages_outside_their_range(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["click>=99", "no-such-package", "rich>=1", 's3fs>=99; extra == "s3"']
    monkeypatch.setattr(machine, "_requirements", lambda: wanted)
    (check,) = machine._packages()
    assert check.state == "fail"
    assert "no-such-package is missing" in check.detail and "click" in check.detail
    assert "rich" not in check.detail and "s3fs" not in check.detail


def test_a_folder_that_is_not_there_yet_is_its_parents_disk(tmp_path: Path) -> None:
    assert machine._disk("disk", tmp_path / "not" / "there").state in ("ok", "warn")
    assert str(tmp_path / "not") in machine._disk("disk", tmp_path / "not").detail


def test_remedies_are_printed_whole() -> None:
    out = io.StringIO()
    print_checks(BAD, Console(file=out, width=60))
    assert f"blender: run as root: {machine.INSTALL} libx11-6" in out.getvalue()


@pytest.mark.parametrize(("checks", "code"), [(GOOD, 0), (BAD, 1)])
def test_the_exit_code(checks: list[Check], code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "doctor", lambda corpus: checks)
    assert CliRunner().invoke(build(), ["doctor"]).exit_code == code
