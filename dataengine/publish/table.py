"""Rows of a published dataset: pictures as bytes, cameras as lists, and nothing that is private.

Parquet as the Hub's viewer wants it: one file series per split, row groups of up to 128 MiB, a page index. The same
corpus gives the same bytes; content-defined chunks keep unchanged rows where a deduplicating store finds them again.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dataengine.render.views import parse_cameras, view_stem
from dataengine.report.asset import Asset
from dataengine.sources.attribution import public_source

SPLITS = {"train": "train", "val": "validation", "test": "test"}  # ours → as the Hub calls them
GROUP_BYTES = 128 << 20
FILE_BYTES = 2 << 30
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

TEXT = ("uid", "caption", "title", "author", "licence", "page_url", "attribution", "source")
PER_VIEW = ("near", "far", "azimuth", "elevation")


def channels_of(names: Iterable[str]) -> list[str]:
    """The channels of a sample's members, colour and depth first: `00.normal.png` → normal."""
    found = {name.split(".", 1)[1].removesuffix(".png") for name in names if name.endswith(".png")}
    return sorted(found, key=lambda channel: (channel != "rgba", channel != "depth", channel))


def column_of(channel: str) -> str:
    """Colour is `views`, as viewers and trainers expect, `views_<look>` in further looks; other channels keep their
    names."""
    if channel == "rgba":
        return "views"
    return f"views_{channel.removesuffix('.rgba')}" if channel.endswith(".rgba") else channel


def schema(channels: Iterable[str]) -> pa.Schema:
    """The columns of a view set, with the features that `datasets.load_dataset` reads from the file."""
    matrix = pa.list_(pa.list_(pa.list_(pa.float64())))
    fields = [(name, pa.string()) for name in TEXT]
    fields += [(column_of(channel), pa.list_(IMAGE)) for channel in channels]
    fields += [("K", matrix), ("c2w", matrix)]
    fields += [(name, pa.list_(pa.float64())) for name in PER_VIEW]
    fields += [("orthographic", pa.list_(pa.bool_())), ("scale", pa.float64()), ("offset", pa.list_(pa.float64()))]
    return with_features(pa.schema(fields))


def with_features(columns: pa.Schema) -> pa.Schema:
    """A schema that says which of its columns hold pictures, in the words of the `datasets` library."""
    features = {field.name: _feature(field.type) for field in columns}
    return columns.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if kind == IMAGE:
        return {"_type": "Image"}
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    name = {"double": "float64"}.get(str(kind), str(kind))
    return {"dtype": name, "_type": "Value"}


def row_of(asset: Asset, channels: Iterable[str]) -> dict[str, Any]:
    """One asset's row. Local paths, hosts and logs stay at home: only web addresses are published."""
    plan = asset.plan
    content = asset.read("cameras.json")
    cameras = parse_cameras(content)
    normalisation = json.loads(content)["normalisation"]
    row: dict[str, Any] = {name: plan[name] for name in TEXT}
    row["source"] = public_source(str(plan["source"]))
    for channel in channels:
        row[column_of(channel)] = [
            {"bytes": asset.read(name), "path": f"{asset.uid}.{name}"}
            for name in (f"{view_stem(i, len(cameras))}.{channel}.png" for i in range(len(cameras)))
        ]
    row["K"] = [camera.K for camera in cameras]
    row["c2w"] = [np.array(camera.c2w).tolist() for camera in cameras]
    for name in PER_VIEW:
        row[name] = [float(getattr(camera, name)) for camera in cameras]
    row["orthographic"] = [camera.orthographic for camera in cameras]
    return row | {"scale": float(normalisation["scale"]), "offset": [float(x) for x in normalisation["offset"]]}


class Writer:
    """Files of one series, `<stem>-00000.parquet` …, filled row by row in bounded memory."""

    def __init__(self, folder: Path, stem: str, columns: pa.Schema) -> None:
        self.folder, self.stem, self.columns = folder, stem, columns
        self.rows = 0
        self._pending: list[Mapping[str, Any]] = []
        self._pending_bytes = self._file_bytes = self._files = 0
        self._writer: pq.ParquetWriter | None = None

    def add(self, row: Mapping[str, Any], size: int) -> None:
        """Takes a row of about so many bytes."""
        self._pending.append(row)
        self._pending_bytes += size
        self.rows += 1
        if self._pending_bytes >= GROUP_BYTES:
            self._write()

    def close(self) -> None:
        if self._pending:
            self._write()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self) -> None:
        if self._writer is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"{self.stem}-{self._files:05d}.parquet"
            self._writer = pq.ParquetWriter(
                path, self.columns, compression="zstd", write_page_index=True, use_content_defined_chunking=True
            )
            self._files += 1
        self._writer.write_table(pa.Table.from_pylist(self._pending, self.columns))
        self._file_bytes += self._pending_bytes
        self._pending, self._pending_bytes = [], 0
        if self._file_bytes >= FILE_BYTES:
            self._writer.close()
            self._writer, self._file_bytes = None, 0


def weight(row: Mapping[str, Any]) -> int:
    """About how many bytes a row takes."""
    return sum(_bytes_of(value) for value in row.values())


def _bytes_of(value: Any) -> int:
    if isinstance(value, bytes | str):
        return len(value)
    if isinstance(value, dict):
        return sum(_bytes_of(v) for v in value.values())
    if isinstance(value, list):
        return sum(_bytes_of(v) for v in value)
    return 8


def split_writers(folder: Path, columns: pa.Schema) -> "Splits":
    return Splits({split: Writer(folder, name, columns) for split, name in SPLITS.items()})


class Splits:
    """A writer per split; those without rows leave no file."""

    def __init__(self, writers: Mapping[str, Writer]) -> None:
        self.writers = writers

    def add(self, split: str, row: Mapping[str, Any]) -> None:
        self.writers[split].add(row, weight(row))

    def close(self) -> None:
        for writer in self.writers.values():
            writer.close()

    def counts(self) -> Iterator[tuple[str, int]]:
        """(name on the Hub, rows) of the splits that have rows."""
        for split, writer in self.writers.items():
            if writer.rows:
                yield SPLITS[split], writer.rows
