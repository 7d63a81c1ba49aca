"""A read leaves no thread behind that could fall over the end of the process."""

import io
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataengine.corpus.parquet import ParquetRows, read_parquet

READ_AND_COUNT = """
import os, sys
import pyarrow.compute
from dataengine.corpus.parquet import ParquetRows, read_parquet
before = set(os.listdir("/proc/self/task"))
data = open(sys.argv[1], "rb").read()
assert read_parquet(data).num_rows == 2000
rows = ParquetRows(open(sys.argv[1], "rb"))
assert rows.read(rows.groups_with("shard", 3)).num_rows
assert rows.column("uid").unique().sort()[0]
print(len(set(os.listdir("/proc/self/task")) - before))
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


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_a_read_starts_no_thread(tmp_path: Path) -> None:
    """One of Arrow's that is alive when the process ends may abort it: now and then, on a busy machine."""
    path = tmp_path / "a.parquet"
    path.write_bytes(write(table()))
    command = [sys.executable, "-c", READ_AND_COUNT, str(path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "0\n"


def test_damage_that_reading_lets_through_is_damage() -> None:
    """Texts that are not UTF-8, in a value and in the name of a column: found by fuzzing."""
    offsets = pa.array([0, 1], pa.int32()).buffers()[1]
    broken = pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(b"\xff")])
    data = write(pa.table({"uid": broken}))
    with pytest.raises(pa.ArrowException, match="UTF8"):
        read_parquet(data)
    with pytest.raises(pa.ArrowException, match="UTF8"):
        ParquetRows(io.BytesIO(data)).read([0])
    name = write(pa.table({"ashard": [1]})).replace(b"ashard", b"\xffshard")
    with pytest.raises(pa.ArrowException, match="UTF-8"):
        read_parquet(name)


def test_a_column_that_is_gone_is_damage() -> None:
    with pytest.raises(pa.ArrowException, match="no column shard"):
        ParquetRows(io.BytesIO(write(pa.table({"uid": ["a"]})))).column("shard")


def test_a_flipped_bit_of_a_page_is_damage() -> None:
    buffer = io.BytesIO()
    pq.write_table(table(), buffer, compression="zstd", write_page_checksum=True)
    good = buffer.getvalue()
    footer = int.from_bytes(good[-8:-4], "little") + 8
    for at in range(4, len(good) - footer, 997):
        damaged = bytearray(good)
        damaged[at] ^= 1
        try:
            assert read_parquet(bytes(damaged)).equals(table()), at  # a bit of a header that means nothing
        except pa.ArrowException:
            continue
