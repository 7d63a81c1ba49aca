"""What this machine holds of removed assets besides the corpus: spooled results, downloads, copies for training."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dataengine.corpus.gone import holds
from dataengine.corpus.storage import Store
from dataengine.download.archives import Member
from dataengine.download.asset_files import Remote
from dataengine.download.cache import Cache
from dataengine.download.dependencies import Bundle
from dataengine.errors import UsageError
from dataengine.paths import cache_root, spool_root
from dataengine.sources.locate import locate


def forget_on_this_machine(rows: Sequence[Mapping[str, Any]], cache: Path | None = None) -> int:
    """Deletes what was kept of some assets; files of a source's own folder stay: they are their owner's.

    Args:
        rows: of the plan, as they were.
        cache: folder of downloads; default: the user's.

    Returns:
        How many files and folders were deleted.
    """
    uids = {str(row["uid"]) for row in rows}
    deleted = _delete(path for uid in uids for path in spool_root().glob(f"*/{uid}.tar"))
    # A shard that was put together when its process was killed lies in the spool; training copies shards of buckets.
    for folder in (spool_root(), Path(tempfile.gettempdir()) / f"dataengine-{os.getuid()}"):
        tars = [path for pattern in ("*.tar", "*/*/shard.tar") for path in folder.glob(pattern)]
        store = Store(folder)
        deleted += _delete(path for path in tars if holds(store, path.relative_to(folder).as_posix(), uids))
    downloads = (cache or cache_root()) / "downloads"
    if downloads.is_dir():
        kept = Cache(downloads)
        deleted += sum(_forget(kept, row) for row in rows)
    return deleted


def _forget(cache: Cache, row: Mapping[str, Any]) -> int:
    try:
        location = locate(row)
    except UsageError:  # a source of somebody's own that is not plugged in here
        return 0
    if isinstance(location, Remote):
        return cache.forget(location.wanted.key, location.wanted.sha256)
    if isinstance(location, Bundle):
        wanted = location.main.wanted
        return cache.forget_bundle(location.key) + cache.forget(wanted.key, wanted.sha256)
    if isinstance(location, Member):
        archive = cache.forget(location.archive) if "://" in location.archive else 0
        return archive + cache.forget_bundle(location.key)
    return 0


def _delete(paths: Iterable[Path]) -> int:
    count = 0
    for path in paths:
        with suppress(FileNotFoundError):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            count += 1
    return count
