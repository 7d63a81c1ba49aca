"""Removed assets: where something of them could still be. `verify` looks at all of it.

A tombstone in the plan has the uid of the asset and the hash of its file; nothing else may name it.
"""

import tarfile
from collections.abc import Iterator, Mapping, Set
from itertools import zip_longest

import pyarrow as pa

from dataengine.corpus.corpus import Corpus
from dataengine.corpus.fragments import list_all, list_fragments, read_tar_name
from dataengine.corpus.parquet import ParquetRows
from dataengine.corpus.storage import Store
from dataengine.corpus.summaries import summaries_with
from dataengine.errors import DataengineError
from dataengine.paths import cache_root, spool_root

JOURNAL = "plan/removal.json"  # there while a removal is not finished
_COMPACT = "compact"
_BLOCK = 1 << 16


def traces(corpus: Corpus, removed: Mapping[str, str | None]) -> Iterator[tuple[str, str]]:
    """(file, what of a removed asset is in it): fragments, tars, compacted files, this machine's spool and downloads.

    Args:
        corpus: any.
        removed: uid → SHA-256 of the file, where it was known.

    Raises:
        DataengineError: if the store cannot be reached.
    """
    store = corpus.store
    if store.exists(JOURNAL):
        yield JOURNAL, "a removal was not finished; run `dataengine remove` on the corpus"
    if not removed:
        return
    for stage, listed in list_all(store).items():
        for shard in sorted(listed):
            yield from _rows_of(store, f"{stage}/{shard:05d}.parquet", removed.keys())
        for name in tars_of(store, stage, named=False):  # the others are compared with their fragments
            if holds(store, name, removed.keys()):
                yield name, "has members of a removed asset"
    for name in store.versions(_COMPACT, ".parquet"):
        yield from _rows_of(store, name, removed.keys())
    for name, uid in summaries_with(store, removed.keys()):
        yield name, f"names the removed asset {uid}"
    for uid, sha256 in removed.items():
        for path in spool_root().glob(f"*/{uid}.tar"):
            yield str(path), f"is a spooled result of the removed asset {uid}"
        if sha256:
            for path in (cache_root() / "downloads" / "blobs" / sha256[:1]).glob(f"{sha256}*"):
                yield str(path), f"is the downloaded file of the removed asset {uid}"


def removed_assets(corpus: Corpus) -> dict[str, str | None]:
    """uid → SHA-256 of the file, of all tombstones of a plan."""
    rows = corpus.tombstones()
    return dict(zip(rows["uid"].to_pylist(), rows["sha256"].to_pylist(), strict=True))


def tars_of(store: Store, stage: str, *, named: bool) -> list[str]:
    """A stage's tars, hidden ones too, that a fragment names, or that none does."""
    tars = [n for n in store.versions(stage, hidden=True) if n.endswith((".tar", ".tmp")) and ".parquet" not in n]
    known = {read_tar_name(store, stage, shard) for shard in list_fragments(store, stage)}
    return sorted(n for n in tars if (n in known) == named)


def holds(store: Store, tar: str, uids: Set[str]) -> bool:
    """Whether a tar has a member of one of these assets. What follows a damaged header is not seen."""
    try:
        with store.open(tar, _BLOCK) as file, tarfile.open(fileobj=file, mode="r:") as members:
            return any(info.name.split(".", 1)[0] in uids for info in members)
    except FileNotFoundError:
        return False
    except (tarfile.TarError, EOFError):
        return False


def _rows_of(store: Store, name: str, uids: Set[str]) -> Iterator[tuple[str, str]]:
    try:
        with store.open(name, _BLOCK) as file:
            rows = ParquetRows(file)
            # Compacted files have the plan's tombstones too.
            status = rows.column("status").to_pylist() if "uids-" not in name else []
            there = {u for u, s in zip_longest(rows.column("uid").to_pylist(), status) if u in uids and s != "removed"}
    except FileNotFoundError:
        return
    except pa.ArrowInvalid:
        return  # the index has no uids; what is damaged is told elsewhere
    except pa.ArrowException as e:
        raise DataengineError(f"{store.url_of(name)} cannot be read: {e}") from e
    for uid in sorted(there):
        yield name, f"has a row of the removed asset {uid}"
