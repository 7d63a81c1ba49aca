"""Source `sh3f:FILE-OR-FOLDER`: furniture libraries of Sweet Home 3D, such as Debian's package of five, 820 models.

What a library's catalogue knows becomes the rows' titles, credits, tags and captions. A model is unpacked once when it
is planned, to be counted and hashed as a file of `local:` is, and again into the cache when its turn comes.
"""

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from dataengine.corpus.config import Limits
from dataengine.corpus.shards import file_sha256
from dataengine.download.archives import extract, path_inside, zipped
from dataengine.download.cache import Cache
from dataengine.errors import AssetFailure, UsageError
from dataengine.model_files.model_info import EXTENSIONS
from dataengine.model_files.paths import to_text
from dataengine.model_files.references import FolderIndex
from dataengine.sources.furniture_library import Library, Model, read_library
from dataengine.sources.listing import SourceListing, SourceQuery, assets_table
from dataengine.sources.local import describe_file, nominal_uid
from dataengine.sources.remote import locate_member
from dataengine.sources.source import Source
from dataengine.sources.split_groups import VARIANTS, Groups

INSTALL = "`sudo apt-get install sweethome3d-furniture` puts five libraries into /usr/share/sweethome3d/furniture"
_ROOMS = ("bathroom", "bedroom", "kitchen", "living room", "office")
_OUTSIDE = "exterior"
_NO_CATEGORY = ("", "miscellaneous")
_EXTRA = pa.schema(
    [("category", pa.string()), ("width", pa.float64()), ("depth", pa.float64()), ("height", pa.float64())]
)


@dataclass(frozen=True)
class _Found:
    """A model that became a row."""

    library: Library
    model: Model
    row: dict[str, Any]
    fingerprint: str | None

    @property
    def path(self) -> str:
        """Within the source."""
        return f"{self.library.path.stem}/{self.model.member}"


def find_sh3f(name: str, query: SourceQuery) -> SourceListing:
    """All models of a library, or of the libraries of a folder, in the order of their names and catalogues.

    Args:
        name: a `.sh3f` file or a folder of them.
        query: the corpus's limits, and the cache, where models are unpacked to be looked at.

    Raises:
        UsageError: if it is not there, or is no furniture library; the message says how to get some.
        DataengineError: if the cache cannot be written.
    """
    spec = f"sh3f:{to_text(Path(name).expanduser().absolute())}"
    found: list[_Found] = []
    notes: list[str] = []
    for file in _archives(name):
        library = read_library(file)
        known = [m for m in library.models if _format(m.member) is not None]
        if len(known) < len(library.models):
            others = sorted({PurePosixPath(m.member).suffix or "none" for m in library.models} - _suffixes(known))
            notes.append(
                f"{file.name}: {len(library.models) - len(known)} models of formats that dataengine does not read "
                f"({', '.join(others)}) were passed over"
            )
        lying = [m.name or m.member for m in known if m.up is None]
        if lying:
            notes.append(f"{file.name}: neither y nor z of {', '.join(lying)} is up: they are rendered as they lie")
        found += _rows(library, known, spec, query.limits, query.downloads.cache)
    if not found:
        raise UsageError(f"{name} holds no model that dataengine reads; it reads {', '.join(EXTENSIONS)}")
    groups = _groups(found)
    names = dict.fromkeys(name for f in found for name in f.row)
    columns = {name: [f.row.get(name) for f in found] for name in names} | {"group_id": groups}
    columns["dependencies"] = [f.row.get("dependencies") or [] for f in found]
    return SourceListing(spec, None, assets_table(columns, _EXTRA), tuple(notes))


def _archives(name: str) -> list[Path]:
    if not name:
        raise UsageError(f"sh3f: needs a furniture library or a folder of them, as in sh3f:Scopia.sh3f; {INSTALL}")
    path = Path(name).expanduser().absolute()
    if path.is_file():
        return [path]
    if not path.exists():
        raise UsageError(f"there is no {path}; {INSTALL}")
    files = sorted(p for p in path.iterdir() if p.suffix.lower() == ".sh3f")
    if not files:
        raise UsageError(f"{path} holds no furniture library (.sh3f); {INSTALL}")
    return files


