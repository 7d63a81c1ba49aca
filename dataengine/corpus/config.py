"""The frozen settings of a corpus: corpus.yaml."""

import hashlib
import json
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dataengine._version import __version__
from dataengine.errors import UsageError

CORPUS_FORMAT = 2
_CORPUS_WIDE = ("seed", "limits")  # of RenderConfig: they hold for the whole corpus


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceConfig(Frozen):
    """Where assets come from: `local:/models`, `objaverse:lvis` …, and the revision that was pinned."""

    spec: str
    revision: str | None = None


class Limits(Frozen):
    """What one asset may use before it becomes a typed failure."""

    cpu_seconds: float = Field(120.0, gt=0, description="CPU time of Blender on one asset.")
    # A backstop for a process that hangs without using the CPU.
    wall_seconds: float = Field(600.0, gt=0, description="The clock's time for one asset.")
    memory_bytes: int = Field(8 << 30, gt=0, description="Memory of Blender.")
    file_bytes: int = Field(2 << 30, gt=0, description="Main file and dependencies.")
    texture_pixels: int = Field(16384 * 16384, gt=0, description="Of one texture.")
    elements: int = Field(50_000_000, gt=0, description="Vertices, or faces, as the file declares them.")
    # Blender's importers are quadratic in objects, and worse in materials: 5,000 take two minutes.
    objects: int = Field(10_000, gt=0, description="Of a scene.")
    materials: int = Field(1_000, gt=0, description="Of a file.")


class RenderConfig(Frozen):
    """Everything that decides how a view is rendered. Its numbers' hash is part of every shard's input."""

    rig: str = Field("orbit8", description="Cameras.")
    look: str = Field("studio", description="Light, film and samples.")
    recipe: str | None = Field(None, description="A published rig and look under one name.")
    resolution: int = Field(256, ge=16, le=4096, description="Pixels per side; a recipe has its own.")
    samples: int | None = Field(
        None, ge=1, le=65536, description="Samples per pixel.", json_schema_extra={"default": "the look's"}
    )
    engine: Literal["cycles", "eevee"] = Field("cycles", description="Blender's renderer.")
    frame: int | None = Field(
        None, description="Frame of an animation to render.", json_schema_extra={"default": "the first"}
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of random rigs, looks and --sample.")
    limits: Limits = Limits()


class CorpusConfig(Frozen):
    """corpus.yaml: written once by `plan`, never edited by a stage.

    Attributes:
        render: of the view set.
        numbers: what the names in `render` stood for when the corpus was planned; None in format 1.
        revision: the render revision that it was planned for.
        plan_sha256: of plan/assets.parquet, whose own copy of corpus.yaml cannot know it.
    """

    format: int = CORPUS_FORMAT
    version: str = __version__
    sources: tuple[SourceConfig, ...]
    render: RenderConfig = RenderConfig()
    numbers: dict[str, Any] | None = None
    revision: int = 1
    plan_sha256: str | None = None
    where: str | None = Field(
        None, description="Keep only assets for which this is true.", json_schema_extra={"metavar": "SQL"}
    )
    limit: int | None = Field(None, ge=1, description="Take the first N assets.", json_schema_extra={"metavar": "N"})
    sample: int | None = Field(
        None,
        ge=1,
        description="Draw N assets, by a hash of uid and seed: the same for the same seed.",
        json_schema_extra={"metavar": "N"},
    )
    captions: tuple[str, ...] = Field(
        (),
        description="cap3d, or a CSV or Parquet file with a header. Repeatable.",
        json_schema_extra={"metavar": "FILE"},
    )
    shard_size: int = Field(256, ge=1, description="Assets per shard.")
    guess_up: bool = Field(True, description="Read an OBJ z up that looks as if z were up.")

    @property
    def views_stage(self) -> str:
        """Name of the stage that renders: `views/<rig>`; `views` in format 1."""
        return "views" if self.format == 1 else f"views/{self.render.rig}"

    @property
    def views_input(self) -> str:
        """What a shard's views are made from besides its assets; follows `shard_input` in a fragment's `input`.

        Format 1 has all of it in `shard_input`.
        """
        if self.format == 1:
            return ""
        render = self.render.model_dump(mode="json", exclude={"rig", "look", "recipe", "samples", "limits"})
        numbers = self.numbers or self.render.model_dump(mode="json", include={"rig", "look", "samples"})
        return f"-{content_hash([self.revision, numbers, render])[:16]}"

    def to_yaml(self) -> str:
        data = self.model_dump(mode="json")
        if self.format == 1:
            for name in ("numbers", "revision", "plan_sha256"):
                del data[name]
        else:
            render = data.pop("render")
            rest = {name: render.pop(name) for name in _CORPUS_WIDE}
            own = {**render, "revision": data.pop("revision"), "numbers": data.pop("numbers")}
            head = {name: data.pop(name) for name in ("format", "version", "sources")}
            data = {**head, "views": {self.render.rig: own}, **rest, **data}
        return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120))

    @classmethod
    def from_yaml(cls, text: str, where: str) -> "CorpusConfig":
        """Reads corpus.yaml. Raises UsageError when another version wrote it or it was damaged."""
        try:
            data = yaml.load(text, _PlainLoader)
        except yaml.YAMLError as e:
            raise UsageError(f"{where} is not YAML: {' '.join(str(e).split())}") from e
        except RecursionError as e:
            raise UsageError(f"{where} is not a corpus.yaml: it is nested too deeply") from e
        if not isinstance(data, dict) or "format" not in data:
            raise UsageError(f"{where} is not a corpus.yaml")
        if data["format"] not in (1, CORPUS_FORMAT):
            raise UsageError(
                f"{where} was made by dataengine {data.get('version', '?')} (format {data['format']}); "
                f"this is {__version__} (format {CORPUS_FORMAT}): use that version, or plan into a new folder"
            )
        try:
            return cls.model_validate(data if data["format"] == 1 else _with_render(data))
        except ValidationError as e:
            raise UsageError(f"{where}: {first_problem(e)}") from e
        except ValueError as e:
            raise UsageError(f"{where}: {e}") from e


def _with_render(data: dict[str, Any]) -> dict[str, Any]:
    """From the layout of corpus.yaml, a section per view set, to the fields of CorpusConfig."""
    views = data.pop("views", None)
    if not isinstance(views, dict) or len(views) != 1 or not isinstance(own := next(iter(views.values())), dict):
        raise ValueError("views: there must be one view set")
    rest = {name: data.pop(name) for name in _CORPUS_WIDE if name in data}
    more = {name: own.pop(name) for name in ("revision", "numbers") if name in own}
    return {**data, **more, "render": {**own, **rest}}


class _PlainLoader(yaml.SafeLoader):
    """Without aliases, which a corpus.yaml has not and of which 350 bytes can stand for gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        node: yaml.Node | None = super().compose_node(parent, index)
        return node


def first_problem(error: ValidationError) -> str:
    """The first thing that pydantic found wrong, in one line."""
    problem = error.errors()[0]
    return f"{'.'.join(str(p) for p in problem['loc'])}: {problem['msg'].lower()}"


def content_hash(value: Any) -> str:
    """SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False, default=str).encode()).hexdigest()
