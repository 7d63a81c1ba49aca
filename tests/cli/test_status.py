"""`status` for programs, and again and again."""

import json
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner

from dataengine.cli import build
from dataengine.manifests.status import StageStatus
from tests.synthetic import make_corpus

PAGE = (Path(__file__).parents[2] / "docs/operations.md").read_text(encoding="utf-8")


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DATAENGINE_SPOOL", str(tmp_path / "spool"))
    return make_corpus(tmp_path / "corpus", 18, views=[0, 1, 2], duplicates=2).url


def test_json_has_the_keys_of_the_page(corpus: str) -> None:
    done = CliRunner().invoke(build(), ["status", corpus, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["url"], found["planned"], found["duplicates"]) == (corpus, 18, 2)
    (views,) = found["stages"]
    assert set(views) == {f.name for f in fields(StageStatus)}
    assert (views["stage"], views["assets_ok"], views["assets_failed"], views["assets_left"]) == (
        "views/orbit8", 10, 2, 6,
    )  # fmt: skip
    assert {"stage": "views/orbit8", "error": "CRASH", "assets": 1} in found["failures"]
    for key in {*found, *views}:
        assert f"`{key}`" in PAGE, key


@pytest.mark.parametrize("words", [["--watch", "0.1"], ["--watch=0.1"]])
def test_watching_writes_a_line_again_and_again_until_ctrl_c(corpus: str, words: list[str]) -> None:
    command = [sys.executable, "-m", "dataengine", "status", *words, corpus, "--json"]
    # A shell's background job ignores Ctrl-C, and so would what it starts.
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        lines = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    assert [line["planned"] for line in lines] == [18] * 3


def test_watch_alone_leaves_the_corpus_its_place(tmp_path: Path) -> None:
    done = CliRunner().invoke(build(), ["status", "--watch", str(tmp_path)])
    assert done.exit_code == 2 and "is not a corpus" in done.stderr
