"""Pictures beside views: `--mix` puts samples of one view, from another corpus's tokens, into every batch.

Each global batch has the same number of them, drawn by a stream of their own, so that order, masks and resuming are as
for the views: functions of the seed and of the samples seen, at any number of ranks.
"""

from dataclasses import dataclass

from dataengine.corpus.corpus import Corpus
from dataengine.errors import UsageError
from dataengine.manifests.catalog import Catalog
from dataengine.training.config import TrainConfig
from dataengine.training.data.index import SampleIndex, build_index
from dataengine.training.tokens_spec import tokenizer_of

SHARE = 0.5  # where --mix names none


@dataclass(frozen=True)
class Mixture:
    """What is mixed in.

    Attributes:
        index: of the samples, one view each.
        count: how many of them a global batch has.
    """

    index: SampleIndex
    count: int


def open_mixture(config: TrainConfig, ranks: int, views: SampleIndex) -> Mixture | None:
    """What `config.mix` asks for, checked; None if it asks for nothing.

    Args:
        config: of the training; `mix` is CORPUS or CORPUS:SHARE.
        ranks: among which both parts of a batch are divided.
        views: the samples that it is mixed with.

    Raises:
        UsageError: for another stage than pretrain, a share that leaves one side without a sample or cannot be divided
            among the ranks, or samples that are not one view each of the same tokenizer and grid.
    """
    if config.mix is None:
        return None
    if config.stage != "pretrain":
        raise UsageError(f"--mix goes with --stage pretrain: {config.stage} learns from several views")
    url, share = split_share(config.mix)
    count = round(share * config.batch)
    if not 0 < count < config.batch or count % ranks or (config.batch - count) % ranks:
        among = f" that {ranks} ranks can divide" if ranks > 1 else ""
        raise UsageError(
            f"--mix {config.mix} makes {count} of {config.batch} samples pictures: choose a share and a --batch "
            f"that leave some of both{among}"
        )
    corpus = Corpus.open(url)
    index = build_index(Catalog(corpus), config.tokenizer, split="train")
    ours, theirs = (tokenizer_of(Corpus.open(u), config.tokenizer) for u in (config.corpus, url))
    for key in ("bits", "weights_sha256"):
        if ours.get(key) != theirs.get(key):
            raise UsageError(
                f"the tokens of {url} are of other codes than those of {config.corpus} ({key} {theirs.get(key)}, not "
                f"{ours.get(key)}): tokenize both with the same --weights"
            )
    (count_views, *grid), (_, *wanted) = index.tokens_layout.shape, views.tokens_layout.shape
    if grid != wanted:
        here, there = ("×".join(map(str, g)) for g in (wanted, grid))
        raise UsageError(f"{config.corpus} has views of {here} tokens, {url} of {there}: tokenize one at another size")
    if count_views != 1:
        raise UsageError(f"--mix takes samples of one view, those of {url} have {count_views}")
    return Mixture(index, count)


def split_share(text: str) -> tuple[str, float]:
    """CORPUS:SHARE → both. What follows the last colon is a share if it is a number; a URL has others."""
    url, colon, last = text.rpartition(":")
    try:
        return (url, float(last)) if colon else (text, SHARE)
    except ValueError:
        return text, SHARE
