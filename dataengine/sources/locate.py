"""From rows of the plan to files on local disk. What a row stands for is decided once, by the source that listed it."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from dataengine.corpus.config import Limits
from dataengine.download.asset_files import AssetFiles, Downloaded
from dataengine.download.http import AT_ONCE, downloads_in
from dataengine.errors import AssetFailure
from dataengine.model_files.paths import stores_of
from dataengine.sources.registry import source_of
from dataengine.sources.source import Location, Row


def locate(row: Row) -> Location:
    """Where an asset's files are.

    Args:
        row: of the plan.

    Raises:
        UsageError: if the plan names a source that this version does not know.
    """
    source, _ = source_of(row["source"])
    return source.locate(row)


def fetch_many(
    locations: Sequence[Location],
    cache: Path,
    limits: Limits,
    done: Callable[[int, AssetFiles | AssetFailure], None],
    *,
    at_once: int = AT_ONCE,
) -> None:
    """As `fetch` of each, many downloads at once; `done(index, files or failure)` is called as each one ends.

    Raises:
        DataengineError: if the cache cannot be written. What is fetched stays.
    """
    remote: list[tuple[int, Downloaded]] = []
    for index, location in enumerate(locations):
        if isinstance(location, Downloaded):
            remote.append((index, location))
            continue
        try:
            done(index, location.fetch(cache, limits))
        except AssetFailure as e:
            done(index, e)
    if remote:
        downloads = downloads_in(cache)
        jobs = [partial(location.download, downloads, limits) for _, location in remote]
        downloads.run_many(jobs, lambda at, files: done(remote[at][0], files), at_once=at_once)


def readable_folders(sources: Sequence[str]) -> list[Path]:
    """The folders of this machine in which the models of sources lie: what Blender must be allowed to read."""
    named = (source_of(spec) for spec in sources)
    folders = [folder for source, rest in named if (folder := source.folder(rest)) is not None]
    return folders + [store for folder in folders for store in stores_of(folder)]