def _format(member: str) -> str | None:
    return EXTENSIONS.get(PurePosixPath(member).suffix.lower().removeprefix("."))


def _suffixes(models: Sequence[Model]) -> set[str]:
    return {PurePosixPath(m.member).suffix for m in models}


def _rows(library: Library, models: Sequence[Model], spec: str, limits: Limits, cache: Cache) -> Iterator[_Found]:
    for model in models:
        row, fingerprint = _described(library, model, spec, limits, cache)
        yield _Found(library, model, row | _told(library, model), fingerprint)


def _described(
    library: Library, model: Model, spec: str, limits: Limits, cache: Cache
) -> tuple[dict[str, Any], str | None]:
    """What the model's files say, and the fingerprint of its geometry."""
    path = f"{library.path.stem}/{model.member}"
    where = {
        "source": spec,
        "uri": zipped(library.path, model.member),
        "path": path,
        "stem": PurePosixPath(model.member).stem,
        "format": _format(model.member),
        "up_source": "format",
    }
    folder = cache.begin_bundle()
    try:
        extract(library.path, model.member, folder, limits)
        row, fingerprint = describe_file(folder, path_inside(model.member), spec, limits, file_sha256, FolderIndex())
    except AssetFailure:  # the row fails when its turn comes, and says why
        return {**where, "uid": nominal_uid(spec, path, None)}, None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if row.get("sha256") is None:
        row["uid"] = nominal_uid(spec, path, None)
    return {**row, **where}, fingerprint


def _told(library: Library, model: Model) -> dict[str, Any]:
    """What the catalogue says."""
    width, depth, height = model.size or (None, None, None)
    told = {
        "title": model.name or None,
        "author": model.creator or None,
        "licence": model.licence,
        "attribution": _attribution(library, model),
        "page_url": model.page_url,
        "tags": list(dict.fromkeys([*filter(None, [model.category]), *model.tags])),
        "caption": _caption(model),
        "category": model.category or None,
        "width": width,
        "depth": depth,
        "height": height,
    }
    return told | ({"up": model.up, "up_source": "source"} if model.up else {})


def _attribution(library: Library, model: Model) -> str:
    """What the libraries' licences ask for: author, where it is from, and who holds the copyright."""
    by = f" by {model.creator}" if model.creator else ""
    places = [model.page_url, library.title, library.provider, *library.holders]
    return ", ".join([f"“{model.name or PurePosixPath(model.member).stem}”{by}", *filter(None, places)])


def _caption(model: Model) -> str | None:
    category = model.category.lower()
    if not model.name or category in _NO_CATEGORY:
        return model.name or None
    if category == _OUTSIDE:
        return f"{model.name} for outdoors"
    return f"{model.name} for the {category}" if category in _ROOMS else f"{model.name}, {category}"


def _groups(found: Sequence[_Found]) -> list[str]:
    """Group ids: variants of a model share a part of the split.

    Variants have the same geometry, the same name but for numbers, colours and sides, or, in one category of one
    library, the same title or the same width and height: a family of wall sockets, a pine in summer and under snow.
    Splits lose nothing but a little balance by a wrong pair.
    """
    paths = [f.path for f in found]
    groups = Groups(paths)
    for mark in (
        [f.fingerprint for f in found],
        [_plain(f.row["stem"]) or None for f in found],
        [(f.library.path, f.model.category, _plain(f.model.name)) if f.model.name else None for f in found],
        [(f.library.path, f.model.category, f.model.size[::2]) if f.model.size else None for f in found],
    ):
        groups.join(zip(paths, mark, strict=True))
    return groups.ids()


def _plain(name: str) -> str:
    """Lower case, camel case apart, without numbers, colours and sides: armChair2 → arm chair."""
    words = re.findall(r"[^\W\d_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    return " ".join([w for w in words if w not in VARIANTS and w != "v"] or words)


SOURCE = Source("sh3f", "sh3f:FILE-OR-DIR", find_sh3f, locate_member)
