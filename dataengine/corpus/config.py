"""The frozen settings of a corpus: corpus.yaml."""

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
)

from dataengine._version import __version__
from dataengine.corpus.ranges import Range, parse_range
from dataengine.corpus.schema import CHANNELS
from dataengine.errors import UsageError

CORPUS_FORMAT = 2
PICTURES = "pictures"  # the view set of a corpus of ordinary pictures, in the place of a rig
CORPUS_WIDE = ("seed", "limits")  # of RenderConfig: they hold for all sets of a corpus
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"  # of a set, and so of a folder
# Of RenderConfig: not written at their defaults, so that corpora from before they were there keep their hashes.
_OPTIONAL = ("channels", "colour", "elevation", "radius", "fov", "per", "hdris")
_RANGES = {"elevation": (-90.0, 90.0), "radius": (0.0, 1000.0), "fov": (1.0, 120.0)}  # least and most of either end


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceConfig(Frozen):
    """Where assets come from: `local:/models`, `objaverse:lvis` …, and the revision that was pinned."""

    spec: str
    revision: str | None = None


class Limits(Frozen):
    """What one asset may use before it becomes a typed failure."""

    cpu_seconds: float = Field(120.0, gt=0, description="CPU time of Blender on one asset in one view set.")
    # A backstop for a process that hangs without using the CPU.
    wall_seconds: float = Field(600.0, gt=0, description="Wall-clock time for one asset in one view set.")
    memory_bytes: int = Field(8 << 30, gt=0, description="Memory of Blender.")
    file_bytes: int = Field(2 << 30, gt=0, description="Main file and dependencies.")
    texture_pixels: int = Field(16384 * 16384, gt=0, description="Of one texture.")
    elements: int = Field(50_000_000, gt=0, description="Vertices, or faces, as the file declares them.")
    # Blender's importers are quadratic in objects, and worse in materials: 5,000 take two minutes.
    objects: int = Field(10_000, gt=0, description="Of a scene.")
    materials: int = Field(1_000, gt=0, description="Of a file.")


class Hdri(Frozen):
    """An environment map that `plan` has copied into the corpus: `lights/<sha256><suffix>`.

    Attributes:
        look: the look that it belongs to, as `look` names it; a folder's look has several.
        name: for people: the file's name without its suffix.
        suffix: `.exr` or `.hdr`.
        strength: what its radiance is multiplied by.
    """

    look: str
    name: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    suffix: Literal[".exr", ".hdr"]
    strength: float = Field(gt=0)

    @property
    def file(self) -> str:
        """Its name in the folder `lights`."""
        return f"{self.sha256}{self.suffix}"


