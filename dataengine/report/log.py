"""What a command says while it works: lines on the error output, and in a log file if one was named.

Python's `logging` underneath: everything goes through the logger `dataengine` and those below it, so that a program
which calls dataengine sees the same records. `begin` and `end` stand around a command; a library configures nothing.

    DEBUG    each finished asset; shown with -v
    INFO     progress, committed shards, what is in force
    WARNING  an asset that failed, something left out
    ERROR    why a command ends
"""

import logging
import logging.handlers
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from dataengine.errors import UsageError
from dataengine.visible import visible

LOG = logging.getLogger("dataengine")
LOG.addHandler(logging.NullHandler())
FILE_ONLY = {"file_only": True}  # extra of a record: people have it from elsewhere
PROGRESS = {"progress": True}  # extra of a record: a live view shows the same


class _People(logging.Handler):
    """The error output: a clock before each line where it is no terminal, nothing that a live view shows anyway."""

    live = False

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "file_only", False) or (self.live and getattr(record, "progress", False)):
            return
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except (OSError, ValueError):
            self.handleError(record)

    def format(self, record: logging.LogRecord) -> str:
        text = visible(record.getMessage())
        if record.levelno >= logging.ERROR:
            return f"error: {text}"
        return text if sys.stderr.isatty() else f"{datetime.fromtimestamp(record.created):%H:%M:%S} {text}"


class _File(logging.handlers.WatchedFileHandler):
    """Lines with date, zone and level, each flushed; opened again when logrotate has moved the file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8")

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="seconds")
        return f"{when} {record.levelname} {visible(record.getMessage())}"

    def handleError(self, record: logging.LogRecord) -> None:
        problem = sys.exc_info()[1]
        LOG.removeHandler(self)  # a full disk must not end a run, and is told once
        with suppress(OSError):  # what could not be written is tried again
            self.close()
        LOG.error("cannot write the log %s (%s): going on without it", self.baseFilename, problem)


_people = _People()


def begin() -> None:
    """Sends what is said to the error output, from now on."""
    end()
    LOG.setLevel(logging.INFO)
    LOG.propagate = False
    _people.setLevel(logging.NOTSET)
    LOG.addHandler(_people)


def end() -> None:
    """Takes back what `begin` and its settings did, and closes the log file."""
    for handler in list(LOG.handlers):
        if isinstance(handler, _People | _File):
            LOG.removeHandler(handler)
            handler.close()
    LOG.setLevel(logging.NOTSET)
    LOG.propagate = True


def be_verbose() -> None:
    """Also what is of level DEBUG, there and in the log file."""
    LOG.setLevel(logging.DEBUG)


def be_quiet() -> None:
    """Only errors on the error output. The log file stays as it is."""
    _people.setLevel(logging.ERROR)


def to_file(path: Path) -> None:
    """Also to a file, which is appended to.

    Raises:
        UsageError: if it cannot be written.
    """
    try:
        LOG.addHandler(_File(path))
    except OSError as e:
        raise UsageError(f"the log file {path} cannot be written: {e.strerror}") from e


def say(line: str) -> None:
    """A note, such as which protections are in force."""
    LOG.info("%s", line)


def result(line: str) -> None:
    """The outcome of a command: a line (or some) on the standard output, and in the log file."""
    print(visible(line), flush=True)
    for each in line.splitlines():
        LOG.info("%s", each, extra=FILE_ONLY)


def is_shown() -> bool:
    """Whether a live view may be drawn: the error output is a terminal, and nobody asked for quiet."""
    return _people in LOG.handlers and _people.level <= logging.INFO and sys.stderr.isatty()


@contextmanager
def live_view(shown: bool) -> Iterator[None]:
    """While a view is shown, records of PROGRESS go to the log file alone."""
    _people.live = shown
    try:
        yield
    finally:
        _people.live = False
