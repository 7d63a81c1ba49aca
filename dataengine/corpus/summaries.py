"""Summaries of runs, beside what they made: `summaries/<time>-<command>-<number>.json`, see docs/formats.md.

They are for people and their tools: nothing reads them to decide anything, and they may be deleted.
"""

import json
import uuid
from collections.abc import Iterator, Mapping, Set
from datetime import datetime
from typing import Any

from dataengine.corpus.storage import Store

FOLDER = "summaries"
FORMAT = 1


def put_summary(store: Store, command: str, started: datetime, content: Mapping[str, Any]) -> str:
    """Writes a summary under a name that nothing else has, and returns it.

    Args:
        command: such as `render`.
        started: aware.
        content: JSON types.

    Raises:
        DataengineError: if the store cannot be written.
    """
    name = f"{FOLDER}/{started:%Y%m%dT%H%M%SZ}-{command}-{uuid.uuid4().hex[:8]}.json"
    head = {"format": FORMAT, "command": command, "started": started.isoformat(timespec="seconds")}
    store.put(name, (json.dumps({**head, **content}, indent=1) + "\n").encode())
    return name


def summaries_with(store: Store, uids: Set[str]) -> Iterator[tuple[str, str]]:
    """(name, uid) of each summary that has one of these uids in it: `--where` may have named it."""
    for name in store.list(FOLDER):
        content = store.read(name).decode("utf-8", "replace")
        yield from ((name, uid) for uid in sorted(uids) if uid in content)
