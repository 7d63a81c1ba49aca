"""Reads a PLY into arrays, ascii or binary: each file says its own layout, and Blender's importer knows one."""

import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}


@dataclass
class Element:
    """One element of the header: its properties in order, (name, type, type of a list's count or None)."""

    name: str
    count: int
    properties: list[tuple[str, str, str | None]] = field(default_factory=list)

    def has(self, *names: str) -> bool:
        return set(names) <= {name for name, _, _ in self.properties}


@dataclass
class Header:
    kind: str
    elements: dict[str, Element]
    textures: list[str]
    size: int

    @property
    def vertex(self) -> Element:
        return self.elements["vertex"]

    @property
    def face(self) -> Element:
        return self.elements.get("face") or Element("face", 0)


def header_of(file: Path) -> Header:
    """Raises ValueError or KeyError where there is none."""
    with file.open("rb") as f:
        start = f.read(1 << 20)
    end = start.index(b"end_header")
    line_end = re.compile(rb"\r\n|\n|\r").search(start, end)
    elements: dict[str, Element] = {}
    kind, textures, last = "", [], None
    for line in start[:end].decode("utf-8", "surrogateescape").splitlines():
        words = line.split()
        match words:
            case ["format", name, *_]:
                kind = name
            case ["comment", "TextureFile", _, *_]:
                textures.append(line.split(None, 2)[2].strip().strip('"'))
            case ["element", name, count]:
                last = elements[name] = Element(name, int(count))
            case ["property", "list", count_type, item_type, name] if last:
                last.properties.append((name, _TYPES[item_type], _TYPES[count_type]))
            case ["property", kind_of, name] if last:
                last.properties.append((name, _TYPES[kind_of], None))
    return Header(kind, elements, textures, line_end.end() if line_end else len(start))


def body_of(file: Path, header: Header) -> dict[str, dict[str, Array]]:
    """Element → property → values (n,); of a list its items in a row, and their counts (n,) as `NAME#`.

    Raises ValueError, IndexError or struct.error for a body that is not what the header says.
    """
    data = file.read_bytes()[header.size :]
    if header.kind == "ascii":
        numbers = np.array(data.split(), dtype=np.float64)
        reader: _Ascii | _Binary = _Ascii(numbers)
    else:
        reader = _Binary(data, "<" if header.kind == "binary_little_endian" else ">")
    found = {}
    for element in header.elements.values():
        found[element.name] = reader.read(element)
        if element.name == "face":
            break
    return found


class _Ascii:
    def __init__(self, numbers: Array) -> None:
        self.numbers, self.at = numbers, 0

    def read(self, element: Element) -> dict[str, Array]:
        """Rows that are all as long as the first are taken at once."""
        properties = element.properties
        width = self.row(self.at, properties)[-1] - self.at if element.count else 0
        rows = self.numbers[self.at : self.at + width * element.count]
        if rows.size == width * element.count and width:
            table = rows.reshape(element.count, width)
            columns = [edge - self.at for edge in self.row(self.at, properties)]
            lists = [columns[i] for i, (_, _, counted) in enumerate(properties) if counted]
            if all((table[:, c] == table[0, c]).all() for c in lists):
                self.at += width * element.count
                return self.columns(table, columns, properties)
        values: dict[str, list[Any]] = {}
        for _ in range(element.count):
            edges = self.row(self.at, properties)
            for (name, _, counted), start, end in zip(properties, edges, edges[1:], strict=False):
                values.setdefault(name, []).append(self.numbers[start + bool(counted) : end])
                if counted:
                    values.setdefault(f"{name}#", []).append(self.numbers[start : start + 1])
            self.at = edges[-1]
        return {name: np.concatenate(parts) for name, parts in values.items()}

    def row(self, at: int, properties: list[tuple[str, str, str | None]]) -> list[int]:
        """Where each property of a row begins, and where the row ends."""
        edges = [at]
        for _, _, counted in properties:
            edges.append(edges[-1] + 1 + (int(self.numbers[edges[-1]]) if counted else 0))
        return edges

    def columns(
        self, table: Array, edges: list[int], properties: list[tuple[str, str, str | None]]
    ) -> dict[str, Array]:
        found: dict[str, Array] = {}
        for (name, _, counted), start, end in zip(properties, edges, edges[1:], strict=False):
            found[name] = table[:, start + bool(counted) : end].reshape(-1)
            if counted:
                found[f"{name}#"] = table[:, start]
        return found


class _Binary:
    def __init__(self, data: bytes, order: str) -> None:
        self.data, self.order, self.at = data, order, 0

    def read(self, element: Element) -> dict[str, Array]:
        """Rows that are all as long as the first are taken at once."""
        counts = self.counts(element) if element.count else {}
        fields: list[tuple[Any, ...]] = []
        for name, kind, counted in element.properties:
            if counted:
                fields.append((f"{name}#", self.order + counted))
            fields.append((name, self.order + kind, (counts[name],)) if counted else (name, self.order + kind))
        row = np.dtype(fields)
        if self.at + row.itemsize * element.count <= len(self.data):
            table = np.frombuffer(self.data, row, element.count, self.at)
            if all((table[f"{name}#"] == count).all() for name, count in counts.items()):
                self.at += row.itemsize * element.count
                return {name: table[name].reshape(-1) for name in row.names or ()}
        return self.walk(element)

    def counts(self, element: Element) -> dict[str, int]:
        """How long the lists of the first row are."""
        at, found = self.at, {}
        for name, kind, counted in element.properties:
            if counted:
                found[name] = int(np.frombuffer(self.data, self.order + counted, 1, at)[0])
                at += np.dtype(counted).itemsize
            at += np.dtype(kind).itemsize * found.get(name, 1)
        return found

    def walk(self, element: Element) -> dict[str, Array]:
        values: dict[str, list[bytes]] = {}
        types: dict[str, str] = {}
        codes = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "f4": "f", "f8": "d"}
        at, data = self.at, self.data
        plan = [
            (n, k, np.dtype(k).itemsize, c and struct.Struct(self.order + codes[c])) for n, k, c in element.properties
        ]
        for _ in range(element.count):
            for name, kind, size, counter in plan:
                count = 1
                if counter:
                    (count,) = counter.unpack_from(data, at)
                    values.setdefault(f"{name}#", []).append(data[at : at + counter.size])
                    at += counter.size
                values.setdefault(name, []).append(data[at : at + size * count])
                types[name] = kind
                at += size * count
        self.at = at
        for name, _, counted in element.properties:
            if counted:
                types[f"{name}#"] = counted
        return {name: np.frombuffer(b"".join(parts), self.order + types[name]) for name, parts in values.items()}
