"""A corpus: the folder or bucket that holds a plan, shards and manifests. See docs/formats.md."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc

from dataengine.corpus.config import CorpusConfig
from dataengine.corpus.fragments import Fragment, list_fragments, read_fragment, read_tar_name
from dataengine.corpus.parquet import ParquetRows
from dataengine.corpus.storage import Store
from dataengine.errors import DataengineError, UsageError

CONFIG = "corpus.yaml"
PLAN = "plan/assets.parquet"
READERS = 16


class Corpus:
    """A planned corpus.

    Open one with `Corpus.open(url)`; `dataengine plan` makes one.
    """

    def __init__(self, store: Store, config: CorpusConfig) -> None:
        self.store = store
        self.config = config

    @classmethod
    def open(cls, url: str | Path = ".") -> Self:
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

    @property
    def views_stage(self) -> str:
        """Name of the stage that renders the default view set, which is the first of the corpus's."""
        return self.config.sets[0].stage

    def check_models(self) -> None:
        """Raises UsageError for a corpus of pictures: it has no models, no depth and no cameras."""
        if self.config.of_pictures:
            raise UsageError(
                f"{self.url} is a corpus of pictures, without models or cameras: `dataengine tokenize` and "
                "`detokenize` are for it"
            )

    @cached_property
    def _plan_file(self) -> ParquetRows:
        file = ParquetRows(self.store.open(PLAN))
        planned = file.metadata.get(b"corpus.yaml", b"").decode("utf-8", "replace")
        here = self.config.model_copy(update={"plan_sha256": None}).to_yaml()
        if self.config.format > 1 and planned and planned != here:
            raise UsageError(f"{self.store.url_of(CONFIG)} was changed by hand: {_first_difference(planned, here)}")
        return file

    def plan(self, shard: int) -> pa.Table:
        """The plan's rows of one shard, in order, but for removed assets.

        Raises:
            UsageError: if there is no such shard, or no plan.
            DataengineError: if the plan cannot be read.
        """
        with self._reading_plan():
            table = self._plan_file.read(self._plan_file.groups_with("shard", shard))
        chosen = pc.and_(pc.equal(table["shard"], shard), pc.equal(table["status"], "planned"))
        rows = table.filter(chosen).sort_by("row")
        if not rows.num_rows:
            count = len(self.shards())
            known = f"0 to {count - 1}" if count else "none"
            raise UsageError(f"{self.url} has no shard {shard} (shards: {known})")
        return rows

    def shards(self) -> list[int]:
        """The numbers of all planned shards. Raises as `plan`."""
        with self._reading_plan():
            return sorted(n for n in self._plan_file.column("shard").unique().to_pylist() if n is not None)

    def tombstones(self) -> pa.Table:
        """The plan's rows of removed assets. Raises as `plan`."""
        with self._reading_plan():
            status = self._plan_file.column("status")
            if not pc.any(pc.equal(status, "removed")).as_py():
                return self._plan_file.read([])
            table = self._plan_file.read_all()
        return table.filter(pc.equal(table["status"], "removed"))

    @contextmanager
    def _reading_plan(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as e:
            raise UsageError(f"{self.url} has no {PLAN}; run `dataengine plan` again") from e
        except pa.ArrowException as e:
            raise DataengineError(f"{self.store.url_of(PLAN)} cannot be read: {e}") from e

    def fragment(self, stage: str, shard: int) -> Fragment | None:
        """The committed fragment of a shard, current or stale, or None."""
        return read_fragment(self.store, stage, shard)

    def tars(self, stage: str, signed: int | None = None) -> list[str]:
        """URLs of a stage's committed tars, in shard order.

        Args:
            signed: seconds for which anybody may read them by https; None: the store's own URLs.
        """
        found = self.tar_names(stage)
        return [self.store.url_of(n) if signed is None else self.store.signed_url(n, signed) for n in found]

    def tar_names(self, stage: str) -> list[str]:
        """The same, as names within the corpus's store."""
        shards = sorted(set(self.shards()) & list_fragments(self.store, stage).keys())
        with ThreadPoolExecutor(READERS) as readers:  # a bucket answers many at once as fast as one
            names = readers.map(lambda n: read_tar_name(self.store, stage, n), shards)
            return [name for name in names if name is not None]


def _first_difference(planned: str, here: str) -> str:
    """The first line that is not as `plan` wrote it, and what to do."""
    lines = zip_longest(planned.splitlines(), here.splitlines(), fillvalue="")
    number, was, now = next((i, a, b) for i, (a, b) in enumerate(lines, 1) if a != b)
    return f"line {number} says {now.strip()!r}, the plan was made with {was.strip()!r}; put it back, or plan again"
