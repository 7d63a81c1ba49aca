"""`--source`: which source a spec names."""

from dataengine.errors import UsageError
from dataengine.sources import abo, bucket, gso, hssd, local, objaverse, sweet_home_3d, three_d_future, url_lists
from dataengine.sources.listing import SourceListing, SourceQuery
from dataengine.sources.source import Source

SOURCES = (
    local.SOURCE,
    bucket.SOURCE,
    objaverse.SOURCE,
    url_lists.XL_SOURCE,
    hssd.SOURCE,
    gso.SOURCE,
    three_d_future.SOURCE,
    abo.SOURCE,
    sweet_home_3d.SOURCE,
    url_lists.CSV_SOURCE,
)
KNOWN = ", ".join(source.usage for source in SOURCES)
_BY_NAME = {source.name: source for source in SOURCES}


def find(spec: str, query: SourceQuery) -> SourceListing:
    """Reads a source.

    Args:
        spec: such as `local:models`, see docs/sources.md.
        query: the corpus's limits, and what else is asked for.

    Raises:
        UsageError: for a spec that no source knows, or what the source itself finds wrong.
        DataengineError: if a hub cannot be reached.
    """
    source, rest = source_of(spec)
    return source.find(rest, query)


def source_of(spec: str) -> tuple[Source, str]:
    """The source that a spec names, and what the spec says to it.

    Raises:
        UsageError: if there is none.
    """
    kind, _, rest = spec.partition(":")
    if spec.startswith("file://"):
        return local.SOURCE, spec.removeprefix("file://")
    if "://" in spec and kind not in _BY_NAME:
        return bucket.SOURCE, spec
    if kind not in _BY_NAME:
        raise UsageError(f"unknown source {spec!r}; use {KNOWN}")
    return _BY_NAME[kind], rest
