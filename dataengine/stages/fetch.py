"""`fetch`: downloads the assets of shards ahead of rendering them, as fast as their hosts allow."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataengine.corpus.corpus import Corpus
from dataengine.download.asset_files import AssetFiles
from dataengine.errors import AssetFailure
from dataengine.paths import cache_root
from dataengine.sources.locate import fetch_many, locate

BATCH = 4096  # rows in hand

OnFetched = Callable[[Mapping[str, Any], AssetFailure | None], None]


@dataclass
class Prefetched:
    """What `prefetch` did.

    Attributes:
        fetched: assets that are on this machine now.
        bytes: of their files.
        failures: uid → why not; rendering will record the same in the asset's row.
    """

    fetched: int = 0
    bytes: int = 0
    failures: dict[str, AssetFailure] = field(default_factory=dict)


def prefetch(
    corpus: Corpus,
    shards: Sequence[int],
    *,
    cache: Path | None = None,
    on_asset: OnFetched = lambda row, failure: None,
) -> Prefetched:
    """Fetches every asset of the shards into the cache; what is there already is not asked for again.

    A kill costs what is under way, and large files are continued. The cache's bound holds: fetching more than it takes
    drops the first again.

    Raises:
        UsageError: for a corpus of pictures.
        DataengineError: if the cache cannot be written, or is full.
    """
    corpus.check_models()
    cache = cache or cache_root()
    limits = corpus.config.limits
    result = Prefetched()
    for rows in _batches(corpus, shards):

        def done(index: int, outcome: AssetFiles | AssetFailure, rows: Sequence[Mapping[str, Any]] = rows) -> None:
            failure = outcome if isinstance(outcome, AssetFailure) else None
            if isinstance(outcome, AssetFailure):
                result.failures[rows[index]["uid"]] = outcome
            else:
                result.fetched += 1
                result.bytes += outcome.bytes
            on_asset(rows[index], failure)

        fetch_many([locate(row) for row in rows], cache, limits, done)
    return result


def _batches(corpus: Corpus, shards: Sequence[int]) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    for shard in shards:
        rows += corpus.plan(shard).to_pylist()
        if len(rows) >= BATCH:
            yield rows
            rows = []
    if rows:
        yield rows
