"""The tars of a stage as the webdataset library reads them: one after the other, from any store that fsspec knows.

For training code that is built on that library. It has no reader of its own for s3:// or hf://, and its decoders lose
alpha and depth; here fsspec opens the tars and `dataengine.decode` decodes. `Views` and `Stream` go by byte range
instead: they select by SQL, shuffle over all assets, and resume.
"""

from collections.abc import Iterator
from typing import Any

import webdataset
from webdataset.compat import FluidInterface

from dataengine.corpus.corpus import Corpus
from dataengine.corpus.storage import Store
from dataengine.errors import UsageError
from dataengine.render.decode import decode


class TarDataset(webdataset.DataPipeline, FluidInterface):  # type: ignore[misc]  # neither is typed
    """A torch `IterableDataset` with webdataset's own methods: `.shuffle(1000)`, `.map(…)`, `.batched(…)`."""


def tar_dataset(corpus: Corpus, stage: str, *, seed: int | None = None) -> TarDataset:
    """Decoded samples of a stage: member → value, `__key__` is the uid. Failed assets have none.

    The committed tars, not what lies in the folder, are divided among ranks (of `torch.distributed`) and the workers of
    a `DataLoader`, so each needs one at least.

    Args:
        corpus: any.
        stage: such as `views/orbit8` or `tokens/small`.
        seed: reads the tars in another order in each epoch, the same on all ranks; None: in the order of the shards.

    Raises:
        UsageError: if nothing of the stage is committed; while it is read, if there are fewer tars than readers.
        DataengineError: while it is read, if the store cannot be.
    """
    names = corpus.tar_names(stage)
    if not names:
        raise UsageError(f"{corpus.url} has no committed shards of {stage!r}")
    parts: list[Any] = [webdataset.SimpleShardList(names)]
    if seed is not None:
        parts.append(webdataset.detshuffle(len(names), len(names), seed=seed))
    parts += [_share, _Opened(corpus.store), _expand, _group, webdataset.map(decode)]
    return TarDataset(*parts)


def _share(tars: Iterator[dict[str, str]]) -> Iterator[dict[str, str]]:
    """This rank's and worker's tars."""
    rank, ranks, worker, workers = webdataset.utils.pytorch_worker_info()
    every = list(tars)
    if len(every) < ranks * workers:
        raise UsageError(
            f"{len(every)} tars cannot be divided among {ranks} ranks with {workers} workers: use fewer workers, "
            "smaller shards (`dataengine rebalance`), or dataengine.Views, which divides by asset"
        )
    return iter(every[rank * workers + worker :: ranks * workers])


class _Opened:
    """Opens tars in their store, because webdataset's own opener has no s3://."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __call__(self, tars: Iterator[dict[str, str]]) -> Iterator[dict[str, Any]]:
        for tar in tars:
            with self.store.open(tar["url"], block_size=1 << 20) as stream:
                yield {"url": self.store.url_of(tar["url"]), "stream": stream}


def _expand(tars: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield from webdataset.tariterators.tar_file_expander(tars)


def _group(members: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield from webdataset.tariterators.group_by_keys(members, lcase=False)
