"""What a source hands to the planner: one row a file, before captions, filters, splits and shards."""

from dataclasses import dataclass

import pyarrow as pa

from dataengine.manifests.schema import PLAN

_PLANNED = {"status", "reason", "shard", "row", "shard_input", "caption", "split"}

ASSETS = pa.schema(
    [
        *(field for field in PLAN if field.name not in _PLANNED),
        ("path", pa.string()),  # the file's name within its source
        ("stem", pa.string()),  # of that name, without folder and extension
    ]
)
"""The columns of every source. `path` and `stem` serve --where and the captions, and are not kept in the plan."""


@dataclass(frozen=True)
class Found:
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
