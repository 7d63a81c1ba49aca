"""Source `3d-future:DIR`: 3D-FUTURE's furniture as its publisher hands it out, by hand: a folder or the archive itself.

`3D-FUTURE-model.zip` holds `3D-FUTURE-model/<id>/raw_model.obj` (and the same in a unit box, `normalized_model.obj`),
`model.mtl`, `texture.png`, and `image.jpg`, a picture, whose SHA-256 TRELLIS-500K knows the model by. `model_info.json`
has the categories.
"""

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from dataengine.corpus.shards import file_sha256
from dataengine.download.archives import zipped
from dataengine.errors import DataengineError, UsageError
from dataengine.model_files.paths import to_text
from dataengine.sources.listing import SourceListing, SourceQuery, assets_table
from dataengine.sources.local import find_local, folder_of, locate_local, nominal_uid
from dataengine.sources.source import Source

MAIN = "raw_model.obj"
INFO = "model_info.json"
LICENCE = "licenseref-3d-future-nc"
PAGE = "https://tianchi.aliyun.com/dataset/98063"
CREDIT = f"3D-FUTURE, Alibaba ({PAGE}), non-commercial research only"
_FIELDS = ("category", "super-category", "style", "theme", "material")


def find_three_d_future(name: str, query: SourceQuery) -> SourceListing:
    """All models of 3D-FUTURE.

    Args:
        name: the unpacked folder, or 3D-FUTURE-model.zip.
        query: the corpus's limits.

    Raises:
        UsageError: if it is not there, or holds no such models.
        DataengineError: if the archive or model_info.json is damaged.
    """
    if not name:
        raise UsageError(
            "3D-FUTURE is downloaded by hand: accept its terms on its page at Tianchi, then give the archive or the "
            "unpacked folder, as in 3d-future:3D-FUTURE-model.zip"
        )
    path = Path(name).expanduser().absolute()
    if path.is_file():
        return _in_archive(path)
    found = find_local(name, query.limits, "3d-future", lambda n: n.rpartition("/")[2] == MAIN)
    folders = [PurePosixPath(p).parent for p in found.assets["path"].to_pylist()]
    pictures = [path / folder / "image.jpg" for folder in folders]
    aliases = [file_sha256(p) if p.is_file() else None for p in pictures]
    info, notes = _info([path, path.parent])
    table = found.assets.select([n for n in found.assets.column_names if n not in _OWN])
    for column, values in _known([f.name for f in folders], aliases, info).items():
        table = table.append_column(column, values)
    return SourceListing(found.spec, None, table, (*found.notes, *notes))


_OWN = ("title", "licence", "attribution", "page_url", "tags", "alias", "stem")


def _known(ids: list[str], aliases: list[str | None], info: Mapping[str, Mapping[str, Any]]) -> dict[str, pa.Array]:
    """The columns that the publication says something of, in place of what a folder's files say."""
    known = [info.get(i, {}) for i in ids]
    columns = {
        "title": [k.get("category") for k in known],
        "licence": [LICENCE] * len(ids),
        "attribution": [CREDIT] * len(ids),
        "page_url": [PAGE] * len(ids),
        "alias": aliases,
        "stem": ids,
        **{field.replace("-", "_"): [k.get(field) for k in known] for field in _FIELDS},
    }
    tags = [[str(v) for f in _FIELDS if (v := k.get(f))] for k in known]
    arrays = {n: pa.array(v, pa.string()) for n, v in columns.items()}
    return {**arrays, "tags": pa.array([list(dict.fromkeys(t)) for t in tags], pa.list_(pa.string()))}


def _in_archive(path: Path) -> SourceListing:
    source = f"3d-future:{to_text(path)}"
    try:
        with zipfile.ZipFile(path) as archive:
            models = dict(_models(archive))
            ids = [PurePosixPath(member).parent.name for member in models]
            aliases = [_picture(archive, PurePosixPath(member).parent) for member in models]
            inside = next((i for i in archive.namelist() if PurePosixPath(i).name == INFO), None)
            text = archive.read(inside) if inside is not None else None
    except (zipfile.BadZipFile, OSError) as e:
        raise DataengineError(f"{path} is no ZIP archive that can be read: {e}") from e
    if not models:
        raise UsageError(f"{path} has no …/{MAIN}: is it 3D-FUTURE-model.zip?")
    info, notes = _info([path.parent]) if text is None else (_parse(text, f"{path}/{inside}"), ())
    uids = [nominal_uid("3d-future", i, None) for i in ids]
    columns = {
        "uid": uids,
        "group_id": uids,
        "source": [source] * len(ids),
        "uri": [zipped(path, member) for member in models],
        "path": list(models),
        "format": ["obj"] * len(ids),
        "bytes": list(models.values()),
        "up_source": ["format"] * len(ids),
    }
    known = _known(ids, aliases, info)
    extra = pa.schema([(f.replace("-", "_"), pa.string()) for f in _FIELDS])
    return SourceListing(source, None, assets_table({**columns, **known}, extra), notes)


def _models(archive: zipfile.ZipFile) -> Iterator[tuple[str, int]]:
    """(member, bytes of its folder) of each model, by name."""
    sizes: dict[str, int] = {}
    for info in archive.infolist():
        folder = info.filename.rpartition("/")[0]
        sizes[folder] = sizes.get(folder, 0) + info.file_size
    for name in sorted(archive.namelist()):
        if PurePosixPath(name).name == MAIN:
            yield name, sizes[name.rpartition("/")[0]]


def _picture(archive: zipfile.ZipFile, folder: PurePosixPath) -> str | None:
    try:
        return hashlib.sha256(archive.read(f"{folder}/image.jpg")).hexdigest()
    except KeyError:
        return None


def _info(folders: list[Path]) -> tuple[dict[str, dict[str, Any]], tuple[str, ...]]:
    for folder in folders:
        file = folder / INFO
        if file.is_file():
            return _parse(file.read_bytes(), str(file)), ()
    return {}, (f"{INFO} is not beside the models: no titles and tags",)


def _parse(text: bytes, name: str) -> dict[str, dict[str, Any]]:
    try:
        return {str(model["model_id"]): model for model in json.loads(text)}
    except (ValueError, KeyError, TypeError) as e:
        raise DataengineError(f"{name} cannot be read: {e}") from e


SOURCE = Source("3d-future", "3d-future:DIR", find_three_d_future, locate_local, folder_of)
