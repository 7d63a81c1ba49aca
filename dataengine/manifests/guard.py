"""What a query may be, and what people are told when DuckDB refuses one."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files

import duckdb
import pyarrow as pa

from dataengine.errors import DataengineError, UsageError

# A SELECT cannot write. EXPLAIN can (EXPLAIN ANALYZE COPY …), so what it explains is checked too.
_READS = {"select", "with", "from", "values", "describe", "summarize", "show", "pivot", "unpivot", "table"}
_EXPLAIN_OPTIONS = {"analyze", "format", "json", "text"}
# PIVOT comes as MULTI: a look at the values, then the SELECT.
_READING = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN, duckdb.StatementType.MULTI)


@dataclass(frozen=True)
class NamedQuery:
    """A query that ships with the package: queries/<name>.sql. The comment in its first line says what it shows."""

    name: str
    about: str
    sql: str


def named_queries() -> dict[str, NamedQuery]:
    """All named queries, by name."""
    folder = files("dataengine.manifests") / "queries"
    found = {}
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        name, _, extension = file.name.rpartition(".")
        if extension == "sql":
            text = file.read_text(encoding="utf-8")
            found[name] = NamedQuery(name, text.splitlines()[0].removeprefix("--").strip(), text)
    return found


def check(db: duckdb.DuckDBPyConnection, query: str) -> None:
    """Refuses whatever is not one query that reads.

    Raises:
        UsageError: for several statements, none, or one that writes or changes settings.
    """
    with sql_errors():
        statements = db.extract_statements(query)
    if len(statements) != 1:
        raise UsageError(f"one query at a time, please (found {len(statements)})")
    words = _words(query)
    verb = next(words, "")
    read = verb
    if verb == "explain":
        read = next((w for w in words if w not in _EXPLAIN_OPTIONS), "")
    if statements[0].type not in _READING or read not in _READS:
        raise UsageError(f"{verb.upper() or 'this'} is refused: a query reads, it must begin with SELECT, WITH or FROM")


def _words(query: str) -> Iterator[str]:
    """The query's words in order, lower case, without comments and punctuation."""
    text = query.encode()
    tokens = duckdb.tokenize(query)
    ends = [*(start for start, _ in tokens[1:]), len(text)]
    for (start, kind), end in zip(tokens, ends, strict=True):
        if kind in (duckdb.token_type.keyword, duckdb.token_type.identifier):
            yield text[start:end].decode(errors="replace").strip().lower()


@contextmanager
def sql_errors() -> Iterator[None]:
    """Turns DuckDB's errors into one line.

    Raises:
        UsageError: when the query is wrong; DuckDB's own hint (candidate columns …) is kept.
        DataengineError: when a file of the corpus cannot be read.
    """
    try:
        yield
    except (duckdb.Error, pa.ArrowException) as e:
        raise told(e) from e
    except UnicodeDecodeError as e:
        message = f"a text in the manifest is not UTF-8 ({e}); `dataengine verify` says which file is damaged"
        raise DataengineError(message) from e


def told(error: Exception) -> DataengineError:
    """What an error of DuckDB's, or of Arrow's on the way from it, says to a person, and whose it is."""
    text = str(error)
    if "Traceback (most recent call last)" in text:  # the store's own Python failed underneath
        ours = re.findall(r"(?:DataengineError|UsageError): (.+)", text)
        last = next((line for line in reversed(text.splitlines()) if line.strip()), "")
        return DataengineError(f"reading the manifest failed: {_one_line(ours[-1] if ours else last)}")
    if isinstance(error, _BROKEN) or _DAMAGE.search(text):
        return DataengineError(f"reading the manifest failed: {_one_line(text)}")
    return UsageError(_one_line(text))


_DAMAGE = re.compile(r"parquet file|failed to read file|decompression fail|thrift|magic bytes", re.IGNORECASE)
_BROKEN = (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.InternalException, OSError)


def _one_line(text: str) -> str:
    return " ".join(text.split("\n\nLINE ")[0].split())
