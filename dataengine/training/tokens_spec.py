"""Which tokenizer made a corpus's tokens, and whether a run knows its codes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataengine.corpus.corpus import Corpus
from dataengine.corpus.fragments import Fragment, list_stages
from dataengine.errors import UsageError
from dataengine.tokenize.checkpoint import load, shipped_as
from dataengine.tokenize.device_tokenizer import pick_device
from dataengine.tokenize.model import Tokenizer
from dataengine.training.checkpoints import RunState
from dataengine.training.text import text_tokenizer


def tokenizer_of(corpus: Corpus, tokenizer: str) -> dict[str, Any]:
    """The spec of the tokenizer that made a corpus's tokens, as the first fragment has it.

    Raises:
        UsageError: if the corpus has no tokens of this name.
    """
    return dict(_first(corpus, tokenizer).settings["tokenizer"])


def view_set_of(corpus: Corpus, tokenizer: str) -> str:
    """The name of the view set that a corpus's tokens were made of.

    Raises:
        UsageError: if the corpus has no tokens of this name.
    """
    made_from = corpus.config.set_of(str(_first(corpus, tokenizer).head.get("made_from")))
    return (made_from or corpus.config.sets[0]).name  # format 1 does not say it: it has one set


def _first(corpus: Corpus, tokenizer: str) -> Fragment:
    for shard in corpus.shards():
        fragment = corpus.fragment(f"tokens/{tokenizer}", shard)
        if fragment is not None:
            return fragment
    raise UsageError(f"{corpus.url} has no tokens of {tokenizer!r}: run `dataengine tokenize` first")


def codec_of(corpus: Corpus, tokenizer: str, weights: str | None, device: str) -> Tokenizer:
    """The tokenizer that made a corpus's tokens, to decode them with.

    Args:
        corpus: with tokens.
        tokenizer: name of the tokens.
        weights: file that they were made with; None: the weights that ship under that hash.
        device: `auto`, `cpu`, `cuda` …

    Raises:
        UsageError: if the corpus has no such tokens, or they were made with other weights.
    """
    spec = tokenizer_of(corpus, tokenizer)
    codec = load(spec["name"], weights or shipped_as(spec["weights_sha256"]))
    if codec.spec.weights_sha256 != spec["weights_sha256"]:
        raise UsageError(
            f"the tokens {tokenizer} were made with other weights of {spec['name']} ({spec['weights_sha256']}): name "
            "their file with --weights"
        )
    return codec.to(pick_device(device))


def tokens_for(corpus: Corpus, state: RunState, name: str | None = None) -> str:
    """The name of a corpus's tokens that a run can be measured on.

    Args:
        corpus: to measure on.
        state: of the run.
        name: chosen by a person. None: that of what the run was trained on, else the tokenizer's; where there are no
            such tokens, the only ones of the run's weights.

    Raises:
        UsageError: if there are no tokens of that name, or several others fit.
    """
    there = [stage.removeprefix("tokens/") for stage in list_stages(corpus.store) if stage.startswith("tokens/")]
    if name is not None:
        if name not in there:
            raise UsageError(f"{corpus.url} has no tokens {name!r} (it has {', '.join(there) or 'none'})")
        return name
    usual = [state.settings.get("tokenizer"), state.tokenizer["name"]]
    if known := [each for each in usual if each in there]:
        return str(known[0])
    weights = state.tokenizer.get("weights_sha256")
    fit = [each for each in there if weights and tokenizer_of(corpus, each).get("weights_sha256") == weights]
    if len(fit) > 1:
        raise UsageError(f"{corpus.url} has several tokens of the run's weights: choose --tokenizer {' or '.join(fit)}")
    return fit[0] if fit else str(state.tokenizer["name"])


def check_tokenizer(state: RunState, tokenizer: Mapping[str, Any], where: Path) -> None:
    """Raises UsageError if codes of this tokenizer mean nothing to the run."""
    # A tokenizer's name says which weights are the newest; codes are the same where the weights are.
    made_by = state.tokenizer.get("weights_sha256")
    for key in ("bits", "weights_sha256") if made_by else ("name", "bits", "weights_sha256"):
        if state.tokenizer.get(key) != tokenizer.get(key):
            shipped = shipped_as(made_by)
            remedy = f"tokenize with --tokenizer {shipped}, or " if shipped else ""
            raise UsageError(
                f"{where} was trained on tokens of {state.tokenizer['name']} ({key} {state.tokenizer.get(key)}), "
                f"not {tokenizer['name']} ({key} {tokenizer.get(key)}): {remedy}train in a new folder"
            )
    if state.text != text_tokenizer().sha256:
        raise UsageError(f"{where} was trained with another text tokenizer: another version of dataengine made it")
