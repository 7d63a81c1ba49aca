"""Source `gso`: Google Scanned Objects, 1,030 scanned household objects, from Gazebo's Fuel server or a folder.

The server lists the models page by page and gives each as a ZIP archive: `meshes/model.obj`, `meshes/model.mtl`, which
names `texture.png`, and that in `materials/textures/`. A model's files never change under its version's URL.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from dataengine.corpus.config import Limits
from dataengine.download.archives import zipped
from dataengine.download.http import Downloader
from dataengine.errors import AssetFailure, DataengineError, ErrorCode
from dataengine.model_files.paths import to_text
from dataengine.sources.licences import normalise
from dataengine.sources.listing import SourceListing, SourceQuery, assets_table
from dataengine.sources.local import find_local, folder_of, locate_local, nominal_uid
from dataengine.sources.source import Source

FUEL = "https://fuel.ignitionrobotics.org/1.0/GoogleResearch/models"
PAGE = "https://app.gazebosim.org/GoogleResearch/fuel/models"
MAIN = "meshes/model.obj"
LICENCE = "cc-by-4.0"
AUTHOR = "Google Research"
_PAGES = 1000  # a server that ignores the page's number must not keep us


def find_gso(folder: str, query: SourceQuery) -> SourceListing:
    """All models of Google Scanned Objects.

    Args:
        folder: of downloaded models, as NAME.zip or unpacked as NAME/meshes/model.obj; empty: from the server.
        query: how many are wanted.

    Raises:
        UsageError: if the folder holds no such models.
        DataengineError: if the server cannot be reached or its list cannot be read.
    """
    if folder:
        return _in_folder(Path(folder).expanduser().absolute(), query.limits)
    models = []
    for model in _listed(query.downloads):
        models.append(model)
        if query.first is not None and len(models) >= query.first:
            break
    names = [str(m["name"]) for m in models]
    archives = [archive_url(m) for m in models]
    rows = {
        "bytes": [m.get("filesize") for m in models],
        "licence": [normalise(m.get("license_url") or m.get("license_name")) or LICENCE for m in models],
        "tags": [list(dict.fromkeys([*(m.get("categories") or []), *(m.get("tags") or [])])) for m in models],
        "likes": [m.get("likes") for m in models],
        "published": [m.get("upload_date") or m.get("createdAt") for m in models],
        "description": [m.get("description") for m in models],
        "category": [next(iter(m.get("categories") or []), None) for m in models],
    }
    extra = pa.schema([("likes", pa.int64()), *((n, pa.string()) for n in ("published", "description", "category"))])
    return SourceListing("gso", None, assets_table({**_common("gso", names, archives), **rows}, extra))


def archive_url(model: Mapping[str, Any]) -> str:
    """Where the server has the archive of a model that it lists."""
    name = quote(str(model["name"]))
    return f"{FUEL}/{name}/{model.get('version') or 1}/{name}.zip"


def _listed(downloads: Downloader) -> Iterator[dict[str, Any]]:
    """Every model that the server lists; the page after the last is a 404."""
    seen: set[str] = set()
    for page in range(1, _PAGES + 1):
        try:
            models = json.loads(downloads.read(f"{FUEL}?page={page}"))
            fresh = [m for m in models if m["name"] not in seen]
        except AssetFailure as e:
            if e.code is ErrorCode.FETCH_404 and seen:
                return
            raise DataengineError(f"gso: {e.message}") from e
        except (ValueError, KeyError, TypeError) as e:
            raise DataengineError(f"gso: the list at {FUEL}?page={page} cannot be read: {e}") from e
        if not fresh:
            return
        seen.update(m["name"] for m in fresh)
        yield from fresh


def _common(source: str, names: list[str], archives: list[Any]) -> dict[str, Any]:
    """What is the same however the archives came here. A scan stands on the ground of Gazebo's world, where z is up."""
    uids = [nominal_uid("gso", name, None) for name in names]
    return {
        "uid": uids,
        "group_id": uids,
        "stem": names,
        "path": [f"{name}/{MAIN}" for name in names],
        "source": [source] * len(names),
        "uri": [zipped(archive, MAIN) for archive in archives],
        "format": ["obj"] * len(names),
        "title": [name.replace("_", " ") for name in names],
        "author": [AUTHOR] * len(names),
        "licence": [LICENCE] * len(names),
        "page_url": [f"{PAGE}/{quote(name)}" for name in names],
        "up": ["Z"] * len(names),
        "up_source": ["source"] * len(names),
    }


def _in_folder(root: Path, limits: Limits) -> SourceListing:
    archives = sorted(root.glob("*.zip")) if root.is_dir() else []
    if archives:
        table = assets_table(_common(f"gso:{to_text(root)}", [a.stem for a in archives], list(archives)))
        return SourceListing(f"gso:{to_text(root)}", None, table)
    found = find_local(str(root), limits, "gso", lambda name: f"/{name}".endswith(f"/{MAIN}"))
    names = [path.removesuffix(f"/{MAIN}").rpartition("/")[2] for path in found.assets["path"].to_pylist()]
    table = found.assets
    for column, values in _common(found.spec, names, names).items():
        if column not in ("uid", "group_id", "uri", "path", "source", "format"):
            index = table.schema.get_field_index(column)
            table = table.set_column(index, column, pa.array(values, table.schema.field(index).type))
    return SourceListing(found.spec, None, table, found.notes)


SOURCE = Source("gso", "gso[:DIR]", find_gso, locate_local, lambda folder: folder_of(folder) if folder else None)
