"""What a source hands to the planner: one row per file, before captions, filters, splits and shards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from dataengine.corpus.config import Limits
from dataengine.corpus.schema import PLAN
from dataengine.download.http import Downloader, downloads_in

_PLANNED = {"status", "reason", "shard", "row", "shard_input", "split"}

ASSETS = pa.schema(
    [
        *(field for field in PLAN if field.name not in _PLANNED),
        ("path", pa.string()),  # the file's name within its source
        ("stem", pa.string()),  # of that name, without folder and extension
        ("alias", pa.string()),  # another name that caption files know the asset by
    ]
)
"""The columns of every source. The last three serve --where and the captions, and are not kept in the plan."""


@dataclass(frozen=True)
class SourceListing:
    """What a source holds.

    Attributes:
        spec: the source as corpus.yaml names it; folders absolute.
        revision: what was pinned; None where the source has no revisions.
        assets: table of ASSETS (more columns may follow: --where sees them), in a reproducible order.
        notes: for the person, one line each: what was passed over, and why.
    """

    spec: str
    revision: str | None
    assets: pa.Table
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SourceQuery:
    """What is asked of a source, besides its name.

    Attributes:
        limits: of the corpus.
        cache: folder that keeps what is downloaded.
        revision: what an earlier plan pinned; None: the newest.
        first: rows that are wanted at most, where no filter has to see them all; None: all.
    """

    limits: Limits
    cache: Path
    revision: str | None = None
    first: int | None = None

    @property
    def downloads(self) -> Downloader:
        """This process's downloader for the cache."""
        return downloads_in(self.cache)


def assets_table(columns: Mapping[str, Sequence[Any] | pa.Array], extra: pa.Schema | None = None) -> pa.Table:
    """A table of ASSETS and `extra` columns; those not given are null, `tags` and `dependencies` empty lists."""
    schema = pa.schema([*ASSETS, *(extra or [])])
    count = len(columns["uid"])
    arrays = []
    for field in schema:
        if field.name in columns:
            values = columns[field.name]
            arrays.append(values if isinstance(values, pa.Array) else pa.array(values, field.type))
        elif field.name in ("tags", "dependencies"):
            arrays.append(pa.array([[]] * count, field.type))
        else:
            arrays.append(pa.nulls(count, field.type))
    return pa.table([a.cast(f.type) for a, f in zip(arrays, schema, strict=True)], schema=schema)
