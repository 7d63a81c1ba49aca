"""Drops tars that no fragment names, while shards are being committed.

A tar is put moments before the fragment that names it, so a fresh one is left until it is SETTLED. A tar that is older
may be named at any moment too: its shard was made again, to the same bytes. So it is moved aside before the fragment is
looked at for the last time. A commit looks for its tar after its fragment is there: either it saw the tar before that
was moved, and then the fragment is there to be seen and the tar is moved back; or it finds none and puts its own.
"""

import re
import time
from datetime import UTC, datetime, timedelta

from dataengine.corpus.corpus import Corpus
from dataengine.errors import DataengineError

SETTLED = timedelta(seconds=10)
UNFINISHED = timedelta(minutes=15)  # half-written files are left to their writers for so long
ASIDE = ".pruned.tmp"


def shard_of(name: str) -> int | None:
    """The shard that a tar or a half-written file belongs to."""
    number = re.match(r"\.?(\d+)", name.rsplit("/", 1)[-1])
    return int(number[1]) if number else None


def prune(corpus: Corpus, stage: str, name: str) -> bool:
    """Drops a tar that still no fragment names once it is SETTLED, or a half-written file that nobody writes to.

    Returns:
        Whether it was dropped. It is kept where its shard's fragment cannot be read, and so might name it.
    """
    store = corpus.store
    try:
        age = datetime.now(UTC) - store.modified(name)
        if name.endswith(".tmp"):
            if age < UNFINISHED:
                return False
            store.delete(name)
            return True
        if age < SETTLED:
            time.sleep((SETTLED - age).total_seconds())
        if _may_be_named(corpus, stage, name):
            return False
        aside = _aside(stage, name)
        store.move(name, aside)
    except FileNotFoundError:
        return False
    if _may_be_named(corpus, stage, name):
        _move_back(corpus, aside, name)
        return False
    store.delete(aside)
    return True


def put_back(corpus: Corpus, stage: str) -> None:
    """Moves back the tars that a prune had moved aside when it was killed, and that a fragment names."""
    there = corpus.store.versions(stage, hidden=True)
    for aside in there:
        if aside.endswith(ASIDE):
            name = f"{stage}/{aside[len(stage) + 2 : -len(ASIDE)]}"
            if name not in there and _may_be_named(corpus, stage, name):
                _move_back(corpus, aside, name)


def _aside(stage: str, name: str) -> str:
    return f"{stage}/.{name[len(stage) + 1 :]}{ASIDE}"


def _move_back(corpus: Corpus, aside: str, name: str) -> None:
    try:
        corpus.store.move(aside, name)
    except FileNotFoundError:  # another prune was quicker
        return


def _may_be_named(corpus: Corpus, stage: str, name: str) -> bool:
    shard = shard_of(name)
    if shard is None:
        return False
    try:
        fragment = corpus.fragment(stage, shard)
    except DataengineError:
        return True
    return fragment is not None and (fragment.tar == name or fragment.stage != stage)  # not ours: a corpus in a corpus
