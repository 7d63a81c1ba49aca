"""The log of a stage of training, read on from where the last look ended: it may be long, and is looked at often."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from dataengine.errors import DataengineError
from dataengine.report.site.curves import Curve, CurveBuilder

ABOUT_DATA = ("epoch", "samples")  # in a line beside its figures


class RunLog:
    """Lines of JSON with a `step` each, as `train` writes them.

    Attributes:
        last: numbers of the last line.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._begin(None)

    def curve(self) -> Curve:
        """The curve of all lines that are whole; empty without a file.

        Raises:
            DataengineError: if a line is damaged.
        """
        try:
            with self._file.open("rb") as file:
                found = os.fstat(file.fileno())
                # A run that went on from an earlier step has a new file, without the lines of steps that it does again.
                if found.st_ino != self._inode or found.st_size < self._offset:
                    self._begin(found.st_ino)
                file.seek(self._offset)
                self._read(file)
        except FileNotFoundError:
            self._begin(None)
        return self._builder.curve()

    def _begin(self, inode: int | None) -> None:
        self._inode, self._offset, self._lines = inode, 0, 0
        self._builder = CurveBuilder()
        self.last: dict[str, float] = {}

    def _read(self, lines: Iterator[bytes]) -> None:
        for line in lines:
            if not line.endswith(b"\n"):
                return  # it is being written
            try:
                found = {name: value for name, value in json.loads(line).items() if isinstance(value, int | float)}
                found["step"] = int(found["step"])
            except (ValueError, KeyError, AttributeError) as e:
                raise DataengineError(f"line {self._lines + 1} of {self._file} is no step's figures: {e}") from e
            self._builder.add({name: value for name, value in found.items() if name not in ABOUT_DATA})
            self.last = found
            self._lines += 1
            self._offset += len(line)
