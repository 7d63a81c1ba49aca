"""The views stage: one shard of the plan → colour, depth and cameras of each asset, by Blender."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dataengine.corpus.config import Limits
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.result import Result
from dataengine.corpus.schema import VIEW_COLUMNS
from dataengine.errors import DataengineError
from dataengine.machine import usable_cores, usable_memory
from dataengine.model_files.preflight import preflight
from dataengine.paths import cache_root
from dataengine.render.asset import Renderer
from dataengine.render.frozen import check_frozen
from dataengine.sources.locate import locate, readable_folders
from dataengine.stages.stage import Row, Stage

MEMORY_PER_WORKER = 2 << 30

OpenRenderer = Callable[[Corpus, "RenderStage"], Renderer]


def open_renderer(corpus: Corpus, stage: "RenderStage") -> Renderer:
    """Blenders for the assets of a corpus."""
    readable = [*readable_folders([s.spec for s in corpus.config.sources]), cache_root()]
    return Renderer(
        corpus.config.render.model_copy(update={"limits": stage.limits_of(corpus)}),
        workers=stage.workers,
        threads=stage.threads,
        device=stage.device,
        readable=readable,
        sandbox=stage.sandbox,
        on_sandbox=stage.say,
    )


@dataclass
class RenderStage(Stage):
    """Renders the plan's assets.

    Attributes:
        name: the corpus's `views_stage`.
        workers: Blender processes at once; default: one per core, fewer where memory is short.
        threads: render threads of each; default: the cores shared out. They change the speed, not the bytes.
        device: `auto`, or a Cycles device.
        sandbox: what confines Blender: `auto`, `bwrap` or `kernel`, see confinement.choose_sandbox.
        limits: fields of `Limits` that hold in this run instead of the corpus's.
        accept_revision: render though this release draws other pictures than the corpus was planned for.
        open: makes the renderer when the stage starts.
    """

    schema = VIEW_COLUMNS

    name: str
    workers: int = field(default_factory=lambda: default_workers())
    threads: int = 0
    device: str = "auto"
    sandbox: str = "auto"
    limits: Mapping[str, Any] = field(default_factory=dict)
    accept_revision: bool = False
    open: OpenRenderer = open_renderer
    _renderer: Renderer | None = field(default=None, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        self.threads = self.threads or max(1, usable_cores() // self.workers)

    @property
    def resume_key(self) -> Any:
        # What failed under other limits may not now.
        return dict(self.limits) or None

    def limits_of(self, corpus: Corpus) -> Limits:
        """What one asset may use in this run."""
        return corpus.config.render.limits.model_copy(update=self.limits)

    def input(self, corpus: Corpus, shard_input: str) -> str:
        return shard_input + corpus.config.views_input

    def start(self, corpus: Corpus) -> None:
        if not self.accept_revision:
            check_frozen(corpus.config, corpus.url)
        self._every_caption = corpus.config.format > 1
        self._renderer = self.open(corpus, self)

    def stop(self) -> None:
        if self._renderer is not None:
            self._renderer.kill()

    def settings(self, shard: int) -> dict[str, object]:
        return self._started().settings()

    def process(self, row: Row) -> Result:
        """From a row of the plan to its views; the caption is a member too, empty where there is none."""
        renderer = self._started()
        limits = renderer.config.limits
        files = locate(row).fetch(cache_root(), limits)
        preflight(files.main, row["format"], limits, files.root)
        columns, members = renderer.render(row, files.main, files.dependencies)
        if self._every_caption or row["caption"] is not None:
            members = {**members, "txt": (row["caption"] or "").encode()}
        return Result(columns, members)

    def _started(self) -> Renderer:
        if self._renderer is None:
            raise DataengineError("the render stage has not been started")
        return self._renderer


def default_workers() -> int:
    """One Blender per core that this process may use, with 2 GiB of memory each."""
    return max(1, min(usable_cores(), usable_memory() // MEMORY_PER_WORKER))
