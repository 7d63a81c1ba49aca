"""The optional CSV beside a folder's models: licence, attribution and what else its owner knows of each file."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from dataengine.errors import UsageError
from dataengine.sources.licences import normalise
from dataengine.sources.text_table import TextTable, delimiter_of

OWN_NAMES = ("assets.csv", "licences.csv", "licenses.csv")
OTHER_NAMES = ("MANIFEST.csv", "manifest.csv")  # may be about anything: used only if it has the column `path`
_COLUMNS = {
    "path": ("path", "file", "filename", "file_name"),
    "licence": ("licence", "license"),
    "attribution": ("attribution", "credit", "credits"),
    "title": ("title", "name"),
    "author": ("author", "creator"),
    "page_url": ("page_url", "url", "source_url", "source"),
    "tags": ("tags", "keywords"),
    "up": ("up", "up_axis"),
    "group": ("group",),
}


@dataclass
class Sidecar:
    """What a folder's CSV says, by relative path (`./` is dropped, backslashes are slashes).

    Attributes:
        name: of the CSV; None: there is none.
        rows: columns of the plan.
        groups: the files that must stay on one side of the split, by a name that they share.
        notes: what is to be said of rows that are not taken.
    """

    name: str | None = None
    rows: dict[str, dict[str, object]] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_sidecar(folder: Path) -> Sidecar:
    """Reads DIR/assets.csv, licences.csv, licenses.csv or MANIFEST.csv, the first that is there.

    The column `path` is required; licence, attribution, title, author, page_url, tags (separated by ; or |), up
    (Y or Z) and group are optional, others are ignored.

    Raises:
        UsageError: if one of the first three has no column `path`, or `up` is neither Y nor Z.
    """
    for name in (*OWN_NAMES, *OTHER_NAMES):
        file = folder / name
        if not file.is_file():
            continue
        try:
            table = TextTable(file, delimiter_of(file))
            lines = table.rows()
            columns = _columns(next(lines, (0, []))[1])
            if "path" in columns:
                rows = _rows(lines, columns, file)
                groups = {path: str(g) for path, row in rows.items() if (g := row.pop("group", None))}
                return Sidecar(name, rows, groups, table.notes(name))
        except (OSError, UnicodeError) as e:
            raise UsageError(f"{file}: {e}") from e
        if name in OWN_NAMES:
            raise UsageError(f"{file} has no column `path`; its first line must name its columns")
    return Sidecar()


def _columns(header: list[str]) -> dict[str, int]:
    present = {name.strip().lower(): i for i, name in reversed(list(enumerate(header)))}
    chosen = {ours: next((present[t] for t in theirs if t in present), None) for ours, theirs in _COLUMNS.items()}
    return {name: index for name, index in chosen.items() if index is not None}


def _rows(reader: Iterable[tuple[int, list[str]]], columns: dict[str, int], file: Path) -> dict[str, dict[str, object]]:
    rows: dict[str, dict[str, object]] = {}
    for line, cells in reader:
        row: dict[str, object] = {
            name: cells[i].strip() or None if i < len(cells) else None for name, i in columns.items()
        }
        path = str(row.pop("path") or "").replace("\\", "/").removeprefix("./")
        if not path:
            continue
        text = row.get("licence")
        if "licence" in row:
            row["licence"] = normalise(str(text) if text else None)
        if "tags" in row:
            tags = str(row["tags"] or "").replace("|", ";").split(";")
            row["tags"] = [t.strip() for t in tags if t.strip()]
        if row.get("up") is not None:
            row["up"] = str(row["up"]).upper()
            if row["up"] not in ("Y", "Z"):
                raise UsageError(f"{file}, line {line}: up is {row['up']!r}; it must be Y or Z")
        rows.setdefault(path, row)
    return rows
