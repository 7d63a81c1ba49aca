"""Source `objaverse` and `objaverse:lvis`: Objaverse 1.0 as published on the Hugging Face hub.

`object-paths.json.gz` names every object, `metadata/<folder>.json.gz` annotates those of one folder, and
`lvis-annotations.json.gz` puts 46 thousand of them into categories. The `objaverse` package reads the same files but
cannot be told where from, at which revision or to where; a test shows that both see the same rows. DuckDB parses the
JSON: 800 thousand annotations are ten seconds, and never more than one file in memory.
"""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from dataengine.assets.download import Downloader, Wanted
from dataengine.assets.hub import Pins, file_url
from dataengine.assets.licences import normalise
from dataengine.assets.table import Ask, Found
from dataengine.errors import AssetFailure, DataengineError, UsageError
from dataengine.manifests.duck import scratch

REPO = "allenai/objaverse"
PATHS = "object-paths.json.gz"
OBJECT_BYTES = 512 << 20  # each file is one JSON object

# The published keys that are kept; any of them may be absent.
_NOTE = """STRUCT(
    "name" VARCHAR, "description" VARCHAR, license VARCHAR, uri VARCHAR, "viewerUrl" VARCHAR,
    "user" STRUCT("displayName" VARCHAR, username VARCHAR), tags STRUCT("name" VARCHAR)[],
    "faceCount" BIGINT, "vertexCount" BIGINT, "animationCount" BIGINT,
    archives STRUCT(glb STRUCT("size" BIGINT, "textureCount" BIGINT)),
    "likeCount" BIGINT, "viewCount" BIGINT, "commentCount" BIGINT, "staffpickedAt" VARCHAR, "publishedAt" VARCHAR)"""


def find_objaverse(subset: str, ask: Ask, downloads: Downloader) -> Found:
    """All objects of Objaverse 1.0, or of its LVIS part.

    --where sees, besides the common columns: likes, views, comments, staff_pick, published (ISO 8601), description and
    category (LVIS).

    Raises:
        UsageError: if there is no such part.
        DataengineError: if the hub cannot be reached or does not have the files.
    """
    if subset not in ("", "lvis"):
        raise UsageError(f"unknown part {subset!r} of objaverse; use objaverse or objaverse:lvis")
    pins = Pins(ask.revision, downloads)
    revision = pins[REPO]
    source = f"objaverse:{subset}" if subset else "objaverse"
    with scratch() as con:
        load_paths(con, downloads, revision)
        con.execute("create temp table lvis (uid varchar, category varchar)")
        if subset or ask.first is None:
            _load_lvis(con, downloads, revision)
        chosen = "semi join lvis using (uid)" if subset else ""
        first = f"limit {ask.first}" if ask.first is not None else ""
        con.execute(f"create temp table wanted as select * from paths {chosen} order by n {first}")
        notes = _load_annotations(con, downloads, revision)
        _load_licences(con)
        table = con.sql(_ROWS, params=[source, file_url(REPO, revision, "")]).to_arrow_table()
    return Found(source, pins.text, table, tuple(notes))


def load_paths(con: duckdb.DuckDBPyConnection, downloads: Downloader, revision: str) -> None:
    """Makes the table `paths(n, uid, path)`: every object, in the published order. Raises DataengineError."""
    file = _repository_file(downloads, revision, PATHS)
    con.execute("create or replace temp table paths (n bigint, uid varchar, path varchar)")
    _insert(con, "paths", "row_number() over (), e.key, e.value", "VARCHAR", [file], PATHS)


def _load_lvis(con: duckdb.DuckDBPyConnection, downloads: Downloader, revision: str) -> None:
    name = "lvis-annotations.json.gz"
    con.execute("create temp table every_lvis (category varchar, uid varchar)")
    _insert(
        con, "every_lvis", "e.key, unnest(e.value)", "VARCHAR[]", [_repository_file(downloads, revision, name)], name
    )
    con.execute("insert into lvis select uid, min(category) from every_lvis group by uid")


def _load_annotations(con: duckdb.DuckDBPyConnection, downloads: Downloader, revision: str) -> list[str]:
    """Makes `notes(uid, note)` for the wanted objects; returns what is to be said of files that are not there."""
    con.execute(f"create temp table notes (uid varchar, note {_NOTE})")
    folders = [
        r[0] for r in con.execute("select distinct split_part(path, '/', -2) as f from wanted order by f").fetchall()
    ]
    wanted = [Wanted(file_url(REPO, revision, f"metadata/{f}.json.gz"), ".json.gz") for f in folders]
    found: dict[int, Path | AssetFailure] = {}
    downloads.get_many(wanted, found.__setitem__, at_once=8)
    missing = []
    for i, folder in enumerate(folders):
        file = found[i]
        if isinstance(file, AssetFailure):
            missing.append(f"{REPO} has no metadata/{folder}.json.gz: its assets have no licence or annotation")
        else:
            _insert(con, "notes", "e.key, e.value", _NOTE, [file], f"metadata/{folder}.json.gz")
    return missing[:3] + ([f"and {len(missing) - 3} more metadata files are not there"] if len(missing) > 3 else [])


def _load_licences(con: duckdb.DuckDBPyConnection) -> None:
    said = [
        r[0] for r in con.execute("select distinct note.license from notes where note.license is not null").fetchall()
    ]
    table = pa.table({"said": pa.array(said, pa.string()), "licence": pa.array(map(normalise, said), pa.string())})
    con.register("arrow_licences", table)
    con.execute("create temp table licences as select * from arrow_licences")


_ROWS = """
    select uid, uid as group_id, uid as stem, path, $1 as source, $2 || path as uri, 'glb' as format,
        'format' as up_source, note."name" as title,
        coalesce(note."user"."displayName", note."user".username) as author,
        coalesce(note."viewerUrl", note.uri) as page_url, licences.licence,
        coalesce(list_transform(note.tags, lambda t: t."name"), []) as tags, []::varchar[] as dependencies,
        note."faceCount" as face_count, note."vertexCount" as vertex_count, note."animationCount" as animation_count,
        note.archives.glb."textureCount" as texture_count, note.archives.glb."size" as bytes,
        note."likeCount" as likes, note."viewCount" as views, note."commentCount" as comments,
        case when note is not null then note."staffpickedAt" is not null end as staff_pick,
        note."publishedAt" as published, note."description" as description, lvis.category
    from wanted left join notes using (uid) left join lvis using (uid)
    left join licences on licences.said = note.license
    order by n
"""


def _repository_file(downloads: Downloader, revision: str, name: str) -> Path:
    try:
        return downloads.get(Wanted(file_url(REPO, revision, name), ".json.gz"))
    except AssetFailure as e:
        raise DataengineError(f"objaverse: {e.message}") from e


def _insert(
    con: duckdb.DuckDBPyConnection, table: str, columns: str, value: str, files: Sequence[Path], name: str
) -> None:
    """Inserts the entries `e` of files that hold one JSON object each."""
    kind = f"MAP(VARCHAR, {value})".replace("'", "''")
    try:
        con.execute(
            f"""
            insert into {table} select {columns} from (
                select unnest(map_entries(json)) as e from read_json(
                    ?, format='unstructured', records='false', columns={{'json': '{kind}'}},
                    maximum_object_size={OBJECT_BYTES}
                )
            )
            """,
            [[str(f) for f in files]],
        )
    except duckdb.Error as e:
        where = ", ".join(str(f) for f in files)
        raise DataengineError(
            f"{REPO}: {name} is damaged ({str(e).splitlines()[0]}); delete {where} and run the command again"
        ) from e
