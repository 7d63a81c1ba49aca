"""`--source`: which source a spec names."""

from dataengine.assets.local import find_local
from dataengine.assets.table import Found
from dataengine.config import Limits
from dataengine.errors import UsageError


def find(spec: str, limits: Limits) -> Found:
    """Reads a source.

    Raises:
        UsageError: for a spec that no source knows, or what the source itself finds wrong.
    """
    kind, _, rest = spec.partition(":")
    if kind == "local":
        return find_local(rest, limits)
    raise UsageError(f"unknown source {spec!r}; use local:DIR")
