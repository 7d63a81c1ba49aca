"""Source `objaverse` and `objaverse:lvis`: Objaverse 1.0 as published on the Hugging Face hub.

`object-paths.json.gz` names every object, `metadata/<folder>.json.gz` annotates those of one folder, and
`lvis-annotations.json.gz` puts 46 thousand of them into categories. The `objaverse` package reads the same files but
cannot be told where from, at which revision or to where; a test shows that both see the same rows.
"""

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from dataengine.assets.download import Downloader, Wanted
from dataengine.assets.hub import Pins, file_url
from dataengine.assets.licences import normalise
from dataengine.assets.table import Ask, Found, assets_table
from dataengine.errors import AssetFailure, DataengineError, UsageError

REPO = "allenai/objaverse"

EXTRA = pa.schema(
    [
        ("likes", pa.int64()),
        ("views", pa.int64()),
        ("comments", pa.int64()),
        ("staff_pick", pa.bool_()),
        ("published", pa.string()),  # ISO 8601
        ("category", pa.string()),  # LVIS
        ("description", pa.string()),
    ]
)
"""Columns that --where sees besides the common ones."""


def find_objaverse(subset: str, ask: Ask, downloads: Downloader) -> Found:
    """All objects of Objaverse 1.0, or of its LVIS part.

    Raises:
        UsageError: if there is no such part.
        DataengineError: if the hub cannot be reached or does not have the files.
    """
    if subset not in ("", "lvis"):
        raise UsageError(f"unknown part {subset!r} of objaverse; use objaverse or objaverse:lvis")
    pins = Pins(ask.revision, downloads)
    revision = pins[REPO]
    paths: dict[str, str] = read_repository(downloads, revision, "object-paths.json.gz")
    lvis: dict[str, list[str]] = {}
    if subset == "lvis" or ask.first is None:
        lvis = read_repository(downloads, revision, "lvis-annotations.json.gz")
    category = {uid: name for name, uids in sorted(lvis.items()) for uid in uids}
    uids = [uid for uid in paths if not subset or uid in category][: ask.first]
    columns, missing = _annotations(downloads, revision, uids, paths)
    source = f"objaverse:{subset}" if subset else "objaverse"
    table = assets_table(
        {
            "uid": uids,
            "group_id": uids,
            "stem": uids,
            "path": [paths[u] for u in uids],
            "source": [source] * len(uids),
            "uri": [file_url(REPO, revision, paths[u]) for u in uids],
            "format": ["glb"] * len(uids),
            "up_source": ["format"] * len(uids),
            "category": [category.get(u) for u in uids],
            **columns,
        },
        EXTRA,
    )
    notes = [f"{REPO} has no metadata/{name}.json.gz: its assets have no licence or annotation" for name in missing]
    return Found(
        source, pins.text, table, tuple(notes[:3] + ([f"and {len(notes) - 3} more"] if len(notes) > 3 else []))
    )


def read_repository(downloads: Downloader, revision: str, name: str) -> Any:
    """One gzipped JSON file of Objaverse's repository. Raises DataengineError."""
    try:
        path = downloads.get(Wanted(file_url(REPO, revision, name), ".json.gz"))
    except AssetFailure as e:
        raise DataengineError(f"objaverse: {e.message}") from e
    return _parse(path)


def _parse(path: Path) -> Any:
    try:
        with gzip.open(path, "rb") as f:
            return json.load(f)
    except (OSError, EOFError, ValueError) as e:
        raise DataengineError(f"{path} is damaged ({e}); delete it and run the command again") from e


def _annotations(
    downloads: Downloader, revision: str, uids: list[str], paths: Mapping[str, str]
) -> tuple[dict[str, pa.Array], list[str]]:
    """The annotated columns in the order of `uids`, and the names of the metadata files that are not there."""
    folders: dict[str, list[str]] = {}
    for uid in uids:
        folders.setdefault(paths[uid].split("/")[-2], []).append(uid)
    names = list(folders)
    wanted = [Wanted(file_url(REPO, revision, f"metadata/{name}.json.gz"), ".json.gz") for name in names]
    files: dict[int, Path | AssetFailure] = {}
    downloads.get_many(wanted, files.__setitem__, at_once=8)
    missing = [name for i, name in enumerate(names) if isinstance(files[i], AssetFailure)]
    batches, order = [], []
    for i, name in enumerate(names):
        file = files[i]
        notes = {} if isinstance(file, AssetFailure) else _parse(file)
        batches.append(pa.Table.from_pylist([_row(notes.get(u) or {}) for u in folders[name]], schema=_ANNOTATED))
        order += folders[name]
    if not batches:
        return {}, missing
    table = pa.concat_tables(batches)
    place = {uid: i for i, uid in enumerate(order)}
    table = table.take(pa.array([place[u] for u in uids], pa.int64()))
    return {name: table[name].combine_chunks() for name in table.column_names}, missing


_ANNOTATED = pa.schema(
    [
        *(("title", pa.string()), ("author", pa.string()), ("page_url", pa.string()), ("licence", pa.string())),
        *(("tags", pa.list_(pa.string())), ("face_count", pa.int64()), ("vertex_count", pa.int64())),
        *(("animation_count", pa.int64()), ("texture_count", pa.int64()), ("bytes", pa.int64())),
        *(field for field in EXTRA if field.name != "category"),
    ]
)


def _row(note: Mapping[str, Any]) -> dict[str, Any]:
    """One annotation as published, key by key; any of them may be absent."""
    user = note.get("user") or {}
    archive = (note.get("archives") or {}).get("glb") or {}
    return {
        "title": note.get("name"),
        "author": user.get("displayName") or user.get("username"),
        "page_url": note.get("viewerUrl") or note.get("uri"),
        "licence": normalise(note.get("license")),
        "tags": list(_tags(note)),
        "face_count": note.get("faceCount"),
        "vertex_count": note.get("vertexCount"),
        "animation_count": note.get("animationCount"),
        "texture_count": archive.get("textureCount"),
        "bytes": archive.get("size"),
        "likes": note.get("likeCount"),
        "views": note.get("viewCount"),
        "comments": note.get("commentCount"),
        "staff_pick": bool(note.get("staffpickedAt")) if note else None,
        "published": note.get("publishedAt"),
        "description": note.get("description"),
    }


def _tags(note: Mapping[str, Any]) -> Iterator[str]:
    for tag in note.get("tags") or []:
        name = tag.get("name") if isinstance(tag, dict) else tag
        if name:
            yield str(name)
