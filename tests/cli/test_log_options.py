"""-v, -q and --log-file: of every command, before and after its name."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dataengine.cli import build
from tests.token_corpus import make_corpus


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATAENGINE_SPOOL", str(tmp_path / "spool"))
    make_corpus(tmp_path / "corpus", assets=3, shard_size=3, views=4, side=32)
    return tmp_path / "corpus"


def run(*words: object) -> Result:
    return CliRunner().invoke(build(), [str(word) for word in words], prog_name="dataengine")


def test_before_or_after_the_command(tmp_path: Path, corpus: Path) -> None:
    files = [tmp_path / "one.log", tmp_path / "two.log"]
    assert run("--log-file", files[0], "captions", corpus, "--rewrite-shards").exit_code == 0
    assert run("captions", corpus, "--rewrite-shards", "--log-file", files[1]).exit_code == 0
    for file in files:
        lines = [line.split(" ", 2)[2] for line in file.read_text().splitlines()]
        assert lines[0].startswith("dataengine ") and lines[1].startswith("0 tars written again")
        assert lines[-1].startswith("ended after ") and lines[-1].endswith(" with exit code 0")


def test_tokenize_writes_its_assets_shards_and_result(tmp_path: Path, corpus: Path) -> None:
    done = run("-v", "-q", "--log-file", tmp_path / "log", "tokenize", corpus, "--name", "again")
    assert done.exit_code == 0, done.output
    assert done.stderr == "" and done.stdout.endswith("s\n")
    lines = [line.split(" ", 1)[1] for line in (tmp_path / "log").read_text().splitlines()]
    assert "INFO tokenize: 3 assets in 1 shard" in lines
    assert len([line for line in lines if line.startswith("DEBUG   done ")]) == 3
    assert "INFO   shard 00000 committed (1 of 1)" in lines
    assert any(line.startswith("INFO 3 assets encoded, 0 without tokens, in ") for line in lines)


def test_errors_are_in_the_file_too(tmp_path: Path, corpus: Path) -> None:
    done = run("query", corpus, "select nothing from assets", "--log-file", tmp_path / "log")
    assert done.exit_code == 2
    assert " ERROR " in (tmp_path / "log").read_text()
    assert (tmp_path / "log").read_text().endswith("exit code 2\n")


@pytest.mark.parametrize("before", [True, False])
def test_a_file_that_cannot_be_written_ends_it_before_anything_begins(tmp_path: Path, before: bool) -> None:
    words = ["plan", tmp_path / "corpus", "--source", f"local:{tmp_path}"]
    option = ["--log-file", tmp_path / "nowhere" / "log"]
    done = run(*option, *words) if before else run(*words, *option)
    assert done.exit_code == 2
    assert done.stderr == f"error: the log file {option[1]} cannot be written: No such file or directory\n"
    assert not (tmp_path / "corpus").exists()
