"""Source `objaverse` and `objaverse:lvis`: Objaverse 1.0 as published on the Hugging Face hub.

`object-paths.json.gz` names every object, `metadata/<folder>.json.gz` annotates those of one folder, and
`lvis-annotations.json.gz` puts 46 thousand of them into categories. The `objaverse` package reads the same files but
cannot be told where from, at which revision or to where; a test shows that both see the same rows. DuckDB parses the
annotations, one file per thread: 800 thousand are ten seconds on two cores.
"""

import gzip
import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from dataengine.download.http import Downloader
from dataengine.download.hub import file_url
from dataengine.download.pins import Pins
from dataengine.download.wanted import Wanted
from dataengine.errors import AssetFailure, DataengineError, UsageError
from dataengine.manifests.connection import scratch
from dataengine.sources.licences import normalise
from dataengine.sources.listing import SourceListing, SourceQuery
from dataengine.sources.remote import locate_single
from dataengine.sources.source import Source

REPO = "allenai/objaverse"
PATHS = "object-paths.json.gz"
OBJECT_BYTES = 512 << 20  # of an annotation file at most, unpacked
SLICE = 100_000  # rows that are sorted and handed over at a time: all at once would be in memory three times

# The published keys that are kept; any of them may be absent.
_NOTE = """STRUCT(
    "name" VARCHAR, "description" VARCHAR, license VARCHAR, uri VARCHAR, "viewerUrl" VARCHAR,
    "user" STRUCT("displayName" VARCHAR, username VARCHAR), tags STRUCT("name" VARCHAR)[],
    "faceCount" BIGINT, "vertexCount" BIGINT, "animationCount" BIGINT,
    archives STRUCT(glb STRUCT("size" BIGINT, "textureCount" BIGINT)),
    "likeCount" BIGINT, "viewCount" BIGINT, "commentCount" BIGINT, "staffpickedAt" VARCHAR, "publishedAt" VARCHAR)"""


def find_objaverse(subset: str, query: SourceQuery) -> SourceListing:
    """All objects of Objaverse 1.0, or of its LVIS part.

    --where sees, besides the common columns: likes, views, comments, staff_pick, published (ISO 8601), description and
    category (LVIS).

    Raises:
        UsageError: if there is no such part.
        DataengineError: if the hub cannot be reached or does not have the files.
    """
    if subset not in ("", "lvis"):
        raise UsageError(f"unknown part {subset!r} of objaverse; use objaverse or objaverse:lvis")
    downloads = query.downloads
    pins = Pins(query.revision, downloads)
    revision = pins[REPO]
    source = f"objaverse:{subset}" if subset else "objaverse"
    with scratch() as con:
        load_paths(con, downloads, revision)
        con.execute("create temp table lvis (uid varchar, category varchar)")
        if subset or query.first is None:
            _load_lvis(con, downloads, revision)
        chosen = "semi join lvis using (uid)" if subset else ""
        first = f"limit {query.first}" if query.first is not None else ""
        con.execute(f"create temp table wanted as select * from paths {chosen} order by n {first}")
        notes = _load_annotations(con, downloads, revision)
        _load_licences(con)
        count = con.execute("select coalesce(max(n), 0) from wanted").fetchall()[0][0]
        parameters = [source, file_url(REPO, revision, "")]
        slices = [
            con.sql(_ROWS, params=[*parameters, start, start + SLICE]).to_arrow_table()
            for start in range(0, count + 1, SLICE)
        ]
        table = pa.concat_tables(slices)
    return SourceListing(source, pins.text, table, tuple(notes))


def load_paths(con: duckdb.DuckDBPyConnection, downloads: Downloader, revision: str) -> None:
    """Makes the table `paths(n, uid, path)`: every object, in the published order. Raises DataengineError."""
    paths = _read_object(_repository_file(downloads, revision, PATHS), PATHS)
    table = pa.table({"uid": pa.array(paths.keys(), pa.string()), "path": pa.array(paths.values(), pa.string())})
    del paths
    con.register("arrow_paths", table)
    con.execute("create or replace temp table paths as select row_number() over () as n, uid, path from arrow_paths")
    con.unregister("arrow_paths")


def _load_lvis(con: duckdb.DuckDBPyConnection, downloads: Downloader, revision: str) -> None:
    name = "lvis-annotations.json.gz"
    categories = _read_object(_repository_file(downloads, revision, name), name)
    pairs = [(uid, category) for category, uids in categories.items() for uid in uids]
    table = pa.table({"uid": [p[0] for p in pairs], "category": [p[1] for p in pairs]})
    con.register("arrow_lvis", table.cast(pa.schema([("uid", pa.string()), ("category", pa.string())])))
    con.execute("insert into lvis select uid, min(category) from arrow_lvis group by uid")
    con.unregister("arrow_lvis")


