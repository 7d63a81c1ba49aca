"""What a person sees of a run."""

import io

import pytest
from rich.console import Console

from dataengine.cluster.live import RunView, lines, picture, print_outcome
from dataengine.cluster.run import Outcome, RunProgress
from dataengine.report import log

STATE = RunProgress(
    shards={"render": (3, 2, 6, 1), "tokenize": (1, 1, 8, 1)},
    assets={"render": 100, "tokenize": 90},
    counts={
        "render": {"ok": 38, "failed": 2, "error:CRASH": 2, "views": 304, "views_rate": 4.0, "assets_rate": 0.5},
        "tokenize": {"ok": 10},
    },
    nodes=2,
    used={"CPU": 3.0, "GPU": 0.0},
    total={"CPU": 4.0, "GPU": 0.0},
)


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_and_the_lines_say_the_same() -> None:
    console = Console(file=io.StringIO(), width=140)
    console.print(picture(STATE, 65))
    for words in ("3 / 10", "40 / 100", "4.0", "2 min 0 s", "2 CRASH", "2 nodes, 3 of 4 CPUs", "1 min 5 s"):
        assert words in text(console)
    first, second = lines(STATE)
    assert first.startswith("render: 3 of 10 shards, 2 in flight, 40 of 100 assets (2 failed), 4.0 views/s, ")
    assert first.endswith("1 shards set aside, 2 min 0 s left")
    assert second.endswith("10 of 90 assets (0 failed), 1 shards set aside; 2 nodes, 3 of 4 CPUs in use")


def test_without_a_terminal_lines_come_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log.begin()
    with RunView() as view:
        view.show(STATE)
        assert capsys.readouterr().err.endswith("joining Ray\n")
        monkeypatch.setattr("dataengine.report.progress.LINES", ((1e9, 0.0),))
        view.show(STATE)
    log.end()
    first, second = capsys.readouterr().err.splitlines()
    assert (first[9:], second[9:]) == tuple(lines(STATE))


def test_the_last_words_name_what_is_not_done() -> None:
    console = Console(file=io.StringIO(), width=120)
    print_outcome(Outcome({"render": 9}, {("render", 4): "[Errno 28] the disk is full"}), console)
    assert "render: 9 shards committed" in text(console)
    assert "[Errno 28] the disk is full" in text(console)
    assert "1 shards are not done; the same command tries them again" in text(console)
