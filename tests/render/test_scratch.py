"""A scratch folder is its owner's from the moment that others can see it."""

import fcntl
import sys
from pathlib import Path
from typing import Any

import pytest

from dataengine.render import scratch
from dataengine.render.scratch import Scratch, remove_stale

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="audit events of fcntl")

SWEEPING: list[Path] = []
SWEPT: list[int] = []


def sweep_before_each_step(event: str, _: tuple[Any, ...]) -> None:
    """Another owner starts and removes what nobody holds: before each call of the system that a Scratch makes."""
    if SWEEPING and event in ("os.mkdir", "open", "fcntl.flock", "os.rename", "os.listdir"):
        base = SWEEPING.pop()
        SWEPT.append(remove_stale(base))
        SWEEPING.append(base)


def test_another_owners_sweep_removes_nothing_that_is_being_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "roomiest", lambda: tmp_path)
    sys.addaudithook(sweep_before_each_step)  # cannot be taken away again: it does nothing while SWEEPING is empty
    SWEEPING.append(tmp_path)
    mine = Scratch()
    SWEEPING.clear()
    assert len(SWEPT) > 3
    (mine.path / "worker0").mkdir()
    assert remove_stale(tmp_path) == 0
    with (mine.path / scratch.LOCK).open() as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    mine.close()
    assert list(tmp_path.iterdir()) == []
