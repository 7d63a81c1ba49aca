"""Captions: Cap3D's CSV as published, any CSV or Parquet with a header, JSON lines, or what a stage has written.

`cap3d` and `cap3d:NAME` come from the hub, at the revision that the plan pins: the files have moved more than once.
A file has a key column and a caption column. The key may be an asset's uid, the hash of its main file, its path within
its source, its URI, or its file name without extension (so Cap3D's uids find `<uid>.glb` in a folder). Several files
may be given: the first that knows an asset wins, and within a file the first row.
"""

import codecs
import json
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import duckdb
import fsspec
import pyarrow as pa

from dataengine.download.http import Downloader
from dataengine.download.hub import file_url
from dataengine.download.pins import revision_of
from dataengine.download.wanted import Wanted
from dataengine.errors import AssetFailure, DataengineError, UsageError
from dataengine.sources.text_table import TextTable, counted, delimiter_of

KEYS = (
    *("uid", "path", "uri", "sha256", "file_identifier", "fileidentifier"),
    *("file", "filename", "file_name", "stem", "id", "key", "name"),
)
CAPTIONS = ("caption", "captions", "text", "description", "prompt")

CAP3D = "tiange/Cap3D"
CAP3D_FILES = {
    "": "Cap3D_automated_Objaverse_full.csv",
    "full": "Cap3D_automated_Objaverse_full.csv",
    "objaverse": "Cap3D_automated_Objaverse.csv",
    "no3dword": "Cap3D_automated_Objaverse_no3Dword.csv",
    "abo": "Cap3D_automated_ABO.csv",
}

_KEY_LIKE = re.compile(r"^[0-9a-f-]{32,64}$", re.IGNORECASE)


def pin_captions(specs: Sequence[str], before: Sequence[str], downloads: Callable[[], Downloader]) -> tuple[str, ...]:
    """Caption specs as corpus.yaml keeps them: those of the hub with the file's name and the commit.

    Args:
        specs: files, URLs, or `cap3d[:NAME][@REVISION]`; NAME is full (the default), objaverse, no3dword, abo or the
            name of a file in the repository.
        before: what an earlier plan pinned.
        downloads: gives the downloader when the hub must be asked.

    Raises:
        UsageError: for a name that cannot be a caption file.
        DataengineError: if the hub cannot be reached.
    """
    pinned = []
    for spec in specs:
        if spec.partition(":")[0].partition("@")[0] != "cap3d":
            # Absolute: planning again may be started anywhere.
            pinned.append(os.path.abspath(spec) if Path(spec).is_file() else spec)  # noqa: PTH100 - links stay links
            continue
        name, _, revision = spec.removeprefix("cap3d").removeprefix(":").partition("@")
        file = CAP3D_FILES.get(name, name)
        if not file.endswith(".csv"):
            raise UsageError(f"unknown captions {spec!r}; use cap3d:{', cap3d:'.join(n for n in CAP3D_FILES if n)}")
        known = next((b for b in before if b.startswith(f"cap3d:{file}@")), None)
        if revision or known is None:
            revision = revision or revision_of(CAP3D, downloads())
            known = f"cap3d:{file}@{revision}"
        pinned.append(known)
    return tuple(pinned)


def load_captions(
    con: duckdb.DuckDBPyConnection,
    files: Sequence[str],
    downloads: Callable[[], Downloader],
    of_stage: Callable[[str], pa.Table | None] = lambda name: None,
) -> list[str]:
    """Makes the table `captions(key, caption, file)`: one row a key and file, empty captions left out.

    Args:
        files: as `pin_captions` gives them, or the name of a stage that writes captions.
        downloads: gives the downloader when a file must be fetched.
        of_stage: the columns k (uid) and c (caption) of a stage of that name, if there is one.

    Returns:
        notes for the person, one line each: which rows of a file were refused, and why.

    Raises:
        UsageError: in one line, for a file that is missing, unreadable or has other columns.
    """
    con.execute("create or replace temp table captions (key varchar, caption varchar, file integer)")
    notes: list[str] = []
    for number, name in enumerate(files):
        made = of_stage(name)
        if made is not None:
            _insert(con, made, number)
            continue
        with tempfile.TemporaryDirectory(prefix="dataengine-captions-") as folder:
            path = _local(name, Path(folder), downloads)
            try:
                notes += _load(con, name, path, number)
            except UnicodeError as e:
                raise UsageError(
                    f"captions {name} are neither Parquet nor CSV in UTF-8 or UTF-16, nor JSON lines: {one_line(e)}"
                ) from e
            except (duckdb.Error, OSError) as e:
                raise UsageError(f"captions {name} cannot be read: {one_line(e)}") from e
    return notes


def _local(name: str, folder: Path, downloads: Callable[[], Downloader]) -> Path:
    """The file on local disk, downloaded where it is a URL."""
    try:
        if name.startswith("cap3d:"):
            file, _, revision = name.removeprefix("cap3d:").partition("@")
            return downloads().get(Wanted(file_url(CAP3D, revision, file), ".csv", seconds=3600))
        fs, path = fsspec.core.url_to_fs(name)
        if "file" in fs.protocol:
            if not Path(path).is_file():
                raise UsageError(f"there is no caption file {name}")
            with Path(path).open("rb"):
                return Path(path)
        target = folder / Path(path).name
        fs.get_file(path, str(target))
        return target
    except AssetFailure as e:
        raise DataengineError(f"captions {name}: {e.message}") from e
    except FileNotFoundError as e:
        raise UsageError(f"there is no caption file {name}") from e
    except (OSError, ValueError, ImportError) as e:
        raise UsageError(f"captions {name} cannot be read: {e}") from e


