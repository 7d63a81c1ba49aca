"""A corpus: the folder or bucket that holds a plan, shards and manifests. See docs/formats.md."""

from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dataengine.corpus.config import CorpusConfig
from dataengine.corpus.fragments import Fragment, read_fragment
from dataengine.corpus.parquet import ParquetRows
from dataengine.corpus.storage import Store
from dataengine.errors import DataengineError, UsageError

CONFIG = "corpus.yaml"
PLAN = "plan/assets.parquet"


class Corpus:
    """A planned corpus.

    Open one with `Corpus.open(url)`; `dataengine plan` makes one.
    """

    def __init__(self, store: Store, config: CorpusConfig) -> None:
        self.store = store
        self.config = config

    @classmethod
    def open(cls, url: str | Path = ".") -> "Corpus":
        """Opens a corpus at a folder or any fsspec URL.

        Raises:
            UsageError: if there is none, or another version made it.
        """
        store = Store(url)
        try:
            text = store.read(CONFIG).decode("utf-8", "replace")
        except (FileNotFoundError, NotADirectoryError) as e:
            raise UsageError(f"{store.url} is not a corpus (no {CONFIG}); make one with `dataengine plan`") from e
        return cls(store, CorpusConfig.from_yaml(text, store.url_of(CONFIG)))

    @property
    def url(self) -> str:
        return str(self.store.url)

    @cached_property
    def _plan_file(self) -> ParquetRows:
        try:
            return ParquetRows(self.store.fs.open(self.store.path(PLAN), "rb"))
        except FileNotFoundError as e:
            raise UsageError(f"{self.url} has no {PLAN}; run `dataengine plan` again") from e
        except pa.ArrowException as e:
            raise DataengineError(f"{self.store.url_of(PLAN)} cannot be read: {e}") from e

    def plan(self, shard: int) -> pa.Table:
        """The plan's rows of one shard, in order.

        Raises:
            UsageError: if there is no such shard.
        """
        table = self._plan_file.read(self._plan_file.groups_with("shard", shard))
        rows = table.filter(pc.equal(table["shard"], shard)).sort_by("row")
        if not rows.num_rows:
            count = len(self.shards())
            known = f"0 to {count - 1}" if count else "none"
            raise UsageError(f"{self.url} has no shard {shard} (shards: {known})")
        return rows

    def shards(self) -> list[int]:
        """The numbers of all planned shards."""
        return sorted(n for n in self._plan_file.column("shard").unique().to_pylist() if n is not None)

    def fragment(self, stage: str, shard: int) -> Fragment | None:
        """The committed fragment of a shard, current or stale, or None."""
        return read_fragment(self.store, stage, shard)

    def tars(self, stage: str) -> list[str]:
        """URLs of a stage's committed tars, in shard order."""
        fragments = (self.fragment(stage, n) for n in self.shards())
        return [self.store.url_of(f.tar) for f in fragments if f is not None and f.tar is not None]
