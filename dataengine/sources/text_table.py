"""Text tables that other programs write: CSV with whatever line ends, encoding and stray quotes it comes with.

What can be read is read, and what cannot is refused by its row with the number of its first line, never a whole file.
UTF-8 with or without a byte-order mark and UTF-16 with one are known; a row that is no UTF-8 is read as Windows-1252,
which Latin-1 text is too.
"""

import codecs
import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

LONGEST = 16 << 20  # characters of one cell
SHOWN = 3  # row numbers that a note names
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass
class TextTable:
    """The rows of a text file, and what was wrong with those that are not among them.

    Attributes:
        path: the file.
        delimiter: between cells.
        refused: why → numbers of the lines on which such rows begin, from 1.
        foreign: numbers of the lines that are no UTF-8 and were read as Windows-1252.
    """

    path: Path
    delimiter: str = ","
    refused: dict[str, list[int]] = field(default_factory=dict)
    foreign: list[int] = field(default_factory=list)

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """(line number, cells) of every row that is not empty. Raises OSError, and UnicodeError for broken UTF-16."""
        csv.field_size_limit(LONGEST)
        yield from self._parse(self._lines())

    def refuse(self, line: int, why: str) -> None:
        self.refused.setdefault(why, []).append(line)

    def notes(self, name: str) -> list[str]:
        """One line for each kind of trouble, for a person."""
        said = [f"{name}: {counted(lines)} refused: {why}" for why, lines in self.refused.items()]
        if self.foreign:
            said.append(f"{name}: {counted(self.foreign)} not in UTF-8: read as Windows-1252")
        return said

    def _lines(self) -> Iterator[str]:
        """Lines with their ends: LF, CRLF or CR alone."""
        with self.path.open("rb") as f:
            start = f.read(1 << 16)
        if start.startswith(_UTF16):
            with self.path.open(encoding="utf-16", newline="") as text:
                yield from text
            return
        carriage = b"\r" in start and b"\n" not in start
        with self.path.open("rb") as f:
            f.seek(len(codecs.BOM_UTF8) if start.startswith(codecs.BOM_UTF8) else 0)
            whole = f.read().replace(b"\r", b"\n").splitlines(keepends=True) if carriage else f
            for number, line in enumerate(whole, 1):
                try:
                    yield line.decode()
                except UnicodeDecodeError:
                    self.foreign.append(number)
                    yield line.decode("cp1252", "replace")

    def _parse(self, lines: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
        """Rows of lines. A quote that is never closed costs its own row only: reading goes on at the next line."""
        first, taken = 1, list[str]()
        reader = csv.reader(_watched(lines, taken), delimiter=self.delimiter)
        while True:
            cells, why = None, ""
            try:
                cells = next(reader, None)
            except csv.Error as e:
                cells, why = [], str(e)
            if cells is None:
                return
            if (len(taken) > 1 or taken[0].count('"') % 2) and (why or self._is_open(taken)):
                self.refuse(first, why or "a quote is opened and never closed")
                first, lines = first + 1, chain(taken[1:], lines)
                taken = []
                reader = csv.reader(_watched(lines, taken), delimiter=self.delimiter)
                continue
            if why:
                self.refuse(first, why)
            if any(cell.strip() for cell in cells):
                yield first, cells
            first += len(taken)
            taken.clear()

    def _is_open(self, taken: list[str]) -> bool:
        """Whether a row ended because the file did."""
        try:
            next(csv.reader(taken, delimiter=self.delimiter, strict=True), None)
        except csv.Error as e:
            return "unexpected end" in str(e)
        return False


def _watched(lines: Iterator[str], taken: list[str]) -> Iterator[str]:
    for line in lines:
        taken.append(line)
        yield line


def delimiter_of(path: Path) -> str:
    """The comma, or what the first line has instead of it: a tab or a semicolon."""
    for _, cells in TextTable(path).rows():
        text = cells[0] if len(cells) == 1 else ""
        return next((mark for mark in "\t;" if mark in text), ",")
    return ","


def write_clean(table: TextTable, target: Path) -> int:
    """Writes a table's rows as UTF-8 with LF and commas, every row with as many cells as the first; returns how many.

    Rows of another length are refused.
    """
    width = written = 0
    with target.open("w", encoding="utf-8", newline="") as f:
        writer = csv.writer(f, lineterminator="\n")
        for line, cells in table.rows():
            width = width or len(cells)
            if len(cells) != width:
                table.refuse(line, f"it has not the {width} cells that the first row has")
                continue
            writer.writerow(cells)
            written += 1
    return written


def counted(lines: list[int]) -> str:
    """`the row on line 3 is`, `4 rows (on lines 1, 2, 3 …) are`."""
    numbers = ", ".join(map(str, lines[:SHOWN])) + (" …" if len(lines) > SHOWN else "")
    if len(lines) == 1:
        return f"the row on line {numbers} is"
    return f"{len(lines)} rows (on lines {numbers}) are"