class RenderConfig(Frozen):
    """Everything that decides how the views of a set are rendered. Its numbers' hash is part of every shard's input.

    Attributes:
        hdris: the environment maps of its looks, as `plan` has pinned them.
    """

    rig: str = Field("orbit8", description="Cameras.")
    look: str = Field(
        "studio", description="Light, film and samples; A/B draws one an asset, A+B renders each view in all. Looks."
    )
    recipe: str | None = Field(None, description="A published rig and look under one name.")
    resolution: int = Field(256, ge=16, le=4096, description="Pixels per side; a recipe has its own.")
    samples: int | None = Field(
        None, ge=1, le=65536, description="Samples per pixel.", json_schema_extra={"default": "the look's"}
    )
    engine: Literal["cycles", "eevee"] = Field("cycles", description="Blender's renderer.")
    channels: tuple[str, ...] = Field(
        (),
        description=f"What a view has beside colour and depth: {', '.join(CHANNELS)}.",
        json_schema_extra={"metavar": "NAME,…"},
    )
    colour: bool = Field(True, description="Colour pictures; without, one sample is enough.")
    frame: int | None = Field(
        None, description="Frame of an animation to render.", json_schema_extra={"default": "the first"}
    )
    elevation: str | None = Field(
        None,
        description="Elevation of the cameras: a range to draw from.",
        json_schema_extra={"metavar": "A..B", "default": "the rig's"},
    )
    radius: str | None = Field(
        None,
        description="Distance of the cameras: a range to draw from.",
        json_schema_extra={"metavar": "A..B", "default": "the rig's; with --fov the object fits"},
    )
    fov: str | None = Field(
        None,
        description="Field of view in degrees: a range to draw from.",
        json_schema_extra={"metavar": "A..B", "default": "the rig's"},
    )
    per: Literal["asset", "view"] | None = Field(
        None,
        description="Draw from the ranges once an asset, or for each view.",
        json_schema_extra={"default": "asset; view for random rigs"},
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of random rigs, looks and --sample.")
    limits: Limits = Limits()
    hdris: tuple[Hdri, ...] = ()

    @field_validator("elevation", "radius", "fov")
    @classmethod
    def _one_way_to_write_it(cls, text: str | None, field: ValidationInfo) -> str | None:
        return None if text is None else str(range_of(str(field.field_name), text))

    @model_serializer(mode="wrap")
    def _without_defaults(self, to_json: SerializerFunctionWrapHandler) -> Mapping[str, Any]:
        fields = RenderConfig.model_fields
        given = to_json(self).items()
        return {
            name: value for name, value in given if name not in _OPTIONAL or getattr(self, name) != fields[name].default
        }

    @field_validator("channels", mode="before")
    @classmethod
    def _in_order(cls, value: Any) -> tuple[str, ...]:
        """Words or a list of them, with commas or without; known ones, each once, in their usual order."""
        words = [value] if isinstance(value, str) else list(value)
        given = [name.strip() for word in words for name in str(word).split(",") if name.strip()]
        for name in given:
            if name not in CHANNELS:
                near = difflib.get_close_matches(name, CHANNELS, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise ValueError(f"there is no channel {name!r}{hint} (known: {', '.join(CHANNELS)})")
        return tuple(name for name in CHANNELS if name in given)


def range_of(setting: str, text: str) -> Range:
    """The range that `elevation`, `radius` or `fov` is set to. Raises UsageError if it is none, or out of bounds."""
    return parse_range(text, setting, *_RANGES[setting])


class ViewSet(Frozen):
    """Views of every asset that are rendered alike.

    Attributes:
        name: of its folder and its section in corpus.yaml; the rig's, where nothing else was chosen.
        render: its settings; seed and limits are those of the corpus.
        numbers: what the names in `render` stood for when the set was planned; None in format 1.
        revision: the render revision that it was planned for.
        format: of the corpus.
    """

    name: str = Field("orbit8", pattern=_NAME)
    render: RenderConfig = RenderConfig()
    numbers: dict[str, Any] | None = None
    revision: int = 1
    format: int = CORPUS_FORMAT

    @property
    def stage(self) -> str:
        """Name of the stage that renders it: `views/<name>`; `views` in format 1."""
        return "views" if self.format == 1 else f"views/{self.name}"

    @property
    def input(self) -> str:
        """What a shard's views are made from besides its assets; follows `shard_input` in a fragment's `input`.

        Format 1 has all of it in `shard_input`.
        """
        if self.format == 1:
            return ""
        named = ("rig", "look", "samples")  # what they stand for is in the numbers
        settings = self.render.model_dump(mode="json")
        numbers = self.numbers or {name: settings[name] for name in named}
        rest = {name: value for name, value in settings.items() if name not in (*named, "recipe", "limits")}
        return f"-{content_hash([self.revision, numbers, rest])[:16]}"

    def to_json(self) -> dict[str, Any]:
        """Its section in corpus.yaml."""
        own = {name: value for name, value in self.render.model_dump(mode="json").items() if name not in CORPUS_WIDE}
        if self.render.rig == PICTURES:  # nothing is rendered
            own = {name: own[name] for name in ("rig", "resolution")}
        return {**own, "revision": self.revision, "numbers": self.numbers}


class CorpusConfig(Frozen):
    """corpus.yaml: written once by `plan`, never edited by a stage.

    Attributes:
        sets: what is rendered of every asset, at least one set; the first is the default one.
        plan_sha256: of plan/assets.parquet, whose own copy of corpus.yaml cannot know it.
    """

    format: int = CORPUS_FORMAT
    version: str = __version__
    sources: tuple[SourceConfig, ...]
    sets: tuple[ViewSet, ...] = Field((ViewSet(),), min_length=1, validate_default=True)
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

    @field_validator("sets", mode="after")
    @classmethod
    def _of_one_corpus(cls, sets: tuple[ViewSet, ...], info: ValidationInfo) -> tuple[ViewSet, ...]:
        if len({s.name for s in sets}) < len(sets):
            raise ValueError("two view sets have one name")
        if any(getattr(s.render, name) != getattr(sets[0].render, name) for s in sets for name in CORPUS_WIDE):
            raise ValueError("view sets of one corpus have one seed and the same limits")
        return tuple(s.model_copy(update={"format": info.data.get("format")}) for s in sets)

    @property
    def of_pictures(self) -> bool:
        """Whether its assets are ordinary pictures: nothing is rendered, and no camera is known."""
        return self.sets[0].render.rig == PICTURES

    @property
    def seed(self) -> int:
        """Of all sets, and of --sample."""
        return self.sets[0].render.seed

    @property
    def limits(self) -> Limits:
        """Of all sets."""
        return self.sets[0].render.limits

    def view_set(self, name: str | None = None) -> ViewSet:
        """The set of that name; None: the only one.

        Raises:
            UsageError: if there is none of that name, or no name was given and there are several.
        """
        known = [s.name for s in self.sets]
        if name is None:
            if len(known) > 1:
                raise UsageError(
                    f"the corpus has the view sets {', '.join(known)}: say which, as in --views {known[0]}"
                )
            return self.sets[0]
        for known_set in self.sets:
            if known_set.name == name.removeprefix("views/"):
                return known_set
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"the corpus has no view set {name!r}{hint} (it has {', '.join(known)})")

    def chosen_sets(self, names: Iterable[str] = ()) -> tuple[ViewSet, ...]:
        """The sets of these names, in the corpus's order; none: all. Raises as `view_set`."""
        wanted = {self.view_set(name).name for name in names}
        return tuple(s for s in self.sets if not wanted or s.name in wanted)

    def set_of(self, stage: str) -> ViewSet | None:
        """The set that a stage of this name renders, if it renders one."""
        return next((s for s in self.sets if s.stage == stage), None)

    def to_yaml(self) -> str:
        data = self.model_dump(mode="json", exclude={"sets"})
        head = {name: data.pop(name) for name in ("format", "version", "sources")}
        if self.format == 1:
            del data["plan_sha256"]
            data = {**head, "render": self.sets[0].render.model_dump(mode="json"), **data}
        else:
            first = self.sets[0].render.model_dump(mode="json")
            wide = {name: first[name] for name in CORPUS_WIDE}
            data = {**head, "views": {s.name: s.to_json() for s in self.sets}, **wide, **data}
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
            return cls.model_validate(_with_sets(data))
        except ValidationError as e:
            raise UsageError(f"{where}: {first_problem(e)}") from e
        except ValueError as e:
            raise UsageError(f"{where}: {e}") from e


def _with_sets(data: dict[str, Any]) -> dict[str, Any]:
    """From the layout of corpus.yaml, a section per view set, to the fields of CorpusConfig."""
    if data["format"] == 1:
        render = RenderConfig.model_validate(data.pop("render", {}))
        return {**data, "sets": [ViewSet(name=render.rig, render=render, format=1)]}
    views = data.pop("views", None)
    if not isinstance(views, dict) or not views or not all(isinstance(own, dict) for own in views.values()):
        raise ValueError("views: there must be one view set or more")
    wide = {name: data.pop(name) for name in CORPUS_WIDE if name in data}
    sets = []
    for name, own in views.items():
        more = {key: own.pop(key) for key in ("revision", "numbers") if key in own}
        sets.append({"name": name, "render": {**own, **wide}, **more})
    return {**data, "sets": sets}


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
    said = problem["msg"].lower().removeprefix("value error, ")
    return f"{'.'.join(str(p) for p in problem['loc'])}: {said}"


def content_hash(value: Any) -> str:
    """SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False, default=str).encode()).hexdigest()
