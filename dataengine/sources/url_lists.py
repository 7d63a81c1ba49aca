"""Sources that are a list: `objaverse-xl` as published, and `csv:FILE` with one identifier per row.

An identifier becomes an address here: a GitHub page its raw file at that commit, a Sketchfab page Objaverse's copy of
the model, a Thingiverse page its download, the paths of HSSD and ABO (as TRELLIS-500K lists them) their homes.
Everything else is an address already, or a file beside the list.
"""

import tempfile
from pathlib import Path

import duckdb
import pyarrow as pa

from dataengine.download.http import Downloader
from dataengine.download.hub import file_url
from dataengine.download.pins import Pins
from dataengine.download.wanted import Wanted
from dataengine.errors import AssetFailure, DataengineError, UsageError
from dataengine.manifests.connection import scratch
from dataengine.model_files.model_info import EXTENSIONS
from dataengine.model_files.paths import from_text, to_text
from dataengine.sources.captions import one_line
from dataengine.sources.licences import normalise
from dataengine.sources.listing import ASSETS, SourceListing, SourceQuery
from dataengine.sources.local_file import ListedFile
from dataengine.sources.objaverse import REPO as OBJAVERSE
from dataengine.sources.objaverse import load_paths
from dataengine.sources.remote import locate_listed
from dataengine.sources.source import Location, Row, Source
from dataengine.sources.text_table import TextTable, delimiter_of, write_clean

XL = "allenai/objaverse-xl"
XL_PARTS = ("github", "sketchfab", "thingiverse", "smithsonian")
HSSD = "hssd/hssd-models"
GITHUB_RAW = "https://raw.githubusercontent.com"
THINGIVERSE = "https://www.thingiverse.com/download:"
ABO = "https://amazon-berkeley-objects.s3.amazonaws.com"

_IDS = ("uri", "url", "file_identifier", "fileidentifier", "path")
_OWN = {
    "sha256": ("sha256",),
    "licence": ("licence", "license"),
    "attribution": ("attribution",),
    "title": ("title", "name"),
    "author": ("author", "creator"),
    "page_url": ("page_url",),
    "caption": ("caption", "captions"),
    "type": ("format", "filetype", "file_type"),
    "up": ("up",),
}
_READ = "read_csv(?, header=true, delim=?, quote='\"', escape='\"', strict_mode=true)"
_SKETCHFAB = r"^https?://(?:www\.)?sketchfab\.com/.*?([0-9a-f]{32})"
_GITHUB = r"^https?://github\.com/([^/]+)/([^/]+)/blob/([^/]+)/(.*)$"
_THINGIVERSE = r"^https?://(?:www\.)?thingiverse\.com/.*fileId=(\d+)"
_HSSD = r"^objects/.*\.glb$"
_ABO = r"^[0-9A-Z]/[0-9A-Z]{10}\.glb$"


def find_xl(part: str, query: SourceQuery) -> SourceListing:
    """Objaverse-XL, all of it or one of its four parts.

    Raises:
        UsageError: if there is no such part.
        DataengineError: if the hub cannot be reached or does not have the files.
    """
    if part and part not in XL_PARTS:
        raise UsageError(f"unknown part {part!r} of objaverse-xl; it has {', '.join(XL_PARTS)}")
    spec = f"objaverse-xl:{part}" if part else "objaverse-xl"
    pins = Pins(query.revision, query.downloads)
    tables = []
    for name in [part] if part else XL_PARTS:
        url = file_url(XL, pins[XL], f"{name}/{name}.parquet")
        try:
            file = query.downloads.get(Wanted(url, ".parquet", max_bytes=64 << 30))
        except AssetFailure as e:
            raise DataengineError(f"objaverse-xl: {e.message}") from e
        tables.append(_read(str(file), file, spec, query, pins)[0])
    return SourceListing(spec, pins.text, pa.concat_tables(tables, promote_options="permissive"))


