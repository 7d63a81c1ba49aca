"""Planning a corpus that is planned: what is not said stays as it was, and what changes is told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataengine.corpus.config import CorpusConfig, Limits, RenderConfig, ViewSet
from dataengine.corpus.corpus import CONFIG, Corpus
from dataengine.corpus.storage import Store
from dataengine.errors import UsageError
from dataengine.render.settings import render_config
from dataengine.stages.plan_files import read_before

PLANNING = ("where", "limit", "sample", "captions", "shard_size", "guess_up")


@dataclass(frozen=True)
class Request:
    """What `plan_corpus` is to be asked.

    Attributes:
        sources, render, sets, planning: its arguments.
        changes: of the settings of a planned corpus, a line each; none where it is new, or only read again.
    """

    sources: tuple[str, ...]
    render: RenderConfig | None
    sets: tuple[ViewSet, ...] | None
    planning: Mapping[str, Any]
    changes: tuple[str, ...] = ()


def request_of(
    url: str | Path,
    sources: Sequence[str],
    rendering: Mapping[str, Any],
    limits: Mapping[str, Any],
    planning: Mapping[str, Any],
    sets: Sequence[ViewSet] | None = None,
) -> Request:
    """What was said, completed by what a planned corpus has.

    Args:
        url: of the corpus, which need not be there.
        sources: to read, besides those that it has.
        rendering: fields of RenderConfig that were given, for a corpus with one view set.
        limits: fields of Limits that were given.
        planning: of PLANNING, those that were given; captions come before those that the corpus has.
        sets: view sets that were asked for by name; None: none were.

    Raises:
        UsageError: for an unknown name, a corpus without any source, or a corpus.yaml that was changed by hand.
    """
    store = Store(url)
    store.check_writable()
    before = read_before(store)
    if before is None:
        if not sources:
            raise UsageError(f"{url} is not planned yet: say where the models are, such as --source local:models")
        given = Limits().model_copy(update=limits)
        if sets is not None:
            return Request(tuple(sources), None, _limited(sets, given), planning)
        alone = render_config(**rendering).model_copy(update={"limits": given})
        return Request(tuple(sources), alone, None, planning)
    old = before[0]
    if store.exists(CONFIG):
        Corpus.open(url).shards()  # says so if it was changed by hand
    known = [s.spec for s in old.sources]
    added = [s for s in sources if _absolute(s) not in known]
    kept = {name: getattr(old, name) for name in PLANNING}
    captions = tuple(dict.fromkeys((*planning.get("captions", ()), *old.captions)))
    now = {**kept, **planning, "captions": captions}
    changes = [f"source {s} is added" for s in added]
    changes += [f"{name} {_shown(kept[name])} → {_shown(now[name])}" for name in PLANNING if now[name] != kept[name]]
    within = old.limits.model_copy(update=limits)
    render, asked = _views(old, rendering, within, sets)
    changes += _different(old.limits.model_dump(), within.model_dump())
    if render is not None and len(old.sets) == 1:
        changes += _different(_settings(old.sets[0].render), _settings(render))
    for view_set in sets or ():
        was = next((s for s in old.sets if s.name == view_set.name), None)
        if was is None:
            changes.append(f"view set {view_set.name} is added")
        else:
            differing = _different(_settings(was.render), _settings(view_set.render))
            changes += [f"view set {was.name}: {line}" for line in differing]
    return Request((*known, *added), render, asked, now, tuple(changes))


def _views(
    old: CorpusConfig, given: Mapping[str, Any], limits: Limits, sets: Sequence[ViewSet] | None
) -> tuple[RenderConfig | None, tuple[ViewSet, ...] | None]:
    """(the settings of the one view set, or the view sets) to ask for; neither where they stay as they are."""
    if sets is not None:
        return None, _limited(sets, limits)
    if not given:
        return None, None if limits == old.limits else _limited(old.sets, limits)
    before = _settings_given(old.sets[0].render, given) if len(old.sets) == 1 else {}
    return render_config(**{**before, **given}).model_copy(update={"limits": limits}), None


def _settings_given(render: RenderConfig, given: Mapping[str, Any]) -> dict[str, Any]:
    """What of a set's settings stays beside what is given. A recipe brings a rig and a look; without one, those of
    before stay."""
    replaced = {"limits", "hdris"}
    if given.get("recipe"):
        replaced |= {"rig", "look", "recipe", "resolution", "samples"}
    if given.keys() & {"rig", "look"}:
        replaced |= {"recipe"}
    before = render.model_dump(exclude_defaults=True, exclude=replaced)
    if before.get("recipe"):  # it says these itself
        return {name: value for name, value in before.items() if name not in ("rig", "look")}
    return before


def _limited(sets: Sequence[ViewSet], limits: Limits) -> tuple[ViewSet, ...]:
    return tuple(s.model_copy(update={"render": s.render.model_copy(update={"limits": limits})}) for s in sets)


def _settings(render: RenderConfig) -> dict[str, Any]:
    return render.model_dump(exclude={"limits", "hdris"})


def _different(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    names = dict.fromkeys((*was, *now))
    return [f"{name} {was.get(name)} → {now.get(name)}" for name in names if was.get(name) != now.get(name)]


def _absolute(spec: str) -> str:
    """A folder of this machine as corpus.yaml names it; other specs as they are."""
    kind, _, rest = spec.partition(":")
    return f"local:{Path(rest).expanduser().absolute()}" if kind == "local" else spec


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