def _load(con: duckdb.DuckDBPyConnection, name: str, path: Path, number: int) -> list[str]:
    with path.open("rb") as f:
        start = f.read(64)
    if start.startswith(b"PAR1"):
        columns = [str(row[0]) for row in con.execute("describe from read_parquet(?)", [str(path)]).fetchall()]
        key, caption = (_quoted(columns[i]) for i in _key_and_caption(columns, name))
        query = f"select {key} as k, {caption} as c from read_parquet(?)"
        rows = con.sql(query, params=[str(path)]).to_arrow_table()
        notes: list[str] = []
    elif start.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{"):
        rows, notes = _read_json_lines(path, name)
    else:
        rows, notes = _read_text(path, name)
    _insert(con, rows, number)
    return notes


def _insert(con: duckdb.DuckDBPyConnection, rows: pa.Table, number: int) -> None:
    """Puts the columns k and c into `captions`."""
    con.register("caption_rows", rows)
    con.execute(
        f"""
        insert into captions
        select key, first(caption order by n), {number} from (
            select trim(cast(k as varchar)) as key, trim(cast(c as varchar)) as caption, row_number() over () as n
            from caption_rows
        ) where key <> '' and caption <> '' group by key
        """
    )
    con.unregister("caption_rows")


def _read_json_lines(path: Path, name: str) -> tuple[pa.Table, list[str]]:
    """The columns k and c of a file with a JSON object a line, and what is to be said of lines that are none."""
    keys: list[str] = []
    captions: list[str] = []
    refused: list[int] = []
    columns: list[str] = []
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = {str(k): v for k, v in json.loads(line).items()}
            except (ValueError, AttributeError):
                refused.append(number)
                continue
            columns = columns or list(row)
            key, caption = (row.get(columns[i]) for i in _key_and_caption(columns, name))
            if isinstance(key, str) and isinstance(caption, str):
                keys.append(key)
                captions.append(caption)
            else:
                refused.append(number)
    if not columns:
        raise UsageError(f"captions {name} hold no JSON object a line")
    notes = [f"{name}: {counted(refused)} refused: no JSON object with a key and a caption"] if refused else []
    return pa.table({"k": pa.array(keys, pa.string()), "c": pa.array(captions, pa.string())}), notes


def _read_text(path: Path, name: str) -> tuple[pa.Table, list[str]]:
    """The columns k and c of a text table, and what is to be said of rows that are not in it."""
    table = TextTable(path, delimiter_of(path))
    rows = table.rows()
    first = next(rows, (0, []))
    columns = [cell.strip() for cell in first[1]]
    if len(columns) < 2:
        raise UsageError(f"captions {name} need two columns or more, a key and a caption; found {len(columns)}")
    header = _has_names(columns)
    if not header:
        _check_published(columns, name)
        columns, rows = ["uid", "caption"], chain([first], rows)
    key, caption = _key_and_caption(columns, name)
    keys, captions = [], []
    for line, cells in rows:
        if len(cells) != len(columns):
            table.refuse(line, f"it has not the {len(columns)} cells that the first row has")
            continue
        keys.append(cells[key])
        captions.append(cells[caption])
    return pa.table({"k": pa.array(keys, pa.string()), "c": pa.array(captions, pa.string())}), table.notes(name)


def _key_and_caption(columns: Sequence[str], name: str) -> tuple[int, int]:
    key, caption = _pick(columns, KEYS), _pick(columns, CAPTIONS)
    if key is None or caption is None:
        wanted = "a key column (uid, path, sha256, id …)" if key is None else "a caption column (caption, text …)"
        raise UsageError(f"captions {name} need {wanted}; the columns are {', '.join(columns)}")
    return key, caption


def _has_names(cells: Sequence[str]) -> bool:
    return _pick(cells, KEYS) is not None or _pick(cells, CAPTIONS) is not None


def _check_published(cells: Sequence[str], name: str) -> None:
    """Without a header only Cap3D's two columns, uid and caption, can be told apart from something else."""
    if len(cells) != 2 or not _KEY_LIKE.match(cells[0].strip()):
        shown = ", ".join(c[:30] for c in cells[:6])
        raise UsageError(
            f"captions {name} have no column called uid, path … and caption, and are not Cap3D's two columns either; "
            f"the first line is: {shown}"
        )


def _pick(columns: Sequence[str], names: Sequence[str]) -> int | None:
    """The position of the column that comes first in `names`."""
    plain = [c.strip().lower() for c in columns]
    return next((plain.index(n) for n in names if n in plain), None)


def _quoted(name: str, mark: str = '"') -> str:
    return mark + name.replace(mark, mark * 2) + mark


def one_line(error: Exception) -> str:
    """All that an error says, in one line."""
    return " ".join(str(error).split())[:400] or type(error).__name__
