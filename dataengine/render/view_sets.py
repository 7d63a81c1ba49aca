"""View sets as a person asks for them: words of `--views`, or the `views:` section of a file, to frozen sets.

    --views NAME[=RIG-OR-RECIPE][:key=value,…]

NAME alone is a rig, a recipe, or a recipe that brings several sets, which have names of their own. Values that are
lists are joined by +.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml

from dataengine.corpus.config import CORPUS_WIDE, RenderConfig, ViewSet
from dataengine.errors import UsageError
from dataengine.render.choice import pin_looks
from dataengine.render.frozen import RENDER_REVISION, render_numbers
from dataengine.render.recipes import RECIPES
from dataengine.render.rigs import RIG_NAMES, rig
from dataengine.render.set_recipes import SET_RECIPES
from dataengine.render.settings import render_config

SETTINGS = tuple(n for n in RenderConfig.model_fields if n not in ("rig", "recipe", "hdris", *CORPUS_WIDE))
"""What a set may say of itself besides its rig or recipe."""

Asked = tuple[str, Mapping[str, Any]]


def frozen_set(config: RenderConfig, name: str | None = None) -> ViewSet:
    """A set with the numbers that its names stand for in this release, its environment maps pinned.

    Args:
        name: of the set; None: the rig's.

    Raises:
        UsageError: for an unknown rig, look or recipe, or an environment map that cannot be read.
        DataengineError: if Blender, which reads those maps, does not work here.
    """
    config = pin_looks(config)[0]
    numbers = render_numbers(config)
    return ViewSet(name=config.rig if name is None else name, render=config, numbers=numbers, revision=RENDER_REVISION)


def sets_of_words(words: Iterable[str], beside: Mapping[str, Any]) -> list[ViewSet]:
    """The sets that the words of `--views` ask for.

    Args:
        words: as in this module's head.
        beside: settings for every set that does not say otherwise, and `seed`.

    Raises:
        UsageError: for a word that cannot be read, or an unknown name, key or value; names the nearest.
    """
    found = []
    for word in words:
        where = f"--views {word}"
        head, _, tail = word.partition(":")
        name, equals, what = head.partition("=")
        own = {"from": what} if equals else {}
        for pair in tail.split(",") if tail else ():
            key, given, value = pair.partition("=")
            if not given:
                raise UsageError(f"{where}: {pair!r} is not key=value, as in resolution=512")
            own[key.strip().replace("-", "_")] = value.strip()
        found += _sets(where, name, own, beside)
    return _distinct(found, "--views")


def sets_of_file(path: Path, beside: Mapping[str, Any]) -> list[ViewSet]:
    """The sets of a file's section `views:`, which is laid out as in corpus.yaml; `numbers` may be left out.

    Raises:
        UsageError: if it cannot be read, or as `sets_of_words`.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise UsageError(f"--config {path}: {e.strerror}") from e
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as e:
        raise UsageError(f"--config {path} is not YAML: {' '.join(str(e).split())}") from e
    views = data.get("views") if isinstance(data, dict) else None
    if not isinstance(views, dict) or not views:
        raise UsageError(f"--config {path} has no section `views:` with a view set in it")
    found = []
    for name, given in views.items():
        where = f"--config {path}: {name}"
        if not isinstance(given, dict | None):
            raise UsageError(f"{where} is not a section of settings, such as `resolution: 512`")
        own = {key: value for key, value in (given or {}).items() if value is not None}
        frozen = {key: own.pop(key) for key in ("revision", "numbers") if key in own}
        sets = _sets(where, str(name), _of_section(own), beside)
        for key, value in frozen.items():
            if len(sets) != 1 or getattr(sets[0], key) != value:
                raise UsageError(f"{where} was frozen with another {key} than this version has: leave {key} out")
        found += sets
    return _distinct(found, f"--config {path}")


