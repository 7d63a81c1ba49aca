"""The run as a person sees it: a live table on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dataengine.cluster.run import SHARD_STATES, Outcome, RunProgress
from dataengine.report import log
from dataengine.report.metrics import Metrics
from dataengine.report.progress import Lines, duration, step_figures

SHOWN = 8  # kinds of failures, and shards set aside, before "and more"


class RunView:
    """Shows a run while the context lasts.

    Args:
        metrics: Prometheus metrics that get the same figures.
    """

    def __init__(self, metrics: Metrics | None = None) -> None:
        self._metrics = metrics
        self.last: RunProgress | None = None
        self._lines = Lines()
        shown = log.is_shown()
        self._view = log.live_view(shown)
        self._live = Live(Text("joining Ray"), console=Console(stderr=True), refresh_per_second=4) if shown else None

    def __enter__(self) -> "RunView":
        self._view.__enter__()
        if self._live:
            self._live.start()
        log.LOG.info("joining Ray", extra=log.PROGRESS)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._live:
            self._live.stop()
        self._view.__exit__(kind, error, tb)

    def show(self, state: RunProgress) -> None:
        """Takes the latest figures, which are `last` then."""
        self.last = state
        if self._metrics:
            for stage, counts in state.counts.items():
                self._metrics.reached(stage, counts)
            for stage, numbers in state.shards.items():
                self._metrics.shards(stage, dict(zip(SHARD_STATES, numbers, strict=True)))
            self._metrics.trained(state.training or {})
        if self._live:
            self._live.update(picture(state, time.monotonic() - self._lines.started))
        if self._lines.due():
            for line in lines(state):
                log.LOG.info("%s", line, extra=log.PROGRESS)


def picture(state: RunProgress, seconds: float) -> Group:
    """The live table."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for head in (
        "stage",
        "shards done",
        "in flight",
        "left",
        "aside",
        "assets",
        "failed",
        "views/s",
        "tokens/s",
        "MB",
        "time left",
    ):
        table.add_column(head, justify="left" if head == "stage" else "right")
    for stage, (done, flying, left, aside) in state.shards.items():
        counts = state.counts.get(stage, {})
        table.add_row(
            stage,
            f"{done:,} / {done + left + aside:,}",
            f"{flying:,}",
            f"{left - flying:,}",
            Text(f"{aside:,}", style="red" if aside else ""),
            f"{_finished(counts):,} / {state.assets[stage]:,}",
            f"{counts.get('failed', 0):,}",
            f"{counts['views_rate']:.1f}" if counts.get("views_rate") else "",
            f"{counts['tokens_rate']:,.0f}" if counts.get("tokens_rate") else "",
            f"{counts.get('bytes', 0) / 1e6:,.1f}",
            time_left(state, stage),
        )
    parts: list[Any] = [table] if state.shards else []
    if state.training is not None:
        parts.append(Text(training(state.training)))
    kinds = failures(state)
    if kinds:
        parts.append(Text(f"failures: {kinds}", style="yellow"))
    parts.append(Text(f"{_cluster(state)}; running for {duration(seconds)}", style="dim"))
    return Group(*parts)


def lines(state: RunProgress) -> list[str]:
    """The same in plain lines, one a stage."""
    found = []
    for stage, (done, flying, left, aside) in state.shards.items():
        counts = state.counts.get(stage, {})
        words = [
            f"{stage}: {done} of {done + left + aside} shards, {flying} in flight",
            f"{_finished(counts)} of {state.assets[stage]} assets ({counts.get('failed', 0)} failed)",
        ]
        if counts.get("views_rate"):
            words.append(f"{counts['views_rate']:.1f} views/s")
        if counts.get("tokens_rate"):
            words.append(f"{counts['tokens_rate']:,.0f} tokens/s")
        if aside:
            words.append(f"{aside} shards set aside")
        if time_left(state, stage):
            words.append(f"{time_left(state, stage)} left")
        found.append(", ".join(words))
    if state.training is not None:
        found.append(training(state.training))
    found[-1] += f"; {_cluster(state)}"
    return found


def print_outcome(outcome: Outcome, console: Console) -> None:
    """The last words: what was made, and which shards were set aside and why."""
    for stage, done in outcome.done.items():
        line = f"{stage}: {done:,} shards {'fetched' if stage == 'fetch' else 'committed'}"
        console.print(line, highlight=False, soft_wrap=True)
        log.LOG.info("%s", line, extra=log.FILE_ONLY)
    if outcome.trained is not None:
        trained = outcome.trained
        console.print(
            f"train: {trained.status} at step {trained.step}: {trained.checkpoint}", highlight=False, soft_wrap=True
        )
    if outcome.aside:
        table = Table("stage", "shard", "set aside because", title="not done", title_justify="left")
        for (stage, shard), reason in list(outcome.aside.items())[: SHOWN * 4]:
            table.add_row(stage, str(shard), Text(reason))
        console.print(table)
        console.print(
            f"{len(outcome.aside)} shards are not done; the same command tries them again",
            highlight=False,
            soft_wrap=True,
        )


def training(step: Mapping[str, float]) -> str:
    """The trainer's latest step in one line."""
    if not step:
        return "train: the ranks are starting"
    return f"train: step {step['step']:.0f}, {', '.join(step_figures(step))}"


def failures(state: RunProgress) -> str:
    """`12 TIMEOUT, 3 CRASH`, the most frequent first."""
    kinds: dict[str, int] = {}
    for counts in state.counts.values():
        for name, value in counts.items():
            if name.startswith("error:"):
                kinds[name[6:]] = kinds.get(name[6:], 0) + value
    most = sorted(kinds.items(), key=lambda item: -item[1])
    return ", ".join(f"{n:,} {kind}" for kind, n in most[:SHOWN]) + (", …" if len(most) > SHOWN else "")


def time_left(state: RunProgress, stage: str) -> str:
    """How long the stage's assets will take at the latest rate, or nothing if that is not known."""
    counts = state.counts.get(stage, {})
    rate = counts.get("assets_rate", 0.0)
    left = max(0, state.assets[stage] - _finished(counts))
    return duration(left / rate) if rate and left else ""


def _finished(counts: Mapping[str, Any]) -> int:
    return int(counts.get("ok", 0) + counts.get("failed", 0))


def _cluster(state: RunProgress) -> str:
    use = [f"{state.used.get(k, 0):.0f} of {state.total[k]:.0f} {k}s" for k in ("CPU", "GPU") if state.total.get(k)]
    return f"{state.nodes} node{'' if state.nodes == 1 else 's'}, {', '.join(use)} in use"
