"""Planning a corpus that is planned: what is not said stays as it was, and what changes is told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataengine.corpus.config import CorpusConfig, RenderConfig
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
        sources, render, planning: its arguments.
        changes: of the settings of a planned corpus, a line each; none where it is new, or only read again.
    """

    sources: tuple[str, ...]
    render: RenderConfig
    planning: Mapping[str, Any]
    changes: tuple[str, ...] = ()


def request_of(
    url: str | Path,
    sources: Sequence[str],
    rendering: Mapping[str, Any],
    limits: Mapping[str, Any],
    planning: Mapping[str, Any],
) -> Request:
    """What was said, completed by what a planned corpus has.

    Args:
        url: of the corpus, which need not be there.
        sources: to read, besides those that it has.
        rendering: fields of RenderConfig that were given.
        limits: fields of Limits that were given.
        planning: of PLANNING, those that were given; captions come before those that the corpus has.

    Raises:
        UsageError: for an unknown name, a corpus without any source, or a corpus.yaml that was changed by hand.
    """
    store = Store(url)
    before = read_before(store)
    if before is None:
        if not sources:
            raise UsageError(f"{url} is not planned yet: say where the models are, such as --source local:models")
        return Request(tuple(sources), _render(None, rendering, limits), planning)
    old = before[0]
    if store.exists(CONFIG):
        Corpus.open(url).shards()  # says so if it was changed by hand
    known = [s.spec for s in old.sources]
    added = [s for s in sources if _absolute(s) not in known]
    kept = {name: getattr(old, name) for name in PLANNING}
    captions = tuple(dict.fromkeys((*planning.get("captions", ()), *old.captions)))
    now = {**kept, **planning, "captions": captions}
    render = _render(old, rendering, limits)
    changes = [f"source {s} is added" for s in added]
    changes += [f"{name} {_shown(kept[name])} → {_shown(now[name])}" for name in PLANNING if now[name] != kept[name]]
    was, will = _flat(old.render), _flat(render)
    changes += [f"{name} {was[name]} → {will[name]}" for name in will if was[name] != will[name]]
    return Request((*known, *added), render, now, tuple(changes))


def _render(old: CorpusConfig | None, given: Mapping[str, Any], limits: Mapping[str, Any]) -> RenderConfig:
    if old is not None and not given:
        render = old.render
    else:
        # A recipe brings a rig and a look; without one, those of before stay.
        replaced = {"rig", "look", "recipe", "resolution", "samples", "limits"} if given.get("recipe") else {"limits"}
        if given.keys() & {"rig", "look"}:
            replaced |= {"recipe"}
        before = old.render.model_dump(exclude_defaults=True, exclude=replaced) if old is not None else {}
        if before.get("recipe"):  # it says these itself
            before = {k: v for k, v in before.items() if k not in ("rig", "look")}
        render = render_config(**{**before, **given})
        render = render.model_copy(update={"limits": old.render.limits}) if old is not None else render
    return render.model_copy(update={"limits": render.limits.model_copy(update=limits)})


def _flat(render: RenderConfig) -> dict[str, Any]:
    settings = render.model_dump()
    return {**{k: v for k, v in settings.items() if k != "limits"}, **settings["limits"]}


def _absolute(spec: str) -> str:
    """A folder of this machine as corpus.yaml names it; other specs as they are."""
    kind, _, rest = spec.partition(":")
    return f"local:{Path(rest).expanduser().absolute()}" if kind == "local" else spec


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
