"""Progress for a person: a live bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dataengine.visible import visible

if TYPE_CHECKING:
    from dataengine.corpus.corpus import Corpus
    from dataengine.corpus.fragments import Fragment
    from dataengine.stages.stage import Retry, Stage

LINE_EVERY = 10.0  # seconds between lines where there is no terminal


class AssetProgress:
    """Counts assets as they finish, shows the rate, and names each failure as it happens."""

    def __init__(self, verb: str, total: int, shards: int, parts: int = 1) -> None:
        self.verb, self.total, self.shards, self.parts = verb, total, shards, parts
        self.counts: Counter[str] = Counter()
        self.done_shards = 0
        self.started = self.last_line = time.monotonic()
        self.console = Console(file=sys.stderr)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task(verb, total=total, note="")

    def __enter__(self) -> "AssetProgress":
        self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.bar.stop()

    def asset(self, row: Mapping[str, Any]) -> None:
        """Takes one finished row of a fragment."""
        self.counts[row["status"]] += 1
        if row["status"] == "failed":
            self.say(f"  failed {row['uid'][:12]} {row['error']}: {row['message']}")
        self.bar.update(self.task, advance=1, note=self._note())
        self._line_if_due()

    def shard(self, fragment: "Fragment") -> None:
        """Takes one committed shard."""
        self.done_shards += 1
        if not self.console.is_terminal:
            number = f"shard {fragment.shard:05d}"
            count = f"({self.done_shards} of {self.shards})"
            self.say(f"  {fragment.stage} {number} committed" if self.parts > 1 else f"  {number} committed {count}")

    def elapsed(self) -> str:
        """Time since the start, for a person."""
        seconds = round(time.monotonic() - self.started)
        return f"{seconds // 60} min {seconds % 60} s" if seconds >= 60 else f"{seconds} s"

    def _note(self) -> str:
        elapsed = max(time.monotonic() - self.started, 1e-9)
        done = sum(self.counts.values())
        return f"{done / elapsed * 60:.0f} assets/min, {self.counts['failed']} failed"

    def _line_if_due(self) -> None:
        now = time.monotonic()
        if not self.console.is_terminal and now - self.last_line >= LINE_EVERY:
            self.last_line = now
            self.say(f"  {self.verb}: {sum(self.counts.values())} of {self.total} assets, {self._note()}")

    def say(self, line: str) -> None:
        """Prints a line above the bar."""
        self.bar.console.print(visible(line), markup=False, highlight=False, soft_wrap=True)


def run_with_progress(
    verb: str, corpus: "Corpus", stage: "Stage", left: Mapping[int, int], *, retry: "Retry" = False
) -> AssetProgress:
    """`run_shards`, shown; `left` is what `assets_left` says of its shards."""
    from dataengine.stages.stage import run_shards

    with AssetProgress(verb, sum(left.values()), len(left), len(stage.parts)) as progress:
        run_shards(
            corpus,
            stage,
            list(left),
            retry=retry,
            on_asset=progress.asset,
            on_shard=progress.shard,
            say=progress.say,
        )
    return progress
