"""A folder of models behind any URL that fsspec knows, such as `s3://bucket/models`: `local:` for buckets.

Planning lists the folder and reads its CSV, nothing else: a bucket of a million models is a few thousand requests. A
file is known by its path and by what the store says of its content (an MD5 where it has one, else size and time), so
a file that was replaced is a new asset, and copies of the same bytes are found where the store publishes MD5 sums.
Models are fetched with the files that they refer to, and checked to be still what was planned.
"""

import hashlib
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import fsspec

from dataengine.download.asset_files import Remote
from dataengine.download.dependencies import FORMATS, Bundle, Home
from dataengine.download.wanted import Wanted
from dataengine.errors import DataengineError, UsageError
from dataengine.model_files.model_info import EXTENSIONS
from dataengine.model_files.paths import to_text
from dataengine.sources.listing import SourceListing, assets_table
from dataengine.sources.remote import bundle_key, suffix_of
from dataengine.sources.sidecar import OTHER_NAMES, OWN_NAMES, Sidecar, read_sidecar
from dataengine.sources.source import Row, Source
from dataengine.sources.split_groups import group_ids

_ALONE = ("glb", "stl", "ply")  # what other formats look like depends on files beside them
_VERSIONS = ("ETag", "etag", "md5Hash", "content_md5", "generation", "CRC", "mtime", "created", "LastModified")
_MD5 = re.compile(r"^[0-9a-f]{32}$")


def find_bucket(url: str) -> SourceListing:
    """All models under a URL, in the order of their paths.

    Raises:
        UsageError: if the URL cannot be opened, there is no such folder, it holds no model, or its CSV is wrong.
        DataengineError: if the store refuses or cannot be reached.
    """
    head, mark, rest = url.partition("::")  # with and without a slash it is the same source
    url = url if head.endswith("://") else f"{head.rstrip('/')}{mark}{rest}"
    files = _list(url)
    names = sorted(n for n in files if _is_model(n))
    if not names:
        detail = "holds no models" if files else "is empty, or not there"
        raise UsageError(f"{url} {detail}; dataengine reads {', '.join(EXTENSIONS)}")
    sidecar = _sidecar(url, files)
    known = [sidecar.rows.get(n, {}) for n in names]
    formats = [EXTENSIONS[n.rpartition(".")[2].lower()] for n in names]
    head, mark, rest = _with_slash(url).partition("::")
    columns: dict[str, list[Any]] = {
        "uid": [bucket_uid(n, f, files[n]) for n, f in zip(names, formats, strict=True)],
        "group_id": group_ids(names, [content_of(files[n]) for n in names], [sidecar.groups.get(n) for n in names]),
        "source": [url] * len(names),
        "uri": [f"{head}{name}{mark}{rest}" for name in names],
        "path": names,
        "stem": [n.rpartition("/")[2].rpartition(".")[0] for n in names],
        "format": formats,
        "bytes": [files[n].get("size") for n in names],
        "up_source": ["source" if k.get("up") else "format" for k in known],
        "tags": [k.get("tags") or [] for k in known],
    }
    for column in ("licence", "attribution", "title", "author", "page_url", "up"):
        columns[column] = [k.get(column) for k in known]
    unused = len(sidecar.rows.keys() - set(names))
    notes = [*sidecar.notes]
    if unused:
        notes.append(f"{sidecar.name} also names {unused} files that are no models here")
    return SourceListing(url, None, assets_table(columns), tuple(notes))


def bucket_uid(name: str, format: str, info: Mapping[str, Any]) -> str:
    """32 hex digits over the content where that is all there is to a model, else over its place and its version."""
    content = content_of(info)
    place = content if content and format in _ALONE else f"{name}\n{version_of(info)}"
    return hashlib.sha256(f"{format}\n{info.get('size')}\n{place}".encode()).hexdigest()[:32]


def locate_in_bucket(row: Row) -> Remote | Bundle:
    """A model of the folder: with what it refers to there, and only in the version that was planned."""
    folder = _with_slash(row["source"])
    path = str(row["uri"]).partition("::")[0].removeprefix(folder.partition("::")[0])
    uid, format = str(row["uid"]), str(row["format"])

    def unchanged(info: Mapping[str, Any]) -> bool:
        return bucket_uid(path, format, info) == uid

    main = Remote(Wanted(row["uri"], suffix_of(row), row["sha256"], version=uid, unchanged=unchanged))
    if format not in FORMATS:
        return main
    home = Home(folder, unquote(path) if folder.startswith("http") else path)
    return Bundle(main, home, format, bundle_key(row))


def _with_slash(url: str) -> str:
    """With a slash at the end of its path: zip://models::s3://a/b.zip has two URLs in one."""
    head, mark, rest = url.partition("::")
    return f"{head if head.endswith('://') else head.rstrip('/') + '/'}{mark}{rest}"


def content_of(info: Mapping[str, Any]) -> str | None:
    """The MD5 that a store publishes: S3's ETag of what was uploaded in one part, or its kin."""
    for key in ("ETag", "etag", "md5Hash", "content_md5"):
        if _MD5.match(text := str(info.get(key, "")).strip('"')):
            return text
    return None


def version_of(info: Mapping[str, Any]) -> str:
    """What tells two versions of a file apart."""
    return next((str(info[k]).strip('"') for k in _VERSIONS if info.get(k)), "")


def _list(url: str) -> dict[str, dict[str, Any]]:
    """Every file below the folder that is not hidden, by its path there."""
    try:
        fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        found: dict[str, dict[str, Any]] = fs.find(root, detail=True)
    except (ValueError, ImportError) as e:
        raise UsageError(f"cannot open {url}: {e}") from e
    except (FileNotFoundError, NotADirectoryError) as e:
        raise UsageError(f"there is no folder {url}") from e
    except Exception as e:  # each fsspec backend raises its own client's errors
        raise DataengineError(f"{url} cannot be read: {' '.join(str(e).split()) or type(e).__name__}") from e
    root = root.rstrip("/")
    relative = {path[len(root) :].lstrip("/"): info for path, info in found.items() if path.startswith(root)}
    return {n: i for n, i in relative.items() if n and not any(part.startswith(".") for part in n.split("/"))}


def _is_model(name: str) -> bool:
    return "." in name.rpartition("/")[2] and name.rpartition(".")[2].lower() in EXTENSIONS and to_text(name) == name


def _sidecar(url: str, files: Mapping[str, Any]) -> Sidecar:
    with tempfile.TemporaryDirectory(prefix="dataengine-") as folder:
        try:
            fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
            for name in (*OWN_NAMES, *OTHER_NAMES):
                if name in files:
                    fs.get_file(f"{root.rstrip('/')}/{name}", f"{folder}/{name}")
        except Exception as e:  # as above
            raise DataengineError(f"{url}: its CSV cannot be read: {' '.join(str(e).split())}") from e
        try:
            return read_sidecar(Path(folder))
        except UsageError as e:
            raise UsageError(str(e).replace(folder, url.rstrip("/"))) from e


SOURCE = Source("URL", "a URL such as s3://bucket/models", lambda url, query: find_bucket(url), locate_in_bucket)
