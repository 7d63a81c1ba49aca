"""A query's result for people (a table) and for programs (CSV, JSON, Parquet), streamed."""

import csv
import io
import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dataengine.corpus.output import whole_file
from dataengine.errors import UsageError
from dataengine.manifests.guard import NamedQuery, sql_errors
from dataengine.visible import visible

FORMATS = ("table", "csv", "json", "parquet")
TABLE_ROWS = 50
BATCH = 10_000


def write_result(relation: duckdb.DuckDBPyRelation, format: str = "table", output: Path | None = None) -> None:
    """Writes a result to a file, whole or not at all, or to stdout.

    Args:
        relation: what `Catalog.sql` returned.
        format: one of FORMATS. JSON is an array with one object a line; lists and structs in CSV are JSON.
        output: the file; None: stdout.

    Raises:
        UsageError: for an unknown format, Parquet to a terminal, a file that cannot be written, or a query that fails
            while it runs.
    """
    if format not in FORMATS:
        raise UsageError(f"unknown format {format!r}; one of {', '.join(FORMATS)}")
    if format == "parquet" and output is None and sys.stdout.isatty():
        raise UsageError("Parquet is binary: add -o FILE, or send it on with > or |")
    with sql_errors():
        rows = relation.to_arrow_reader(BATCH)
    with _open(output) as file, sql_errors():
        if format == "parquet":
            _parquet(rows, file)
            return
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        try:
            if format == "csv":
                _csv(rows, text)
            elif format == "json":
                _json(rows, text)
            else:
                _table(rows, text, terminal=output is None and sys.stdout.isatty())
        finally:
            text.detach()


def print_named(queries: dict[str, NamedQuery], relations: dict[str, list[str]], console: Console) -> None:
    """What can be asked: the views with their columns, and the named queries."""
    for view, columns in relations.items():
        console.print(f"[bold]{view}[/]: {', '.join(columns)}", highlight=False)
    console.print()
    for query in queries.values():
        console.print(f"[bold]{query.name:<14}[/] {query.about}", highlight=False)


@contextmanager
def _open(output: Path | None) -> Iterator[IO[bytes]]:
    if output is None:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with whole_file(output) as file:
        yield file


def _batches(rows: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    while True:
        try:
            with sql_errors():
                batch = rows.read_next_batch()
        except StopIteration:
            return
        yield batch


def _parquet(rows: pa.RecordBatchReader, file: IO[bytes]) -> None:
    # PyArrow asks where it is; a pipe cannot say.
    with pq.ParquetWriter(pa.PythonFile(file, mode="w"), rows.schema, compression="zstd") as writer:
        for batch in _batches(rows):
            writer.write_batch(batch)


def _csv(rows: pa.RecordBatchReader, file: IO[str]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(rows.schema.names)
    for batch in _batches(rows):
        for values in zip(*(c.to_pylist() for c in batch.columns), strict=True):
            writer.writerow([_csv_value(v) for v in values])


def _csv_value(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list | dict):
        return json.dumps(_json_value(value), ensure_ascii=False)
    return value


def _json(rows: pa.RecordBatchReader, file: IO[str]) -> None:
    file.write("[")
    separator = "\n"
    for batch in _batches(rows):
        for row in batch.to_pylist():
            file.write(separator + json.dumps({k: _json_value(v) for k, v in row.items()}, ensure_ascii=False))
            separator = ",\n"
    file.write("\n]\n")


def _json_value(value: Any) -> Any:
    """JSON has neither NaN nor dates nor bytes."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): _json_value(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(v) for v in value]
    if isinstance(value, Decimal):  # SQL's 0.5, and sums of integers
        return int(value) if value == value.to_integral_value() else float(value)
    if value is None or isinstance(value, str | int | bool):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _table(rows: pa.RecordBatchReader, file: IO[str], *, terminal: bool) -> None:
    # Where there is no terminal nobody wants cells cut to eighty columns.
    console = Console(file=file) if terminal else Console(file=file, width=100_000)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for f in rows.schema:
        number = pa.types.is_integer(f.type) or pa.types.is_floating(f.type) or pa.types.is_decimal(f.type)
        table.add_column(f.name, justify="right" if number else "left", overflow="ellipsis", no_wrap=True)
    total = 0
    for batch in _batches(rows):
        for row in batch.slice(0, max(0, TABLE_ROWS - total)).to_pylist():
            table.add_row(*(_escape(_cell(v)) for v in row.values()))
        total += batch.num_rows
    if len(rows.schema) > 12 and terminal:
        _records(console, table, rows.schema.names)
    else:
        console.print(table)
    note = f"{total:,} row{'' if total == 1 else 's'}"
    if total > TABLE_ROWS:
        note += f", of which the first {TABLE_ROWS} are shown; --format csv, json or parquet gives all"
    console.print(note, style="dim", highlight=False)


def _records(console: Console, table: Table, names: list[str]) -> None:
    """Too many columns for a terminal: one block a row, as psql does."""
    columns = [list(c.cells) for c in table.columns]
    width = max(len(n) for n in names)
    for i, values in enumerate(zip(*columns, strict=True)):
        console.rule(f"row {i + 1}", align="left", style="dim")
        for name, value in zip(names, values, strict=True):
            console.print(f"[bold]{name:<{width}}[/] {value}", highlight=False, overflow="ellipsis", no_wrap=True)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float | Decimal):
        return f"{value:.4g}" if not abs(float(value)) >= 1e4 else f"{value:,.0f}"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, list):
        shown = ", ".join(_cell(v) for v in value[:8])
        return f"{shown}, … {len(value)} in all" if len(value) > 8 else shown
    if isinstance(value, dict):
        return ", ".join(f"{k} {_cell(v)}" for k, v in value.items())
    return str(value)


def _escape(text: str) -> str:
    return escape(visible(text.replace("\n", " ")))
