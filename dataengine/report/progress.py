"""Progress of a command: a live bar on a terminal, a line now and then elsewhere and in the log file."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from dataengine.report import log

LINES = ((120.0, 10.0), (3600.0, 60.0), (float("inf"), 300.0))  # until so many seconds, a line each so many seconds
SOON = 5.0  # seconds in which a start says more of a rate than the work does
WINDOW = 120.0  # seconds over which a rate is taken


class Lines:
    """When the next line of a log is due: soon at first, so that a person sees it work, seldom after hours."""

    def __init__(self) -> None:
        self.started = self._last = time.monotonic()

    def due(self) -> bool:
        """Whether it is time; if so, the next is due later."""
        now = time.monotonic()
        every = next(every for until, every in LINES if now - self.started < until)
        if now - self._last < every:
            return False
        self._last = now
        return True


class Pace:
    """How fast something is, lately."""

    def __init__(self, done: int = 0) -> None:
        self._started = time.monotonic()
        self._seen = deque([(self._started, done)])

    def rate(self, done: int) -> float:
        """Per second, over the last two minutes; 0 where nothing was done in them, or it is too soon to say."""
        now = time.monotonic()
        if now - self._started < SOON:
            return 0.0
        if now - self._seen[-1][0] > 1:
            self._seen.append((now, done))
        while len(self._seen) > 1 and now - self._seen[1][0] > WINDOW:
            self._seen.popleft()
        then, before = self._seen[0]
        return max(0, done - before) / max(now - then, 1e-3)


class Counted:
    """So many of something, done one after the other, shown while the context lasts.

    Args:
        verb: what is done, such as `render`.
        total: how many there are; 0: not known yet.
        each: what is counted.
        done: of them before.
    """

    def __init__(self, verb: str, total: int = 0, each: str = "assets", done: int = 0) -> None:
        self.verb, self.total, self.each, self.done = verb, total, each, done
        self.started = time.monotonic()
        self._figures: Sequence[str] = ()
        self._said: int | None = None  # how many were done when the last line was said
        self._pace, self._lines = Pace(done), Lines()
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[words]}", markup=False),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=not log.is_shown(),
        )
        self._task = self._bar.add_task(verb, total=total or None, completed=done, words="")
        self._view = log.live_view(not self._bar.disable)

    def __enter__(self) -> "Counted":
        self._view.__enter__()
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._bar.stop()
        if self._said not in (None, self.done):
            self._line()
        self._view.__exit__(kind, error, tb)

    def advance(self, count: int = 1, figures: Sequence[str] = (), total: int | None = None) -> None:
        """Counts some more; figures, such as `loss 2.31`, are shown beside it; total: as it is known now."""
        self.done += count
        self.total = self.total if total is None else total
        self._figures = figures
        self._bar.update(self._task, completed=self.done, total=self.total or None, words=self._words())
        if self._lines.due() or (self._said is None and count):
            self._line()

    def _line(self) -> None:
        self._said = self.done
        log.LOG.info("%s: %s, %s gone", self.verb, self._words(), self.elapsed(), extra=log.PROGRESS)

    def _words(self) -> str:
        """`40 of 100 assets, 12/min, 2 failed, 5 min 0 s left`."""
        rate = self._pace.rate(self.done)
        words = [f"{self.done:,} of {self.total:,} {self.each}" if self.total else f"{self.done:,} {self.each}"]
        if rate:
            words.append(f"{60 * rate:,.{0 if rate > 1 / 6 else 1}f}/min")
        words += self._figures
        if rate and self.total > self.done:
            words.append(f"{duration((self.total - self.done) / rate)} left")
        return ", ".join(words)

    def elapsed(self) -> str:
        """Time since the start, for a person."""
        return duration(time.monotonic() - self.started)


def step_figures(step: Mapping[str, float]) -> list[str]:
    """What a line says of a training step: `loss 2.314`, `8,120 tokens/s`, `1.2 GB`.

    Args:
        step: figures as `step_log.StepLog` tells them; those that are not there are left out.
    """
    words = [f"{name} {step[name]:.3f}" for name in ("loss", "nll") if name in step]
    words += [f"held out {step['nll_held_out']:.3f}"] if "nll_held_out" in step else []
    words += [f"{step['seconds']:.2f} s a step"] if "seconds" in step else []
    words += [f"{step['tokens_rate']:,.0f} tokens/s"] if "tokens_rate" in step else []
    return words + ([f"{step['memory'] / 1e9:.1f} GB"] if "memory" in step else [])


def duration(seconds: float) -> str:
    """Seconds for a person: `42 s`, `3 min 5 s`, `2 h 10 min`, `4 d 3 h`."""
    left = round(seconds)
    for unit, size, small, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if left >= size:
            return f"{left // size} {unit} {left % size // part} {small}"
    return f"{left} s"