def find_csv(name: str, query: SourceQuery) -> SourceListing:
    """A CSV or Parquet file with a header, one asset per row.

    One column says where the asset is: uri, url, file_identifier, fileIdentifier or path. sha256, licence, attribution,
    title, author, page_url, captions, format and up are taken where they are there; --where sees every other column.

    Raises:
        UsageError: for a file that is missing or unreadable, has a column twice, or none that says where.
    """
    path = Path(name).expanduser().absolute()
    if not path.is_file():
        raise UsageError(f"there is no list {name}")
    spec = f"csv:{to_text(path)}"
    pins = Pins(query.revision, query.downloads)
    table, notes = _read(name, path, spec, query, pins)
    return SourceListing(spec, pins.text or None, table, tuple(notes))


def _read(name: str, path: Path, spec: str, query: SourceQuery, pins: Pins) -> tuple[pa.Table, list[str]]:
    with scratch() as con:
        notes = _load(con, name, path)
        columns = {str(r[0]).lower(): str(r[0]) for r in con.execute("describe listed").fetchall()}
        identifier = next((columns[c] for c in _IDS if c in columns), None)
        if identifier is None:
            raise UsageError(
                f"{name} needs a column that says where each asset is ({', '.join(_IDS)}); "
                f"its columns are {', '.join(columns.values())}"
            )
        address = f"coalesce(cast({_quoted(identifier)} as varchar), '')"  # a line without one is a row too
        con.execute(
            f"create temp table named as select {address} as id, * from listed "
            f"{'limit ' + str(query.first) if query.first else ''}"
        )
        _add_models(con, pins, query.downloads)
        hssd = _any(con, _HSSD) and file_url(HSSD, pins[HSSD], "")
        _add_licences(con, next((columns[c] for c in _OWN["licence"] if c in columns), None))
        return _select(con, columns, identifier, spec, path.parent, str(hssd or "")), notes


def _load(con: duckdb.DuckDBPyConnection, name: str, path: Path) -> list[str]:
    """Makes the table `listed`, rows in the file's order; returns what is to be said of rows that are not in it."""
    with path.open("rb") as f:
        is_parquet = f.read(4) == b"PAR1"
    try:
        if is_parquet:
            con.execute("create temp table listed as select * from read_parquet(?)", [str(path)])
            return []
        delimiter = delimiter_of(path)
        _check_header(name, TextTable(path, delimiter))
        try:
            con.execute(f"create temp table listed as select * from {_READ}", [str(path), delimiter])
            return []
        except duckdb.Error:  # it minds mixed line ends, encodings and ragged rows
            table = TextTable(path, delimiter)
            with tempfile.TemporaryDirectory(prefix="dataengine-list-") as folder:
                clean = Path(folder) / "list.csv"
                write_clean(table, clean)
                con.execute(f"create temp table listed as select * from {_READ}", [str(clean), ","])
            return table.notes(name)
    except UnicodeError as e:
        raise UsageError(f"{name} is neither Parquet nor CSV in UTF-8 or UTF-16: {one_line(e)}") from e
    except (duckdb.Error, OSError) as e:
        raise UsageError(f"{name} cannot be read: {one_line(e)}") from e


def _check_header(name: str, table: TextTable) -> None:
    header = [cell.strip().lower() for cell in next(table.rows(), (0, []))[1]]
    if not any(header):
        raise UsageError(f"{name} is empty: its first line must name its columns")
    twice = sorted({c for c in header if header.count(c) > 1})
    if twice:
        raise UsageError(f"{name} has the column {', '.join(twice)} more than once")


def _add_models(con: duckdb.DuckDBPyConnection, pins: Pins, downloads: Downloader) -> None:
    """Makes `models(uid, address)`: where Objaverse keeps what Sketchfab pages show."""
    con.execute("create temp table models (uid varchar, address varchar)")
    if _any(con, _SKETCHFAB):
        revision = pins[OBJAVERSE]
        load_paths(con, downloads, revision)
        con.execute(f"insert into models select uid, {_text(file_url(OBJAVERSE, revision, ''))} || path from paths")


def _add_licences(con: duckdb.DuckDBPyConnection, column: str | None) -> None:
    """Makes `licences(said, licence)`: each text that occurs, normalised once."""
    query = f"select distinct cast({_quoted(column)} as varchar) from named" if column else "select null where false"
    said = [r[0] for r in con.execute(query).fetchall() if r[0] is not None]
    table = pa.table({"said": pa.array(said, pa.string()), "licence": pa.array(map(normalise, said), pa.string())})
    con.register("arrow_licences", table)
    con.execute("create temp table licences as select * from arrow_licences")
    con.unregister("arrow_licences")


