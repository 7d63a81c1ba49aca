"""The views stage: one shard of the plan → colour, depth and cameras of each asset, in each view set, by Blender."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dataengine.corpus.config import Limits, ViewSet
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.result import Result
from dataengine.corpus.schema import VIEW_COLUMNS
from dataengine.errors import AssetFailure, DataengineError
from dataengine.machine import usable_cores, usable_memory
from dataengine.model_files.preflight import preflight
from dataengine.paths import cache_root
from dataengine.render.asset import Renderer
from dataengine.render.environment import FOLDER as LIGHTS
from dataengine.render.environment import bring_lights
from dataengine.render.frozen import check_frozen
from dataengine.sources.locate import locate, readable_folders
from dataengine.stages.stage import Row, Stage

MEMORY_PER_WORKER = 2 << 30

OpenRenderer = Callable[[Corpus, "RenderStage"], Renderer]


def open_renderer(corpus: Corpus, stage: "RenderStage") -> Renderer:
    """Blenders for the assets of a corpus."""
    readable = [*readable_folders([s.spec for s in corpus.config.sources]), cache_root()]
    lights = cache_root() / LIGHTS
    bring_lights(corpus.store, [hdri for each in stage.sets for hdri in each.render.hdris], lights)
    return Renderer(
        stage.limited(corpus),
        workers=stage.workers,
        threads=stage.threads,
        device=stage.device,
        readable=readable,
        sandbox=stage.sandbox,
        on_sandbox=stage.say,
        lights=lights,
    )


@dataclass
class RenderStage(Stage):
    """Renders the plan's assets: one import for all view sets that need it; each set is a part of the stage.

    Attributes:
        sets: of the corpus's config: one or more.
        workers: Blender processes at once; default: one per core, fewer where memory is short.
        threads: render threads of each; default: the cores shared out. They change the speed, not the bytes.
        device: `auto`, or a Cycles device.
        sandbox: what confines Blender: `auto`, `bwrap` or `kernel`, see confinement.choose_sandbox.
        limits: fields of `Limits` that hold in this run instead of the corpus's.
        accept_revision: render though this release draws other pictures than the corpus was planned for.
        open: makes the renderer when the stage starts.
    """

    schema = VIEW_COLUMNS

    sets: tuple[ViewSet, ...]
    workers: int = field(default_factory=lambda: default_workers())
    threads: int = 0
    device: str = "auto"
    sandbox: str = "auto"
    limits: Mapping[str, Any] = field(default_factory=dict)
    accept_revision: bool = False
    open: OpenRenderer = open_renderer
    _renderer: Renderer | None = field(default=None, init=False, compare=False, repr=False)
    _parts: tuple["RenderStage", ...] = field(default=(), init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        self.threads = self.threads or max(1, usable_cores() // self.workers)
        self.name = self.sets[0].stage if len(self.sets) == 1 else "views"
        if len(self.sets) > 1:
            self._parts = tuple(replace(self, sets=(each,)) for each in self.sets)

    @property
    def parts(self) -> Sequence["RenderStage"]:
        return self._parts or (self,)

    @property
    def resume_key(self) -> Any:
        # What failed under other limits may not now.
        return dict(self.limits) or None

    def limits_of(self, corpus: Corpus) -> Limits:
        """What one asset may use in this run."""
        return corpus.config.limits.model_copy(update=self.limits)

    def limited(self, corpus: Corpus) -> tuple[ViewSet, ...]:
        """The sets, with the limits of this run."""
        limits = {"limits": self.limits_of(corpus)}
        return tuple(s.model_copy(update={"render": s.render.model_copy(update=limits)}) for s in self.sets)

    def input(self, corpus: Corpus, shard_input: str) -> str:
        return shard_input + self.sets[0].input

    def start(self, corpus: Corpus) -> None:
        corpus.check_models()
        if not self.accept_revision:
            check_frozen(corpus.config, self.sets, corpus.url)
        self._every_caption = corpus.config.format > 1
        self._renderer = self.open(corpus, self)
        for part in self._parts:
            part._renderer = self._renderer

    def stop(self) -> None:
        if self._renderer is not None:
            self._renderer.kill()

    def settings(self, shard: int) -> dict[str, object]:
        return self._started().settings(self.sets[0].name)

    def process(self, row: Row) -> Result:
        """From a row of the plan to the views of its only set."""
        ((_, made),) = self.process_parts(row, [self])
        if isinstance(made, AssetFailure):
            raise made
        return made

    def process_parts(self, row: Row, parts: Sequence[Stage]) -> Iterator[tuple[Stage, Result | AssetFailure]]:
        """From a row of the plan to the views of each set; the caption is a member too, empty where there is none."""
        renderer = self._started()
        by_set = {part.sets[0].name: part for part in self.parts if part in parts}
        try:
            files = locate(row).fetch(cache_root(), renderer.limits)
            preflight(files.main, row["format"], renderer.limits, files.root)
        except AssetFailure as failure:
            yield from ((part, failure) for part in by_set.values())
            return
        for name, made in renderer.render(row, files.main, files.dependencies, list(by_set)):
            if isinstance(made, Result) and (self._every_caption or row["caption"] is not None):
                made = Result(made.row, {**made.members, "txt": (row["caption"] or "").encode()})
            yield by_set[name], made

    def _started(self) -> Renderer:
        if self._renderer is None:
            raise DataengineError("the render stage has not been started")
        return self._renderer


def default_workers() -> int:
    """One Blender per core that this process may use, with 2 GiB of memory each."""
    return max(1, min(usable_cores(), usable_memory() // MEMORY_PER_WORKER))
