"""What the tests of the field's files share: one Blender, and files that only Blender can write."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataengine.corpus.config import Limits
from dataengine.render.pool import BlenderPool


@pytest.fixture(scope="session")
def blender(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlenderPool]:
    """One Blender process that may read every test's folder."""
    with BlenderPool(Limits(cpu_seconds=60), readable=[tmp_path_factory.getbasetemp()]) as pool:
        yield pool


@pytest.fixture(scope="session")
def authored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of .blend and .fbx files, see authored.py."""
    folder = tmp_path_factory.mktemp("authored")
    script = Path(__file__).with_name("authored.py")
    subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True, timeout=120)
    return folder
