"""What the tokens of a view set are called: their folder `tokens/<name>/`, which never changes hands silently."""

from typing import Any

from dataengine.corpus.config import ViewSet
from dataengine.corpus.corpus import Corpus
from dataengine.corpus.fragments import list_fragments
from dataengine.errors import UsageError
from dataengine.tokenize.spec import TokenizerSpec

_ITS_OWN_WORDS = {"weights_sha256": "weights"}


def tokens_name(corpus: Corpus, spec: TokenizerSpec, view_set: ViewSet, name: str | None = None) -> str:
    """The name for tokens of a set.

    It is the tokenizer's, where the corpus has one set and is tokenized as rendered (or was, in a corpus from before
    there were others); else set, tokenizer, resolution and, if it is not colour, channel.

    Args:
        spec: how the views are encoded.
        name: chosen by a person; None: by that rule.

    Raises:
        UsageError: if tokens with other settings have the name.
    """
    plain = len(corpus.config.sets) == 1 and spec.channel == "rgba"
    as_rendered = spec.resolution in (None, view_set.render.resolution)
    if name is None and plain and (as_rendered or _differences(corpus, spec.name, spec, view_set) == []):
        name = spec.name
    if name is None:
        parts = [view_set.name, spec.name, str(spec.resolution or view_set.render.resolution)]
        name = "-".join(parts if spec.channel == "rgba" else [*parts, spec.channel])
    if differing := _differences(corpus, name, spec, view_set):
        raise UsageError(
            f"tokens/{name} of {corpus.url} was made with other settings ({'; '.join(differing)}): "
            "choose another name with --name"
        )
    return name


def _differences(corpus: Corpus, name: str, spec: TokenizerSpec, view_set: ViewSet) -> list[str] | None:
    """In what tokens of that name differ from those that are asked for; None where there are no such tokens."""
    shards = list_fragments(corpus.store, f"tokens/{name}")
    fragment = corpus.fragment(f"tokens/{name}", min(shards)) if shards else None
    if fragment is None or "tokenizer" not in fragment.settings:
        return None
    was: dict[str, Any] = dict(fragment.settings["tokenizer"])
    now = spec.as_dict()
    found = [
        f"{_ITS_OWN_WORDS.get(key, key)} {was.get(key)} → {now.get(key)}"
        for key in {**was, **now}
        if was.get(key) != now.get(key)
    ]
    made_from = fragment.head.get("made_from") or "views"
    if made_from not in (view_set.stage, "views"):
        found.insert(0, f"view set {made_from.removeprefix('views/')} → {view_set.name}")
    return found
