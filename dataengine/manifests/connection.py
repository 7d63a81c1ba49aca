"""DuckDB as the manifest uses it: one connection in memory that sees a store's Parquet files and changes nothing."""

from importlib.resources import files

import duckdb
import pyarrow as pa

from dataengine.corpus import schema
from dataengine.corpus.config import CorpusConfig, ViewSet
from dataengine.corpus.storage import Store
from dataengine.manifests import remote_files
from dataengine.paths import spill_folder

_IO_THREADS = 16  # a remote read waits far more than it computes


def connect(files: remote_files.CorpusFiles, **more: str) -> duckdb.DuckDBPyConnection:
    """A connection that fetches no extensions, caches no bytes and leaves no files behind.

    Args:
        files: the corpus's files; DuckDB reads them through it where they are not on a local disk.
        more: DuckDB settings.
    """
    store = files.store
    settings: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "python_enable_replacements": "false",  # `FROM x` means a view of the corpus, never a Python variable
        # Two commits in one second have the same time in S3: cached bytes could be the old fragment's.
        "enable_external_file_cache": "false",
        "temp_directory": str(spill_folder()),
        **more,
    }
    if not store.local:
        settings["threads"] = str(_IO_THREADS)
    db = duckdb.connect(config=settings)
    if not store.local:
        db.register_filesystem(files)
        db.register_filesystem(store.fs)  # so that a query can name other files there
    db.execute("SET TimeZone = 'UTC'")
    put_table(db, "no_views", schema.VIEWS.empty_table())
    put_table(db, "no_tokens", schema.TOKENS.empty_table())
    put_table(db, "no_results", schema.result_schema(pa.schema([])).empty_table())
    return db


def scratch() -> duckdb.DuckDBPyConnection:
    """A connection for work on tables of our own; what does not fit into memory goes to the temporary folder.

    DuckDB's own choice would be a folder `.tmp` wherever the command was started.
    """
    return duckdb.connect(config={"temp_directory": str(spill_folder())})


def put_table(db: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
    """Makes a table of the connection's own from Arrow rows."""
    db.register("new_rows", table)
    db.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM new_rows")
    db.unregister("new_rows")


def parquet(db: duckdb.DuckDBPyConnection, store: Store, variable: str, names: list[str]) -> str:
    """SQL that reads these files of the store, at least one, in order.

    The names go into a variable: forty thousand of them in the text would have to be parsed by each query.
    """
    paths = [store.path(n) if store.local else remote_files.url(n) for n in names]
    db.execute(f"SET VARIABLE {variable} = ?", [paths])
    return f"read_parquet(getvariable('{variable}'), hive_partitioning = false)"


def packaged(file: str, **words: str) -> str:
    """The text of a file in sql/, with `{words}` put in."""
    text = (files("dataengine.manifests") / "sql" / file).read_text(encoding="utf-8")
    return text.format(**words) if words else text


def assets_of(view_set: ViewSet, plan: str, rows: str) -> str:
    """SQL of one row per asset of the plan, with what a view set's fragments say of it: see sql/assets.sql."""
    return packaged("assets.sql", plan=plan, rows=rows, views_input=quote(view_set.input))


def inputs_of(config: CorpusConfig) -> str:
    """SQL of what the input of a fragment `f` that is made from the plan has after `shard_input`."""
    cases = " ".join(f"WHEN {quote(s.stage)} THEN {quote(s.input)}" for s in config.sets)
    return f"CASE f.stage {cases} ELSE '' END"


def shards_of(rows: str, stage: str, *, views: bool = True) -> str:
    """SQL of one row per shard from a fragment's rows: columns as in compact.SHARDS, see sql/shards.sql.

    Args:
        rows: where they are.
        stage: SQL expression.
        views: whether the rows count views.
    """
    return packaged("shards.sql", rows=rows, stage=stage, views="num_views" if views else "0")


def quote(text: str) -> str:
    """An SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def identifier(text: str) -> str:
    """An SQL identifier."""
    return '"' + text.replace('"', '""') + '"'