def described(view_set: ViewSet) -> str:
    """One line for a person: what `plan` froze."""
    config, numbers = view_set.render, view_set.numbers or {}
    known = {"rig", "look", "recipe", "resolution", "samples", "engine", "frame", "hdris", *CORPUS_WIDE}
    poses = numbers.get("rig", {}).get("poses", ())
    parts = [f"{len(poses)} views of {config.resolution}×{config.resolution}", f"rig {config.rig}"]
    if config.recipe not in (None, config.rig):
        parts.append(f"recipe {config.recipe}")
    samples = numbers.get("samples", config.samples)  # none where each of several looks has its own
    parts += [f"look {config.look}", *([] if samples is None else [f"{samples} samples"])]
    parts += [config.engine] if config.engine != "cycles" else []
    parts += [f"frame {config.frame}"] if config.frame is not None else []
    parts += [f"{key} {_shown(value)}" for key, value in config.model_dump(mode="json").items() if key not in known]
    maps = dict.fromkeys(hdri.name for hdri in config.hdris)
    parts += [f"environment maps {'+'.join(maps)}"] if maps else []
    return f"{view_set.name}: {', '.join(parts)}"


def _shown(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


def _of_section(own: dict[str, Any]) -> dict[str, Any]:
    """A section has `rig` or `recipe`; one of corpus.yaml has both, and the recipe's look."""
    what = own.pop("rig", None)
    if (recipe := own.pop("recipe", None)) is not None:
        published = RECIPES.get(recipe)
        if published is not None and own.get("look") == published.look:
            del own["look"]
        what = recipe
    return own if what is None else {"from": what, **own}


def _sets(where: str, name: str, own: dict[str, Any], beside: Mapping[str, Any]) -> list[ViewSet]:
    """What one word or section asks for; `own` has what it says, and `from`: the rig or recipe, if not its name."""
    named = "from" in own  # NAME=trellis is the recipe of one set, trellis alone the one of several
    what = str(own.pop("from", name))
    for key in own:
        _check_key(where, key)
    if what in SET_RECIPES and not (named and what in RECIPES):
        if what != name:
            names = ", ".join(SET_RECIPES[what].sets)
            raise UsageError(f"{where}: {what} brings the sets {names}, which have names of their own")
        return [
            _set(where, each, settings, own, beside) for each, settings in SET_RECIPES[what].sets.items()
        ]  # fmt: skip
    return [_set(where, name if what != name else None, _origin(where, what), own, beside)]


def _origin(where: str, what: str) -> dict[str, Any]:
    if what in RECIPES:
        return {"recipe": what}
    try:
        rig(what)
    except UsageError as e:
        known = (*RIG_NAMES, *RECIPES, *SET_RECIPES)
        raise UsageError(f"{where}: there is no rig or recipe {what!r}{_nearest(what, known)}") from e
    return {"rig": what}


def _set(
    where: str, name: str | None, origin: Mapping[str, Any], own: Mapping[str, Any], beside: Mapping[str, Any]
) -> ViewSet:
    taken = {key: value for key, value in beside.items() if key != "look" or "recipe" not in origin}
    given = {**origin, **taken, **{key: _value(key, value) for key, value in own.items()}}
    try:
        config = render_config(**given)
        return frozen_set(config, name)
    except UsageError as e:
        raise UsageError(f"{where}: {str(e).removeprefix('--')}") from e
    except ValueError as e:  # of the name, which is a folder's
        raise UsageError(f"{where}: {name!r} cannot be a set's name: letters, digits, '.', '_' and '-' can") from e


def _value(key: str, value: Any) -> Any:
    """Text of several values becomes a list where the field is one."""
    annotation = RenderConfig.model_fields[key].annotation
    if isinstance(value, str) and get_origin(annotation) is tuple and get_args(annotation)[-1:] == (...,):
        return value.split("+")
    return value


def _check_key(where: str, key: str) -> None:
    if key in CORPUS_WIDE:
        raise UsageError(f"{where}: {key} holds for the whole corpus: give it beside the sets")
    if key not in SETTINGS:
        raise UsageError(f"{where}: there is no setting {key!r}{_nearest(key, SETTINGS)}")


def _nearest(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else f" (known: {', '.join(known)})"


def _distinct(sets: list[ViewSet], where: str) -> list[ViewSet]:
    names = [s.name for s in sets]
    if twice := next((n for n in names if names.count(n) > 1), None):
        raise UsageError(f"{where}: two sets are called {twice}; name one of them, as in NAME={twice}")
    return sets
