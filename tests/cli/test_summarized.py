"""The summary that a run leaves: what it says, and that nothing else minds it."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from dataengine._version import __version__
from dataengine.cli import build
from dataengine.cli.summarized import summarized
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.fragments import list_stages
from dataengine.corpus.summaries import summaries_with
from dataengine.corpus.verify import verify
from dataengine.errors import DataengineError
from dataengine.stages.takedown import remove
from tests.token_corpus import make_corpus

PAGE = (Path(__file__).parents[2] / "docs/formats.md").read_text(encoding="utf-8")
PAGE = PAGE.partition("## Summaries\n")[2].partition("\n## ")[0]


@pytest.fixture(autouse=True)
def _spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAENGINE_SPOOL", str(tmp_path / "spool"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def run(*words: object) -> Result:
    return CliRunner().invoke(build(), [str(word) for word in words])


def read(place: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((place / "summaries").iterdir())]


def keys_are_on_the_page(summary: dict[str, Any]) -> None:
    assert {*summary} - {*re.findall(r"`(\w+)`", PAGE)} == set()


def test_tokenize_leaves_one_and_the_corpus_is_as_ever(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", assets=3, shard_size=3, views=4, side=32)
    assert run("tokenize", corpus.url, "--name", "again", "--resolution", 16).exit_code == 0
    (found,) = read(tmp_path / "corpus")
    keys_are_on_the_page(found)
    assert (found["format"], found["command"], found["ended"], found["error"]) == (1, "tokenize", "finished", None)
    assert found["stages"] == {"tokens/again": {"shards": 1, "ok": 3, "failed": 0, "errors": {}}}
    assert found["settings"]["resolution"] == 16 and found["settings"]["corpus"] == corpus.url
    assert found["versions"]["dataengine"] == __version__ and found["seconds"] > 0
    assert not verify(corpus).differences and not [s for s in list_stages(corpus.store) if "summaries" in s]
    assert run("tokenize", corpus.url, "--name", "again", "--resolution", 16).exit_code == 0
    assert len(read(tmp_path / "corpus")) == 1  # nothing was to do


def test_a_run_that_fails_says_why(tmp_path: Path) -> None:
    @click.command()
    @click.option("--much", type=int)
    def break_down(much: int) -> None:
        with summarized(tmp_path) as summary:
            summary.stage("views/a", 2, {"ok": much, "failed": 3, "views": 40, "error:CRASH": 1, "error:BLANK": 2})
            raise DataengineError("the disk\nis full")

    assert isinstance(CliRunner().invoke(break_down, ["--much", "5"]).exception, DataengineError)
    (found,) = read(tmp_path)
    keys_are_on_the_page(found)
    assert (found["ended"], found["error"], found["settings"]) == ("failed", "the disk is full", {"much": 5})
    assert found["stages"]["views/a"] == {"shards": 2, "ok": 5, "failed": 3, "errors": {"BLANK": 2, "CRASH": 1}}


def test_a_wrong_request_leaves_nothing(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", assets=3, shard_size=3, views=4, side=32)
    done = run("train", tmp_path / "run", corpus.url, "--stage", "i2mv", "--tokenizer", "other", "--device", "cpu")
    assert done.exit_code == 2, done.output
    assert not (tmp_path / "run").exists()


def test_the_runs_own_end_is_not_lost_where_none_can_be_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "summaries").write_text("in the way")

    @click.command()
    def work() -> None:
        with summarized(tmp_path):
            pass

    assert CliRunner().invoke(work).exit_code == 0
    assert any("no summary was written" in line for line in caplog.messages)


def test_one_that_names_a_removed_asset_goes_with_it(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", assets=4, shard_size=4, views=4, side=32)
    gone, stays = corpus.plan(0)["uid"].to_pylist()[:2]
    (tmp_path / "corpus/summaries").mkdir()
    for uid in (gone, stays):
        (tmp_path / f"corpus/summaries/{uid[:4]}.json").write_text(json.dumps({"where": f"uid = '{uid}'"}))
    remove(corpus.url, [gone], "asked by its owner")
    corpus = Corpus.open(corpus.url)
    assert [p.name for p in (tmp_path / "corpus/summaries").iterdir()] == [f"{stays[:4]}.json"]
    assert not verify(corpus).differences
    (tmp_path / "corpus/summaries/late.json").write_text(gone)
    assert dict(summaries_with(corpus.store, {gone})) == {"summaries/late.json": gone}
    assert [d for d in verify(corpus).differences if "names the removed asset" in str(d)]


SLOW_COMMAND = """
import sys, time
import click
from dataengine.cli.group import Main
from dataengine.cli.summarized import summarized

@click.group(cls=Main)
def cli(): pass

@cli.command()
@click.argument("place")
def wait(place):
    with summarized(place) as summary:
        summary.stage("views/a", 1, {"ok": 2})
        print("ready", flush=True)
        time.sleep(60)

cli()
"""


def test_what_a_scheduler_stops_leaves_one_too(tmp_path: Path) -> None:
    words = [sys.executable, "-c", SLOW_COMMAND, "wait", str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 143 and "run the same command again" in said and "Traceback" not in said
    (found,) = read(tmp_path)
    assert (found["ended"], found["stages"]["views/a"]["ok"]) == ("stopped", 2)
