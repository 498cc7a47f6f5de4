"""Raw data on its way in: what a converter hands to the encoder."""

import csv
import dataclasses
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Optional

import numpy as np

from pfrec import errors
from pfrec.data import schema as schema_lib

_SAFE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


@dataclasses.dataclass(frozen=True)
class RawChunk:
    """Some rows of one file, not yet encoded.

    Attributes:
      file: the file they come from (or the folder, where rows are joined from several files).
      rows: int64 [rows], each row's number in its file (from 0, header not counted); the split hash takes it.
      columns: per column name, a NumPy or Arrow array [rows].
      header_lines: records before row 0.
    """

    file: pathlib.Path
    rows: np.ndarray
    columns: Mapping[str, Any]
    header_lines: int = 1

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: np.ndarray) -> "RawChunk":
        """The rows at the positions `index`."""
        columns = {name: v[index] if isinstance(v, np.ndarray) else v.take(index) for name, v in self.columns.items()}
        return dataclasses.replace(self, rows=self.rows[index], columns=columns)

    def place(self, position: int, column: str) -> str:
        """Names file, line and column of a value. Reads the file again to count its lines: for error messages only."""
        row = int(self.rows[position])
        if not self.file.is_file():
            return f"{self.file}: row {row}, column {column!r}"
        return f"{self.file}: line {line_of(self.file, row + self.header_lines)}, column {column!r}"


def line_of(file: pathlib.Path, record: int) -> int:
    """The line (from 1) on which a record (from 0, empty lines not counted) of a text file ends."""
    with file.open(encoding="utf-8", errors="replace", newline="") as stream:
        reader = csv.reader(stream)
        for fields in reader:
            if fields:
                if record == 0:
                    return reader.line_num
                record -= 1
        return reader.line_num


@dataclasses.dataclass(frozen=True)
class Source:
    """A raw dataset, opened: its schema is known, its rows are still to be read.

    Attributes:
      schema: columns and tasks, equal in all scenarios.
      fractions: parts of train, valid and test into which rows without a split of their own are cut.
      chunks: starts an iteration over (scenario, split, chunk); split is None where the hash decides.
      scenarios: the scenarios in order, or None where only the rows tell; then they are sorted.
      notes: what the user should know about how the data was read, a line each.
    """

    schema: schema_lib.Schema
    fractions: tuple[float, float, float]
    chunks: Callable[[], Iterator[tuple[str, Optional[str], RawChunk]]]
    scenarios: Optional[tuple[str, ...]] = None
    notes: tuple[str, ...] = ()


def check_scenario_name(name: str, *, place: str) -> str:
    """Returns `name`, which will be a directory.

    Raises:
      PfrecError: where it is not made of letters, digits, `_`, `-` and `.`, or starts with a dot.
    """
    if not _SAFE_NAME.fullmatch(name):
        raise errors.PfrecError(
            f"{place}: scenario {name!r} cannot be a directory's name; use letters, digits, '_', '-', '.', and no dot first"
        )
    return name


def require_directory(path: pathlib.Path, remedy: str) -> None:
    """Checks that `path` is a directory.

    Raises:
      PfrecError: where it is missing or a file.
    """
    if not path.is_dir():
        raise errors.PfrecError(f"{path}: {'not a directory' if path.exists() else 'no such directory'}; {remedy}")


def require_files(paths: "list[pathlib.Path]", remedy: str) -> None:
    """Checks that all files exist before hours go into reading the first.

    Raises:
      PfrecError: where one is missing.
    """
    for path in paths:
        if not path.is_file():
            raise errors.PfrecError(f"{path}: no such file; {remedy}")
