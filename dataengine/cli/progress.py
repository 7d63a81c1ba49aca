"""A stage's run as its command shows it: assets as they finish, failures by name, shards as they are committed."""

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any

from dataengine.cli.summarized import summarized
from dataengine.report.log import LOG, say
from dataengine.report.progress import Counted, step_figures
from dataengine.visible import counted

if TYPE_CHECKING:
    from dataengine.corpus.corpus import Corpus
    from dataengine.corpus.fragments import Fragment
    from dataengine.report.metrics import Metrics
    from dataengine.stages.open_shard import Retry
    from dataengine.stages.stage import Row, Stage


class StageProgress:
    """Counts a stage's assets and shards while the context lasts."""

    def __init__(self, verb: str, assets: int, shards: int, parts: int = 1) -> None:
        self.verb, self.assets, self.shards, self.parts = verb, assets, shards, parts
        self.counts: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.done_shards = 0
        self._counted = Counted(verb, assets)

    def __enter__(self) -> "StageProgress":
        self._counted.__enter__()
        say(f"{self.verb}: {counted(self.assets, 'asset')} in {counted(self.shards, 'shard')}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._counted.__exit__(kind, error, tb)

    def asset(self, row: Mapping[str, Any]) -> None:
        """Takes one finished row of a fragment."""
        self.counts[row["status"]] += 1
        if row["status"] == "failed":
            self.errors[row["error"]] += 1
            LOG.warning("  failed %s %s: %s", row["uid"][:12], row["error"], row["message"])
        else:
            LOG.debug("  done %s in %.1f s", row["uid"][:12], row.get("wall_seconds") or 0.0)
        self._counted.advance(1, [f"{self.counts['failed']} failed"])

    def shard(self, fragment: "Fragment") -> None:
        """Takes one committed shard."""
        self.done_shards += 1
        if self.parts > 1:
            LOG.info("  %s shard %05d committed", fragment.stage, fragment.shard)
        else:
            LOG.info("  shard %05d committed (%d of %d)", fragment.shard, self.done_shards, self.shards)

    def told(self) -> dict[str, int]:
        """Its counts, failures as error:<KIND>."""
        return {**self.counts, **{f"error:{error}": n for error, n in self.errors.items()}}

    def elapsed(self) -> str:
        """Time since the start, for a person."""
        return self._counted.elapsed()


def run_with_progress(
    verb: str,
    corpus: "Corpus",
    stage: "Stage",
    left: Mapping[int, int],
    *,
    retry: "Retry" = False,
    metrics: "Metrics | None" = None,
) -> StageProgress:
    """`run_shards`, shown, and counted in metrics; `left` is what `assets_left` says of its shards."""
    from dataengine.report.metrics import counts_of_row, counts_of_shard
    from dataengine.stages.run import run_shards

    parts = len(stage.parts)
    with StageProgress(verb, sum(left.values()), len(left), parts) as progress:

        def tell_shards() -> None:
            if metrics:
                done = progress.done_shards // parts
                metrics.shards(stage.name, {"done": done, "left": len(left) - done})

        def asset(row: "Row") -> None:
            progress.asset(row)
            if metrics:
                metrics.add(stage.name, counts_of_row(row))

        def shard(fragment: "Fragment") -> None:
            progress.shard(fragment)
            if metrics:
                metrics.add(stage.name, counts_of_shard(fragment))
            tell_shards()

        tell_shards()
        with summarized(corpus.url) as summary:
            try:
                run_shards(corpus, stage, list(left), retry=retry, on_asset=asset, on_shard=shard, say=say)
            finally:
                summary.stage(stage.name, progress.done_shards, progress.told())
    return progress


class StepProgress:
    """Steps of a training while the context lasts; shown from the first one on, which tells where it goes on."""

    def __init__(self, verb: str, steps: int) -> None:
        self._verb, self._steps = verb, steps
        self._shown = ExitStack()
        self._counted: Counted | None = None
        self.last: Mapping[str, float] = {}
        self._held_out: dict[str, float] = {}

    def __enter__(self) -> "StepProgress":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._shown.close()

    def step(self, figures: Mapping[str, float]) -> None:
        """Takes a step's number, `step`, and its figures, see `report.progress.step_figures`."""
        self.last, done = figures, int(figures["step"])
        self._held_out |= {name: value for name, value in figures.items() if name == "nll_held_out"}  # not in each step
        if self._counted is None:
            self._counted = self._shown.enter_context(Counted(self._verb, self._steps, "steps", done - 1))
        self._counted.advance(done - self._counted.done, step_figures({**figures, **self._held_out}))