def _select(
    con: duckdb.DuckDBPyConnection, columns: dict[str, str], identifier: str, spec: str, folder: Path, hssd: str
) -> pa.Table:
    own = {ours: next((columns[t] for t in theirs if t in columns), None) for ours, theirs in _OWN.items()}
    value = {k: f"cast({_quoted(c)} as varchar)" if c else "null::varchar" for k, c in own.items()}
    taken = {identifier, *(c for c in own.values() if c)} | {c for low, c in columns.items() if low in ASSETS.names}
    others = "".join(f", named.{_quoted(c)}" for c in columns.values() if c not in taken)
    raw, thing = rf"{GITHUB_RAW}/\1/\2/\3/\4", rf"{THINGIVERSE}\1"
    page = f"coalesce({value['page_url']}, case when id like 'http%' then id end)"
    formats = " ".join(f"when {_text(extension)} then {_text(kind)}" for extension, kind in EXTENSIONS.items())
    return con.sql(
        rf"""
        with placed as (
            select *, {value["sha256"]} as hash, {value["licence"]} as said, {value["caption"]} as words,
                regexp_extract(id, '{_SKETCHFAB}', 1) as sketchfab,
                case
                    when regexp_matches(id, '{_GITHUB}') then regexp_replace(id, '{_GITHUB}', '{raw}')
                    when regexp_matches(id, '{_THINGIVERSE}') then regexp_replace(id, '{_THINGIVERSE}.*', '{thing}')
                    when regexp_matches(id, '{_HSSD}') then {_text(hssd)} || id
                    when regexp_matches(id, '{_ABO}') then '{ABO}/3dmodels/original/' || id
                    when id like '%://%' or id like '/%' then id
                    else {_text(f"{folder}/")} || id
                end as place
            from named
        ),
        addressed as (
            select placed.*, coalesce(models.address, place) as address,
                regexp_replace(coalesce(models.address, place), '(://[^?#]*)[?#].*$', '\1') as bare_address
            from placed left join models on placed.sketchfab = models.uid
        ),
        kinds as (
            select *, lower(coalesce({value["type"]}, regexp_extract(bare_address, '\.(\w+)$', 1))) as kind
            from addressed
        )
        select
            case when sketchfab <> '' then sketchfab else left(coalesce(hash, sha256(address)), 32) end as uid,
            uid as group_id, {_text(spec)} as source, address as uri, id as path,
            regexp_replace(regexp_extract(bare_address, '([^/]*)$', 1), '\.\w+$', '') as stem,
            case kind {formats} else kind end as format,
            hash as sha256, licences.licence, {value["attribution"]} as attribution, {value["title"]} as title,
            {value["author"]} as author, {page} as page_url,
            case when words like '[%' and json_valid(words) then json_extract_string(words, '$[0]') else words end
                as caption,
            upper({value["up"]}) as up, case when {value["up"]} is null then 'format' else 'source' end as up_source,
            []::varchar[] as tags, []::varchar[] as dependencies {others}
        from kinds named left join licences using (said)
        """
    ).to_arrow_table()


def _any(con: duckdb.DuckDBPyConnection, pattern: str) -> bool:
    return con.execute(f"select 1 from named where regexp_matches(id, '{pattern}') limit 1").fetchall() != []


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _locate_listed(row: Row) -> Location:
    if "://" in row["uri"]:
        return locate_listed(row)
    return ListedFile(from_text(row["uri"]), _list_folder(str(row["source"]).partition(":")[2]), row["sha256"])


def _list_folder(name: str) -> Path:
    """The folder of a list: files that it names must lie in there."""
    return from_text(name).parent


XL_SOURCE = Source("objaverse-xl", "objaverse-xl[:PART]", find_xl, locate_listed)
CSV_SOURCE = Source("csv", "csv:FILE", find_csv, _locate_listed, _list_folder)
