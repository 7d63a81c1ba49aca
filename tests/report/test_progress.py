"""Lines of progress: what they say, and how often."""

import itertools
from collections.abc import Iterator

import pytest

from dataengine.report import log, progress
from dataengine.report.progress import Counted, Lines, Pace, duration, step_figures


class Clock:
    """A clock that is set by hand."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    log.begin()
    yield clock
    log.end()


def test_a_line_says_how_many_how_fast_what_failed_and_how_long_still(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Counted("render", 1000) as counted:
        for _ in range(50):
            clock.now += 0.5
            counted.advance(1, ["3 failed"])
    lines = [line[9:] for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        "render: 1 of 1,000 assets, 3 failed, 0 s gone",  # it works; how fast is not known yet
        "render: 20 of 1,000 assets, 120/min, 3 failed, 8 min 10 s left, 10 s gone",
        "render: 40 of 1,000 assets, 120/min, 3 failed, 8 min 0 s left, 20 s gone",
        "render: 50 of 1,000 assets, 120/min, 3 failed, 7 min 55 s left, 25 s gone",
    ]


def test_a_rate_is_of_the_last_two_minutes(clock: Clock) -> None:
    pace = Pace()
    done = 0
    for seconds in range(400):
        clock.now += 1
        done += 10 if seconds < 200 else 1
        rate = pace.rate(done)
    assert rate == pytest.approx(1, rel=0.05)


def test_a_resumed_count_has_the_rate_of_its_own_work(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Counted("train i2mv", 5000, "steps", done=4000) as counted:
        for _ in range(10):
            clock.now += 1
            counted.advance(1, ["loss 2.314"])
    first, last = (line[9:] for line in capsys.readouterr().err.splitlines())
    assert first == "train i2mv: 4,001 of 5,000 steps, loss 2.314, 1 s gone"
    assert last == "train i2mv: 4,010 of 5,000 steps, 60/min, loss 2.314, 16 min 30 s left, 10 s gone"


def test_lines_become_rare(clock: Clock) -> None:
    lines, said = Lines(), []
    for second in range(3 * 3600):
        clock.now += 1
        if lines.due():
            said.append(second + 1)
    assert said[:3] == [10, 20, 30]
    gaps = [b - a for a, b in itertools.pairwise(said)]
    assert gaps[:10] == [10] * 10 and gaps[20:60] == [60] * 40 and gaps[-20:] == [300] * 20


def test_figures_of_a_step() -> None:
    step = {"step": 3, "loss": 2.3141, "nll": 2.1, "seconds": 0.512, "tokens_rate": 8120.4, "memory": 1.25e9}
    assert step_figures(step) == ["loss 2.314", "nll 2.100", "0.51 s a step", "8,120 tokens/s", "1.2 GB"]
    assert step_figures({"step": 3}) == []


@pytest.mark.parametrize(
    ("seconds", "words"), [(42.4, "42 s"), (185, "3 min 5 s"), (7800, "2 h 10 min"), (4 * 86400 + 3 * 3600, "4 d 3 h")]
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_program_that_calls_dataengine_gets_the_same_records(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "dataengine"):
        log.say("a note")
    assert caplog.messages == ["a note"]
