"""What lies in this machine's spool: shards in the making, and how many of their assets are finished.

Each shard's folder under the spool's root has a file `shard.json` that names the shard, and `<uid>.tar` for each
finished asset. Names and times are all that is looked at here; stages/spool.py writes and reads the rest.
"""

import json
import os
from dataclasses import dataclass

from dataengine.paths import spool_root

NAME = "shard.json"


@dataclass(frozen=True)
class Spooled:
    """A shard of a stage in the making, on this machine.

    Attributes:
        stage: its name, such as `views/orbit8`.
        made_from: the stage that its rows come from; None: the plan.
        shard: its number.
        input: what its fragment will name as its input.
        finished: when each of its assets was finished, in seconds of the epoch.
    """

    stage: str
    made_from: str | None
    shard: int
    input: str
    finished: tuple[float, ...]


def spooled() -> list[Spooled]:
    """Everything that is in the making here, of all corpora; what vanishes meanwhile, or is damaged, is left out."""
    found = []
    root = spool_root()
    for path in sorted(root.glob(f"*/{NAME}")):
        try:
            shard = json.loads(path.read_bytes())
            with os.scandir(path.parent) as entries:
                times = sorted(e.stat().st_mtime for e in entries if e.name.endswith(".tar"))
            found.append(Spooled(shard["stage"], shard["made_from"], shard["shard"], shard["input"], tuple(times)))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found
