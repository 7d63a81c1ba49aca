"""A furniture library of Sweet Home 3D: a ZIP archive of models, `.sh3f`, with a catalogue and a licence.

`PluginFurnitureCatalog.properties` says of the n-th model `name#n`, `category#n`, `creator#n`, `tags#n`, where in the
archive it lies (`model#n`), its real size in centimetres and, where it is not upright as it is, the rotation that makes
it so. `LICENSE.TXT` says on what terms the library may be used; `license#n`, or a file beside a model that calls itself
a licence, speaks for that model alone: two models of Blend Swap's CC0 library are CC BY.
"""

import html
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dataengine.errors import UsageError
from dataengine.sources.java_properties import read_properties
from dataengine.sources.licences import linked_licence, normalise

CATALOGUE = "PluginFurnitureCatalog.properties"
LICENCE = "license.txt"  # in any case
_TEXT_BYTES = 16 << 20  # of a catalogue or licence; the largest known has 200 KB
_LICENCE_FILE = re.compile(r"licen[cs]e[^/]*\.(?:txt|html?)$", re.IGNORECASE)
_RELEASED = re.compile(r"released under[\s:]*([^\n]+)", re.IGNORECASE)
_BLEND = re.compile(r"https?://(?:www\.)?blendswap\.com/blends?/view/\d+")
_TAG = re.compile(r"<[^<>]*>")
_UPRIGHT = 0.9  # the cosine of what an axis may be from the vertical and still be up


@dataclass(frozen=True)
class Model:
    """What the catalogue says of a model.

    Attributes:
        member: where in the archive it lies.
        name, category, creator: as they stand; empty where nothing is said.
        tags: words that help to find it.
        size: width, depth and height in metres; None where one of them is missing.
        up: the model's own axis that is up, Y or Z; None: neither, it lies on its side.
        licence: an SPDX-like id; None: unknown.
        page_url: where its author published it.
    """

    member: str
    name: str
    category: str
    creator: str
    tags: tuple[str, ...]
    size: tuple[float, float, float] | None
    up: str | None
    licence: str | None
    page_url: str | None


@dataclass(frozen=True)
class Library:
    """A library's catalogue.

    Attributes:
        path: of the archive.
        title: what it calls itself.
        provider: who distributes it; empty where nothing is said.
        holders: the copyright lines of its licence.
        models: in the catalogue's order.
    """

    path: Path
    title: str
    provider: str
    holders: tuple[str, ...]
    models: tuple[Model, ...]


def read_library(path: Path) -> Library:
    """Reads a library's catalogue and licences; its models are not touched.

    Raises:
        UsageError: if the file is no ZIP archive, or has no catalogue with a model.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if CATALOGUE not in names:
                raise UsageError(f"{path} has no {CATALOGUE}: it is no furniture library of Sweet Home 3D")
            values = read_properties(_read(archive, CATALOGUE))
            terms = "".join(_text(archive, n) for n in names if n.lower() == LICENCE)
            licence = _licence_in(terms) or normalise(values.get("license"))
            beside = {str(PurePosixPath(n).parent): n for n in names if _LICENCE_FILE.search(n) and "/" in n}
            models = []
            for entry in _entries(values):
                member = entry["model"].lstrip("/")
                own = beside.get(str(PurePosixPath(member).parent))
                models.append(_model(member, entry, _text(archive, own) if own else "", licence))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as e:
        raise UsageError(f"{path} is no ZIP archive that can be read: {e}") from e
    if not models:
        raise UsageError(f"{path}: its {CATALOGUE} names no model")
    return Library(
        path, values.get("name") or path.stem, values.get("provider", ""), tuple(_holders(terms)), tuple(models)
    )


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as f:
        data = f.read(_TEXT_BYTES + 1)
    if len(data) > _TEXT_BYTES:
        raise UsageError(f"{archive.filename}: {name} is over {_TEXT_BYTES} bytes")
    return data


def _text(archive: zipfile.ZipFile, name: str) -> str:
    """A text file, or a page without its tags."""
    text = _read(archive, name).decode("utf-8", "replace")
    return text if name.lower().endswith(".txt") else html.unescape(_TAG.sub("\n", text))


def _entries(values: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """What is said of each model, by its number, without that."""
    entries: dict[int, dict[str, str]] = {}
    for key, value in values.items():
        field, _, number = key.rpartition("#")
        if field and number.isdecimal():
            entries.setdefault(int(number), {})[field] = value
    yield from (entry for _, entry in sorted(entries.items()) if entry.get("model"))


def _model(member: str, entry: Mapping[str, str], own_terms: str, licence: str | None) -> Model:
    page = _BLEND.search(own_terms)
    return Model(
        member=member,
        name=entry.get("name", ""),
        category=entry.get("category", ""),
        creator=entry.get("creator", ""),
        tags=tuple(t.strip() for t in entry.get("tags", "").split(",") if t.strip()),
        size=_size(entry),
        up=_up(entry.get("modelRotation", "")),
        licence=_licence_in(own_terms) or normalise(entry.get("license")) or licence,
        page_url=page[0] if page else None,
    )


def _size(entry: Mapping[str, str]) -> tuple[float, float, float] | None:
    try:
        width, depth, height = (float(entry[key]) / 100 for key in ("width", "depth", "height"))
    except (KeyError, ValueError):
        return None
    return width, depth, height


def _up(rotation: str) -> str | None:
    """The axis that a rotation (nine numbers, row by row, y up) turns upwards; without one, y."""
    try:
        numbers = [float(n) for n in rotation.split()] or [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
        _, y, z = numbers[3:6]
    except ValueError:
        return "Y"
    return "Y" if y > _UPRIGHT else "Z" if z > _UPRIGHT else None


def _licence_in(terms: str) -> str | None:
    """The licence that a text grants: named behind “released under”, else by Creative Commons' address."""
    if released := _RELEASED.search(terms):
        return normalise(released[1].partition("(")[0])
    return linked_licence(terms)


def _holders(terms: str) -> Iterator[str]:
    for line in terms.splitlines():
        line = " ".join(line.split())
        if re.match(r"(?:\(c\)|©|copyright\b)", line, re.IGNORECASE) and line not in ("(C)", "©"):
            yield line
