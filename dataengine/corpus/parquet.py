"""Reading Parquet on the calling thread only.

Arrow's own read-ahead threads let go of Python's bytes and files a moment after a read has returned. If the process
ends in that moment the thread meets a finalized interpreter and aborts it ("terminate called without an active
exception"): half of all short processes on two busy cores. Our tables are small; a second thread would save nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq


def read_parquet(data: bytes) -> pa.Table:
    """The table in a Parquet file's bytes.

    Raises:
        pa.ArrowException: if they are none, or damaged.
    """
    with _damage():
        # pq.read_table would scan it as a data set, which starts such a thread whatever it is told.
        file = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False, page_checksum_verification=True)
        return _checked(file.read(use_threads=False))


@contextmanager
def _damage() -> Iterator[None]:
    """Arrow calls most damage an OSError. One of the system itself has a number."""
    try:
        yield
    except OSError as e:
        if e.errno is not None:
            raise
        raise pa.ArrowInvalid(" ".join(str(e).split())) from e
    except UnicodeDecodeError as e:  # of the names of columns
        raise pa.ArrowInvalid(f"a name is not UTF-8: {e}") from e


def _checked(table: pa.Table) -> pa.Table:
    """The table, after a look at what reading does not look at, such as texts that are not UTF-8."""
    table.validate(full=True)
    return table


class ParquetRows:
    """Row groups and columns of an open Parquet file.

    Raises:
        pa.ArrowException: if it is none, or damaged; also when rows are read.
    """

    def __init__(self, file: BinaryIO) -> None:
        with _damage():
            self._file = pq.ParquetFile(file, pre_buffer=False, page_checksum_verification=True)

    @property
    def metadata(self) -> dict[bytes, bytes]:
        """The file's own key-value metadata."""
        return self._file.metadata.metadata or {}

    def groups_with(self, column: str, value: int) -> list[int]:
        """Numbers of the row groups whose statistics allow `value` in `column`."""
        meta = self._file.metadata
        index = self._file.schema_arrow.get_field_index(column)
        found = []
        for i in range(meta.num_row_groups):
            stats = meta.row_group(i).column(index).statistics
            if stats is not None and stats.has_min_max and stats.min <= value <= stats.max:
                found.append(i)
        return found

    def read(self, groups: list[int]) -> pa.Table:
        """The rows of some row groups."""
        with _damage():
            return _checked(self._file.read_row_groups(groups, use_threads=False))

    def read_all(self) -> pa.Table:
        """All rows."""
        return self.read(list(range(self._file.metadata.num_row_groups)))

    def column(self, name: str) -> pa.ChunkedArray:
        """One column of all rows."""
        with _damage():
            table = self._file.read(columns=[name], use_threads=False)
        if name not in table.column_names:
            raise pa.ArrowInvalid(f"there is no column {name}")
        return table[name]
