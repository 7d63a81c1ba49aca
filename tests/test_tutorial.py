"""The tutorial, walked block by block as it stands, and what else the pages say of the corpus that it makes."""

import base64
import contextlib
import doctest
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import dataengine
from tests.test_site import calls

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
    here = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "120"}
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


@pytest.mark.usefixtures("printed")
def test_the_notebook_has_the_outputs_that_it_gives(folder: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(ROOT / "docs" / "notebook.ipynb", as_version=4)
    copy = folder / "notebook.ipynb"
    nbformat.write(notebook, copy)
    script = [sys.executable, str(ROOT / "scripts" / "notebook.py"), str(folder), str(copy)]
    subprocess.run(script, check=True, timeout=120, capture_output=True)
    pictures = 0
    for old, new in zip(notebook.cells, nbformat.read(copy, as_version=4).cells, strict=True):
        for before, after in zip(old.get("outputs", ()), new.get("outputs", ()), strict=True):
            if "image/png" in before.get("data", {}):
                assert size_of(after.data["image/png"]) == size_of(before.data["image/png"])
                pictures += 1
            elif "varies" not in old.metadata.get("tags", ()):
                assert text_of(after) == text_of(before)
    assert pictures == 3


def text_of(output: Any) -> str:
    return output.text if output.output_type == "stream" else output.data["text/plain"]


def size_of(png: str) -> tuple[int, int]:
    return Image.open(io.BytesIO(base64.b64decode(png))).size


@pytest.mark.usefixtures("printed")
def test_the_queries_of_the_page_on_cost_answer(folder: Path) -> None:
    corpus = dataengine.open(folder / "corpus")
    queries = [words[-1] for page, words in calls() if page == "cost.md" and words[0] == "query"]
    (views,), (tokens,), outcomes = [corpus.sql(query).fetchall() for query in queries]
    (tar,) = (folder / "corpus/views/orbit8").glob("*.tar")
    assert views[:2] == ("orbit8", 10)
    assert views[5] == pytest.approx((tar.stat().st_size - 10240) / 1e5, abs=0.11)  # a tar ends in up to 10,240 zeros
    assert tokens[:2] == ("small", "orbit8")
    assert [row[:2] for row in outcomes] == [("ok", 10), ("MALFORMED", 1)]


def test_the_block_of_the_readme_is_the_tutorial_in_one_go() -> None:
    (block,) = [text for _, text in blocks_of("README.md", "Use") if "demo.models" in text]
    walked = "".join(text for language, text in blocks_of("docs/tutorial.md", "Ten models") if language == "sh")
    commands = [line.split("  #")[0].rstrip() for line in block.splitlines()]
    assert len(commands) >= 6 and all(command in walked.splitlines() for command in commands)


@pytest.mark.usefixtures("printed")
def test_the_python_of_the_readme_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAENGINE_SPOOL", str(folder / "spool"))
    (code,) = [text for language, text in blocks_of("README.md", "Use") if language == "python"]
    names: dict[str, Any] = {}
    with contextlib.chdir(folder):
        exec(compile(code, "README.md", "exec"), names)
    assert len(names["worst"]) == 3
    assert names["batch"].tokens.shape == (4, 8, 16, 16)
    assert names["sample"]["colour"].shape == (4, 3, 128, 128)


@pytest.mark.usefixtures("printed")
@pytest.mark.parametrize(
    ("page", "heading", "name", "shape"),
    [
        ("docs/howto/train.md", "Pixels", "colour", (2, 4, 3, 64, 64)),
        ("docs/howto/trainer.md", "Our tars", "depth", (128, 128)),
        ("docs/training.md", "What the loader promises", "batch", (256, 8, 16, 16)),
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves its tars open
def test_the_python_of_a_page_runs(folder: Path, page: str, heading: str, name: str, shape: tuple[int, ...]) -> None:
    code = next(text for language, text in blocks_of(page, heading) if language == "python")
    names: dict[str, Any] = {}
    with contextlib.chdir(folder):
        exec(compile(code, page, "exec"), names)
    assert getattr(names[name], "tokens", names[name]).shape == shape


@pytest.mark.usefixtures("printed")
def test_every_query_of_a_page_can_be_asked(folder: Path) -> None:
    corpus = dataengine.open(folder / "corpus")
    asked = 0
    for page, words in calls():
        if words[:1] == ["query"] and " " in words[-1] and ".parquet" not in words[-1]:
            try:
                corpus.sql(words[-1])
            except dataengine.UsageError as e:
                pytest.fail(f"{page}: {words[-1]}\n{e}")
            asked += 1
    assert asked > 10
