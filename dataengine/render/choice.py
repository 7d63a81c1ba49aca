"""What `look` names: one look, several of which each asset has one, or several in which each view is rendered."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from dataengine.corpus.config import Hdri, RenderConfig
from dataengine.errors import UsageError
from dataengine.render.environment import environment_look, pin
from dataengine.render.looks import BLENDERS_HDRIS, Look, look

ENV = "env"


@dataclass(frozen=True)
class LookChoice:
    """The looks of a view set.

    Attributes:
        looks: at least one.
        every: whether each view is rendered in all of them; otherwise one is drawn for each asset.
    """

    looks: tuple[Look, ...]
    every: bool = False


def choose_looks(text: str, hdris: Sequence[Hdri] = ()) -> LookChoice:
    """The looks that a config's `look` names: `A`, `A/B/C` (one of them an asset) or `A+B+C` (all, every view).

    Args:
        text: of the config.
        hdris: as `plan` pinned them; empty before it has.

    Raises:
        UsageError: for an unknown look, one that is named twice, or looks that cannot share a depth.
    """
    words, every = _words(text)
    looks = tuple(_look(word, hdris) for word in words)
    names = [member_word(one.name) for one in looks]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"look {text!r} names {name} twice: give files of the same name other names")
    if every:
        _check_shared_depth(looks)
    return LookChoice(looks, every)


def pin_looks(config: RenderConfig) -> tuple[RenderConfig, dict[str, Path]]:
    """The config with the environment maps of its looks pinned, and where each map is: {name in `lights`: path}.

    Raises:
        UsageError: if a map is not there or cannot be read; names the look.
        DataengineError: if Blender, which reads them, does not work here.
    """
    words = _words(config.look)[0]
    places = {_environment_name(word): _place(word) for word in words if _is_environment(word)}
    hdris, files = pin(places, config.limits) if places else ((), {})
    return config.model_copy(update={"hdris": hdris}), files


def member_word(name: str) -> str:
    """What a look is called in the names of members: `env:city` → `env-city`."""
    return re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-")


def _words(text: str) -> tuple[list[str], bool]:
    """The single looks, and whether all of them are meant.

    What stands behind `env:` may be a path and hold slashes: it reaches to the end, or to the next `+`.
    """
    parts = text.split("+")
    words: list[str] = []
    for part in parts:
        rest = part.split("/")
        while rest:
            word = rest.pop(0)
            if word.startswith(f"{ENV}:") and _place(word) not in BLENDERS_HDRIS:
                word, rest = "/".join([word, *rest]), []
            words.append(word)
    if len(parts) > 1 and len(words) > len(parts):
        raise UsageError(f"look {text!r} mixes + (all of them) with / (one of them): give two view sets")
    return words, len(parts) > 1


def _is_environment(word: str) -> bool:
    return word == ENV or word.startswith(f"{ENV}:")


def _environment_name(word: str) -> str:
    """A file or folder gives its look the name that it has itself, without the folders that it lies in."""
    place = _place(word)
    return f"{ENV}:{PurePath(place).stem}" if place else ENV


def _place(word: str) -> str:
    return word[len(ENV) + 1 :]


def _look(word: str, hdris: Sequence[Hdri]) -> Look:
    return environment_look(_environment_name(word), hdris) if _is_environment(word) else look(word)


def _check_shared_depth(looks: Sequence[Look]) -> None:
    first = looks[0]
    for other in looks[1:]:
        if (other.cull_back_faces, other.depth_alpha) != (first.cull_back_faces, first.depth_alpha):
            blind, seen = (first, other) if first.cull_back_faces else (other, first)
            raise UsageError(
                f"looks {first.name} and {other.name} do not go together in one view set: {blind.name} sees through "
                f"the backs of single-sided materials and {seen.name} does not, so they differ in depth; give two sets"
            )
