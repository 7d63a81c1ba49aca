"""The summary of a run as JSON: how it was called, how it ended, what it made, which versions were at work."""

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from dataengine._version import __version__
from dataengine.errors import DataengineError, UsageError
from dataengine.report.log import LOG

PACKAGES = ("bpy", "torch", "ray")


@dataclass
class Summary:
    """What is told of a run besides its command.

    Attributes:
        stages: stage → shards committed, assets ok and failed, and those by error.
        more: other results, such as a training's last step.
    """

    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)

    def stage(self, name: str, shards: int, counts: Mapping[str, Any]) -> None:
        """Takes a stage's counts, of which some may be called error:<KIND>."""
        errors = {k.removeprefix("error:"): n for k, n in sorted(counts.items()) if k.startswith("error:")}
        ok, failed = counts.get("ok", 0), counts.get("failed", 0)
        self.stages[name] = {"shards": shards, "ok": ok, "failed": failed, "errors": errors}


@contextmanager
def summarized(place: str | Path) -> Iterator[Summary]:
    """Writes a summary of what happens while the context lasts, also where it ends with an error.

    Args:
        place: the corpus, or the folder of a training run.
    """
    from dataengine.corpus.storage import Store
    from dataengine.corpus.summaries import put_summary

    summary, started, clock = Summary(), datetime.now(UTC), time.monotonic()
    ended, error, wrong = "finished", None, False
    try:
        yield summary
    except BaseException as e:
        wrong = isinstance(e, UsageError)
        ended = "stopped" if isinstance(e, KeyboardInterrupt) else "failed"
        error = " ".join(f"{'' if isinstance(e, DataengineError) else type(e).__name__ + ': '}{e}".split()) or None
        raise
    finally:
        context = click.get_current_context()
        content = {
            "settings": {k: _plain(v) for k, v in sorted(context.params.items()) if _is_setting(v)},
            "seconds": round(time.monotonic() - clock, 3),
            "ended": ended,
            "error": error,
            "stages": summary.stages,
            **summary.more,
            "versions": _versions(),
        }
        # Of torchrun's processes one writes; a request that was wrong made nothing.
        if os.environ.get("RANK", "0") == "0" and not wrong:
            try:
                put_summary(Store(place), str(context.info_name), started, content)
            except DataengineError as e:  # the run's own end must not be lost over it
                LOG.warning("no summary was written: %s", e)


def _is_setting(value: Any) -> bool:
    return isinstance(value, str | int | float | Path | tuple) and value != ()


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value if isinstance(value, str | int | float) else str(value)


def _versions() -> dict[str, str]:
    found = {"dataengine": __version__, "python": ".".join(map(str, sys.version_info[:3]))}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # an extra that is not installed
    return found
