"""The columns that the gallery filters, sorts and searches, and how they travel to the page."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dataengine.manifests.catalog import Catalog
from dataengine.manifests.guard import sql_errors

CHUNK = 5_000  # rows a file
DIGITS = 6  # significant, of numbers: what a float32 holds


@dataclass(frozen=True)
class Column:
    """One column of the gallery.

    Attributes:
        name: as in links.
        label: as people read it.
        kind: 'text' is searched, 'word' is chosen from a list, 'number' lies between two others.
        sql: its value, over `assets`.
        plot: the scale of its distribution on the overview; None: not drawn.
    """

    name: str
    label: str
    kind: Literal["text", "word", "number"]
    sql: str
    plot: Literal["linear", "log"] | None = None


COLUMNS = (
    Column("uid", "uid", "text", "uid"),
    Column("title", "title", "text", "coalesce(title, regexp_extract(uri, '[^/]*$'))"),
    Column("caption", "caption", "text", "caption"),
    Column("tags", "tags", "text", "array_to_string(tags, ', ')"),
    Column("status", "status", "word", "status"),
    Column("error", "error", "word", "error"),
    Column("split", "split", "word", "split"),
    Column("licence", "licence", "word", "coalesce(licence, 'unknown')"),
    Column("source", "source", "word", "source"),
    Column("format", "format", "word", "format"),
    Column("captioned", "has a caption", "word", "if(caption is null, 'no', 'yes')"),
    Column("shard", "shard", "number", "shard"),
    Column("row", "row", "number", "row"),
    Column("bytes", "bytes of the model", "number", "bytes", "log"),
    Column("faces", "triangles", "number", "coalesce(imported_face_count, face_count)", "log"),
    Column("coverage", "least coverage of a view", "number", "list_min(coverage)", "linear"),
    Column("clipped", "most clipped border pixels", "number", "list_max(clipped)", "linear"),
    Column("luminance", "mean luminance", "number", "list_avg(luminance_mean)", "linear"),
    Column("luminance_spread", "most luminance spread", "number", "list_max(luminance_spread)", "linear"),
    Column("depth_coverage", "least depth coverage", "number", "list_min(depth_coverage)", "linear"),
    Column("depth_error", "depth error", "number", "depth_error", "log"),
    Column("normal_depth_angle", "normals against depth, °", "number", "normal_depth_angle", "linear"),
    Column("albedo_clipped", "base colour out of range", "number", "albedo_clipped", "linear"),
    Column("id_disagreement", "ids that disagree", "number", "id_disagreement", "linear"),
    Column("missing_textures", "missing textures", "number", "len(missing_textures)", "linear"),
    Column("complaints", "complaints of Blender", "number", "len(complaints)", "linear"),
    Column("cpu_seconds", "CPU seconds", "number", "cpu_seconds", "log"),
)
NUMBERS = tuple(column for column in COLUMNS if column.kind == "number")
SHOWN = "FROM assets WHERE shard IS NOT NULL AND status NOT IN ('duplicate', 'removed')"


def batches(catalog: Catalog, columns: tuple[Column, ...] = COLUMNS) -> Iterator[pa.RecordBatch]:
    """The columns of all assets in the corpus's order, a chunk at a time."""
    selected = ", ".join(f"{column.sql} AS {column.name}" for column in columns)
    relation = catalog.sql(f"SELECT {selected} {SHOWN} ORDER BY shard, row")
    with sql_errors():
        yield from relation.to_arrow_reader(CHUNK)


def encode(batch: pa.RecordBatch) -> dict[str, Any]:
    """A chunk for the page: texts as lists, words as a list and indices into it, numbers as lists."""
    found: dict[str, Any] = {}
    for column in COLUMNS:
        values = batch.column(column.name)
        if column.kind == "text":
            found[column.name] = values.to_pylist()
        elif column.kind == "word":
            coded = values.cast(pa.string()).dictionary_encode()
            codes = coded.indices.fill_null(-1).to_pylist()
            found[column.name] = {"words": coded.dictionary.to_pylist(), "codes": codes}
        else:
            found[column.name] = [None if np.isnan(x) else _short(x) for x in rounded(values).tolist()]
    return found


def rounded(values: pa.Array) -> npt.NDArray[np.float64]:
    """Numbers as the page has them; NaN where there are none."""
    numbers = np.asarray(values.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    numbers = np.where(np.isfinite(numbers), numbers, np.nan)
    return np.array([float(f"{x:.{DIGITS}g}") if x % 1 else x for x in numbers])


def _short(number: float) -> float | int:
    return int(number) if number % 1 == 0 else number


def script(function: str, *arguments: Any) -> str:
    """A file of data for the page: a call, since pages from disk may not fetch. Harmless wherever it is put."""
    return f"{function}({', '.join(plain_json(argument) for argument in arguments)});\n"


def plain_json(value: Any) -> str:
    """JSON in ASCII that ends no <script> element."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
