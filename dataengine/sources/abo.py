"""Source `abo`: Amazon Berkeley Objects, 7,953 GLB files listed by `3dmodels/metadata/3dmodels.csv.gz`."""

import hashlib

import duckdb

from dataengine.download.wanted import Wanted
from dataengine.errors import AssetFailure, DataengineError, UsageError
from dataengine.manifests.connection import scratch
from dataengine.sources.listing import SourceListing, SourceQuery, assets_table
from dataengine.sources.remote import locate_single
from dataengine.sources.source import Source
from dataengine.sources.url_lists import ABO

INDEX = "3dmodels/metadata/3dmodels.csv.gz"
CREDIT = "Amazon Berkeley Objects, Amazon.com, CC BY 4.0 (https://amazon-berkeley-objects.s3.amazonaws.com/index.html)"


def find_abo(part: str, query: SourceQuery) -> SourceListing:
    """All models of ABO.

    Raises:
        UsageError: if a part is asked for; there are none.
        DataengineError: if the list cannot be fetched or read.
    """
    if part:
        raise UsageError(f"abo has no parts; use abo, not abo:{part}")
    try:
        path = query.downloads.get(Wanted(f"{ABO}/{INDEX}", ".csv.gz"))
        with scratch() as con:
            select = 'select cast("3dmodel_id" as varchar), path, faces, vertices from read_csv(?, header=true)'
            rows = con.execute(select, [str(path)]).fetchall()[: query.first]
    except AssetFailure as e:
        raise DataengineError(f"abo: {e.message}") from e
    except duckdb.Error as e:
        raise DataengineError(f"abo: {INDEX} cannot be read: {str(e).splitlines()[0]}") from e
    ids, paths, faces, vertices = ([row[i] for row in rows] for i in range(4))
    uids = [hashlib.sha256(f"abo/{i}".encode()).hexdigest()[:32] for i in ids]
    table = assets_table(
        {
            "uid": uids,
            "group_id": uids,
            "stem": ids,
            "path": paths,
            "source": ["abo"] * len(ids),
            "uri": [f"{ABO}/3dmodels/original/{p}" for p in paths],
            "format": ["glb"] * len(ids),
            "face_count": faces,
            "vertex_count": vertices,
            "title": ids,
            "author": ["Amazon.com"] * len(ids),
            "licence": ["cc-by-4.0"] * len(ids),
            "attribution": [CREDIT] * len(ids),
            "page_url": [f"{ABO}/index.html"] * len(ids),
            "up_source": ["format"] * len(ids),
        }
    )
    return SourceListing("abo", None, table)


SOURCE = Source("abo", "abo", find_abo, locate_single)