def _load_annotations(con: duckdb.DuckDBPyConnection, downloads: Downloader, revision: str) -> list[str]:
    """Makes `notes` of the annotated objects; returns what is to be said of files that are not there."""
    folders = [
        r[0] for r in con.execute("select distinct split_part(path, '/', -2) as f from wanted order by f").fetchall()
    ]
    wanted = [Wanted(file_url(REPO, revision, f"metadata/{f}.json.gz"), ".json.gz") for f in folders]
    found: dict[int, Path | AssetFailure] = {}
    downloads.get_many(wanted, found.__setitem__, at_once=8)
    missing = [
        f"{REPO} has no metadata/{folder}.json.gz: its assets have no licence or annotation"
        for i, folder in enumerate(folders)
        if isinstance(found[i], AssetFailure)
    ]
    files = [file for _, file in sorted(found.items()) if isinstance(file, Path)]
    con.execute(
        "create temp table notes (uid varchar, title varchar, description varchar, license varchar, author varchar, "
        "page_url varchar, tags varchar[], face_count bigint, vertex_count bigint, animation_count bigint, "
        "texture_count bigint, bytes bigint, likes bigint, views bigint, comments bigint, staff_pick boolean, "
        "published varchar)"
    )
    try:
        _insert_notes(con, files)
    except duckdb.Error:  # which one?
        con.execute("truncate notes")
        for file in files:
            try:
                _insert_notes(con, [file])
            except duckdb.Error as e:
                raise _damaged("an annotation file", file, str(e).splitlines()[0]) from e
        raise
    return missing[:3] + ([f"and {len(missing) - 3} more metadata files are not there"] if len(missing) > 3 else [])


def _insert_notes(con: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> None:
    if files:
        largest = max(_unpacked_bytes(f) for f in files)  # each is one JSON object; DuckDB makes buffers of that size
        query = _NOTES.replace("$bytes", str(largest + (1 << 20)))
        con.execute(f"insert into notes {query}", [[str(f) for f in files]])


def _unpacked_bytes(file: Path) -> int:
    """What the end of a gzip file says; it may say anything of a damaged one."""
    with file.open("rb") as f:
        f.seek(-4, os.SEEK_END)
        return min(int.from_bytes(f.read(4), "little"), OBJECT_BYTES)


def _load_licences(con: duckdb.DuckDBPyConnection) -> None:
    said = [r[0] for r in con.execute("select distinct license from notes where license is not null").fetchall()]
    table = pa.table({"said": pa.array(said, pa.string()), "licence": pa.array(map(normalise, said), pa.string())})
    con.register("arrow_licences", table)
    con.execute("create temp table licences as select * from arrow_licences")


_NOTES = f"""
    select e.key as uid, e.value."name" as title, e.value.description, e.value.license,
        coalesce(e.value."user"."displayName", e.value."user".username) as author,
        coalesce(e.value."viewerUrl", e.value.uri) as page_url,
        list_transform(e.value.tags, lambda t: t."name") as tags,
        e.value."faceCount" as face_count, e.value."vertexCount" as vertex_count,
        e.value."animationCount" as animation_count, e.value.archives.glb."textureCount" as texture_count,
        e.value.archives.glb."size" as bytes, e.value."likeCount" as likes, e.value."viewCount" as views,
        e.value."commentCount" as comments, e.value."staffpickedAt" is not null as staff_pick,
        e.value."publishedAt" as published
    from (
        select unnest(map_entries(json)) as e from read_json(
            ?, format='unstructured', records='false', maximum_object_size=$bytes,
            columns={{'json': '{f"MAP(VARCHAR, {_NOTE})".replace("'", "''")}'}}
        )
    )
"""

_ROWS = """
    select uid, uid as group_id, uid as stem, path, $1 as source, $2 || path as uri, 'glb' as format,
        'format' as up_source, title, author, page_url, licences.licence,
        coalesce(tags, []) as tags, []::varchar[] as dependencies,
        face_count, vertex_count, animation_count, texture_count, bytes,
        likes, views, comments, staff_pick, published, description, lvis.category
    from (select * from wanted where n >= $3 and n < $4) left join notes using (uid) left join lvis using (uid)
    left join licences on licences.said = notes.license
    order by n
"""


def _repository_file(downloads: Downloader, revision: str, name: str) -> Path:
    try:
        return downloads.get(Wanted(file_url(REPO, revision, name), ".json.gz"))
    except AssetFailure as e:
        raise DataengineError(f"objaverse: {e.message}") from e


def _read_object(file: Path, name: str) -> dict[str, Any]:
    """A file that holds one JSON object."""
    try:
        content = json.loads(gzip.decompress(file.read_bytes()))
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}")
    except (OSError, EOFError, zlib.error, ValueError) as e:
        raise _damaged(name, file, str(e)) from e
    return content


def _damaged(name: str, file: Path, why: str) -> DataengineError:
    return DataengineError(f"{REPO}: {name} is damaged ({why}); delete {file} and run the command again")


SOURCE = Source("objaverse", "objaverse[:lvis]", find_objaverse, locate_single)
