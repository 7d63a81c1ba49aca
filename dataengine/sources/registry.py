"""`--source`: which source a spec names."""

from pathlib import Path

from dataengine.corpus.config import Limits
from dataengine.download.http import downloads_in
from dataengine.errors import UsageError
from dataengine.sources.abo import find_abo
from dataengine.sources.bucket import find_bucket
from dataengine.sources.gso import find_gso
from dataengine.sources.hssd import find_hssd
from dataengine.sources.listing import SourceListing, SourceQuery
from dataengine.sources.local import find_local
from dataengine.sources.objaverse import find_objaverse
from dataengine.sources.three_d_future import find_three_d_future
from dataengine.sources.url_lists import find_csv, find_xl

KNOWN = (
    "local:DIR, a URL such as s3://bucket/models, objaverse[:lvis], objaverse-xl[:PART], hssd, gso[:DIR], "
    "3d-future:DIR, abo, csv:FILE"
)


def find(spec: str, limits: Limits, cache: Path, query: SourceQuery | None = None) -> SourceListing:
    """Reads a source.

    Args:
        spec: such as `local:models`, see docs/sources.md.
        limits: of the corpus.
        cache: folder that keeps what is downloaded.
        query: the revision that an earlier plan pinned, and how much is wanted.

    Raises:
        UsageError: for a spec that no source knows, or what the source itself finds wrong.
        DataengineError: if a hub cannot be reached.
    """
    kind, _, rest = spec.partition(":")
    query = query or SourceQuery()
    if kind == "local":
        return find_local(rest, limits)
    downloads = downloads_in(cache)
    if kind == "objaverse":
        return find_objaverse(rest, query, downloads)
    if kind == "objaverse-xl":
        return find_xl(rest, query, downloads)
    if kind == "hssd":
        return find_hssd(rest, query, downloads)
    if kind == "abo":
        return find_abo(rest, query, downloads)
    if kind == "gso":
        return find_gso(rest, limits, query, downloads)
    if kind == "3d-future":
        return find_three_d_future(rest, limits)
    if kind == "csv":
        return find_csv(rest, query, downloads)
    if spec.startswith("file://"):
        return find_local(spec.removeprefix("file://"), limits)
    if "://" in spec:
        return find_bucket(spec)
    raise UsageError(f"unknown source {spec!r}; use {KNOWN}")
