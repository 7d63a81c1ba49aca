"""What commands say: on the error output, in the log file, and how much of it."""

import logging
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from dataengine.errors import UsageError
from dataengine.report import log

STAMPED = re.compile(r"\d\d:\d\d:\d\d ")


@pytest.fixture(autouse=True)
def _command() -> Iterator[None]:
    log.begin()
    yield
    log.end()


def say_all() -> None:
    log.LOG.debug("each asset")
    log.say("a note")
    log.LOG.warning("one %s", "failed")
    log.LOG.error("it ended")
    logging.getLogger("dataengine.download.host").warning("waiting for a host")


def said(text: str) -> list[str]:
    return [STAMPED.sub("", line) for line in text.splitlines()]


def test_lines_have_the_time_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say_all()
    lines = capsys.readouterr().err.splitlines()
    assert [bool(STAMPED.match(line)) for line in lines] == [True, True, False, True]
    assert said("\n".join(lines)) == ["a note", "one failed", "error: it ended", "waiting for a host"]


def test_verbose_says_more_and_quiet_only_why_it_ended(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    log.be_verbose()
    say_all()
    assert said(capsys.readouterr().err)[0] == "each asset"
    log.be_quiet()
    log.to_file(tmp_path / "log")
    say_all()
    assert capsys.readouterr().err == "error: it ended\n"
    assert len((tmp_path / "log").read_text().splitlines()) == 5  # the file has what is not shown


def test_the_file_is_appended_to_with_date_zone_and_level(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "log"
    file.write_text("what was there\n")
    log.to_file(file)
    log.result("3 assets rendered")
    assert capsys.readouterr().out == "3 assets rendered\n"
    first, second = file.read_text().splitlines()  # flushed, though nothing has been closed
    when, level, text = second.split(" ", 2)
    assert (first, level, text) == ("what was there", "INFO", "3 assets rendered")
    assert datetime.fromisoformat(when).utcoffset() is not None


def test_words_of_strangers_move_no_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log.to_file(tmp_path / "log")
    log.LOG.warning("failed %s", "\x1b[2Jgone")
    assert "\\x1b[2Jgone" in capsys.readouterr().err
    assert "\x1b" not in (tmp_path / "log").read_text()


def test_a_file_that_logrotate_has_moved_is_begun_again(tmp_path: Path) -> None:
    log.to_file(tmp_path / "log")
    log.say("before")
    (tmp_path / "log").rename(tmp_path / "log.1")
    log.say("after")
    assert (tmp_path / "log").read_text().endswith("INFO after\n")
    assert (tmp_path / "log.1").read_text().endswith("INFO before\n")


@pytest.mark.parametrize("place", ["nowhere/log", "."])
def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, place: str) -> None:
    with pytest.raises(UsageError, match=f"the log file {tmp_path / place} cannot be written: "):
        log.to_file(tmp_path / place)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_once_and_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    log.to_file(Path("/dev/full"))
    log.say("one")
    log.say("two")
    assert said(capsys.readouterr().err) == [
        "one",
        "error: cannot write the log /dev/full ([Errno 28] No space left on device): going on without it",
        "two",
    ]


def test_what_a_live_view_shows_goes_to_the_file_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log.to_file(tmp_path / "log")
    with log.live_view(True):
        log.LOG.info("40 of 100", extra=log.PROGRESS)
        log.say("a note")
    log.LOG.info("50 of 100", extra=log.PROGRESS)
    assert said(capsys.readouterr().err) == ["a note", "50 of 100"]
    assert "40 of 100" in (tmp_path / "log").read_text()
