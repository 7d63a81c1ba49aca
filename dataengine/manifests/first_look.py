"""Bits that have rotted must not answer queries: DuckDB checks neither page checksums nor texts, Arrow does.

A process looks at each file of a local corpus whole before it first asks DuckDB about it, as long as that costs little:
the plan, the fragments, and what `compact` has written, which is named by its hash. Beyond these bounds reading
everything would cost more than the query, and only `verify` and `compact` do it. Buckets check what they keep.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa

from dataengine.corpus.parquet import read_parquet
from dataengine.corpus.shards import file_sha256
from dataengine.corpus.storage import Store
from dataengine.errors import DataengineError

FRAGMENTS = 32  # 4 ms each
PLAN_BYTES = 8 << 20
COMPACTED_BYTES = 64 << 20


class FirstLook:
    """What this process has looked at, by name and version."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: set[tuple[str, str]] = set()

    def at(self, files: Mapping[str, str], most: int) -> None:
        """Looks at the files (name → version) that are new, unless they are more than `most`.

        Raises:
            DataengineError: for one that is damaged; the line names it.
        """
        new = {name for name, version in files.items() if (name, version) not in self._seen}
        if not self._store.local or len(new) > most:
            return
        for name in sorted(new):
            look_at(self._store, name)
            self._seen.add((name, files[name]))

    def at_plan(self, name: str, version: str) -> None:
        """Looks at the plan, if it is not large. Raises DataengineError as `at`."""
        if self._store.local and Path(self._store.path(name)).stat().st_size <= PLAN_BYTES:
            self.at({name: version}, 1)

    def compacted_hold(self, names: Iterable[str]) -> bool:
        """Whether compacted files are what their names say, as far as they are small enough to be looked at."""
        if not self._store.local:
            return True
        paths = {name: Path(self._store.path(name)) for name in names if (name, "") not in self._seen}
        if sum(path.stat().st_size for path in paths.values()) > COMPACTED_BYTES:
            return True
        for name, path in paths.items():
            if not path.stem.endswith(file_sha256(path)[:16]):
                return False
            self._seen.add((name, ""))
        return True


def look_at(store: Store, name: str) -> None:
    """Reads a Parquet file of the store whole. Raises DataengineError if it is damaged."""
    try:
        read_parquet(store.read(name))
    except FileNotFoundError:
        return  # replaced or dropped since it was listed
    except (pa.ArrowException, ValueError) as e:
        said = " ".join(str(e).split())
        raise DataengineError(
            f"{store.url_of(name)} is damaged: {said}; `dataengine verify` says what is affected"
        ) from e
