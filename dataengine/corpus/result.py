"""What a stage makes of one asset."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Result(NamedTuple):
    """What one asset became: its row, and the members for the shard's tar (empty when it failed)."""

    row: dict[str, Any]
    members: Mapping[str, bytes]
