"""A read leaves no thread behind that could fall over the end of the process."""

import io
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dataengine.corpus.parquet import ParquetRows, read_parquet

READ_AND_END = """
import sys
from dataengine.corpus.parquet import ParquetRows, read_parquet
for _ in range(3):
    data = open(sys.argv[1], "rb").read()
    assert read_parquet(data).num_rows == 2000
    rows = ParquetRows(open(sys.argv[1], "rb"))
    assert rows.read(rows.groups_with("shard", 3)).num_rows
"""


def table() -> pa.Table:
    return pa.table({"shard": [n // 100 for n in range(2000)], "uid": [f"{n:032x}" for n in range(2000)]})


def write(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=150)
    return buffer.getvalue()


def test_reads_what_was_written() -> None:
    data = write(table())
    assert read_parquet(data).equals(table())
    rows = ParquetRows(io.BytesIO(data))
    assert rows.column("uid").to_pylist() == table()["uid"].to_pylist()
    found = rows.read(rows.groups_with("shard", 7))
    assert [u for n, u in zip(found["shard"].to_pylist(), found["uid"].to_pylist(), strict=True) if n == 7] == [
        f"{n:032x}" for n in range(700, 800)
    ]


def test_a_process_that_has_just_read_ends_well(tmp_path: Path) -> None:
    """With Arrow's read-ahead threads every second one of these aborts as it ends."""
    path = tmp_path / "a.parquet"
    path.write_bytes(write(table()))
    for _ in range(4):
        command = [sys.executable, "-c", READ_AND_END, str(path)]
        started = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
        ended = [(p.communicate()[1].decode(), p.returncode) for p in started]
        assert ended == [("", 0)] * 3
