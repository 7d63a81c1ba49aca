"""The tutorial, walked block by block as it stands, and what else the pages say of the corpus that it makes."""

import contextlib
import doctest
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(sh|python|text)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LOOSELY = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def blocks_of(page: str, after: str) -> list[tuple[str, str]]:
    """(language, text) of each block below a heading of a page."""
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8").partition(f"\n## {after}\n")[2])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tutorial")


@pytest.fixture(scope="module")
def environment(folder: Path) -> dict[str, str]:
    """As after `. .venv/bin/activate`."""
    here = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "120", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **here, "DATAENGINE_SPOOL": str(folder / "spool"), "XDG_CACHE_HOME": str(folder / "cache")}


@pytest.fixture(scope="module")
def printed(folder: Path, environment: dict[str, str]) -> list[tuple[str, str]]:
    """(what the page says a block prints, what it printed), of each block that the page shows the output of."""
    pairs, output = [], ""
    python: dict[str, object] = {}  # one session, as a reader has it
    for language, text in blocks_of("docs/tutorial.md", "Ten models"):
        if language == "text":
            pairs.append((text, output))
        elif language == "sh":
            output = shell(text, folder, environment)
        else:
            with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()) as stream:
                exec(compile(text, "docs/tutorial.md", "exec"), python)
            output = stream.getvalue()
    return pairs


def shell(text: str, folder: Path, environment: dict[str, str]) -> str:
    """What a block prints, on both streams."""
    command = ["bash", "-euo", "pipefail", "-c", f"exec 2>&1\n{text}"]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}"
    return done.stdout


def test_the_tutorial_prints_what_it_shows(printed: list[tuple[str, str]]) -> None:
    assert len(printed) >= 6
    for said, output in printed:
        assert doctest.OutputChecker().check_output(said, output, LOOSELY), f"{said}\n--- but:\n{output}"
