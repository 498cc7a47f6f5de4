"""Raw rows of CSV and Parquet files, as a served model takes them, in bounded memory.

What a conversion refuses a served model still answers: an id that is empty or out of range is
unknown, a number that is empty or NaN is the column's default. A value of another kind than its
column's (text in a number) is a bad row.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, Optional

import numpy as np

from export.graph import requests
from pfrec import errors
from pfrec.data import names as names_lib
from pfrec.data import schema as schema_lib
from pfrec.data.conversion.columns import as_numbers, as_text
from pfrec.data.converters import parquet
from pfrec.data.reading import (
    column_text,
    csv_layout,
    csv_stream,
    dialects,
    folder,
    raw_file,
    source,
)

ENDINGS = (*folder.CSV_ENDINGS, *folder.PARQUET_ENDINGS)
_LARGEST_ID = 2.0**62


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is read of a row.

    Attributes:
      schema: of the features; no label is read.
      scenario_column: that names a row's scenario; None where all rows are of `scenario`.
      scenario: of all rows; None where a column names it.
      carried: columns that go along into the output as they are.
      dialect: how text files are laid out.
    """

    schema: schema_lib.Schema
    scenario_column: Optional[str]
    scenario: Optional[str]
    carried: "tuple[str, ...]" = ()
    dialect: csv_layout.Dialect = csv_layout.OPEN

    def kinds(self) -> "dict[str, str]":
        """The columns to read, and how each is read of text."""
        kinds = {
            column.raw: csv_stream.NUMBER if column.values == 1 else csv_stream.TEXT
            for column in self.schema.numerical
        }
        for feature in self.schema.categorical:
            single = feature.encoding == "identity" and feature.values == 1
            kinds[feature.raw] = csv_stream.NUMBER if single else csv_stream.TEXT
        if self.scenario_column is not None:
            kinds[self.scenario_column] = csv_stream.TEXT
        # As text, so that 17 does not come out as 17.0.
        kinds.update(dict.fromkeys(self.carried, csv_stream.TEXT))
        return kinds


def with_dialect(wanted: Wanted, dialect: csv_layout.Dialect) -> Wanted:
    """The same, of text that is laid out otherwise."""
    return dataclasses.replace(wanted, dialect=dialect)


def find(path: pathlib.Path) -> "list[pathlib.Path]":
    """The input file, or those in the input folder, in order of name.

    Raises:
      PfrecError: where there is none.
    """
    inputs, _ = folder.find(path, ENDINGS, "CSV or Parquet")
    return list(dict.fromkeys(entry.file.path for entry in inputs))


def require_columns(files: Sequence[pathlib.Path], wanted: Wanted) -> None:
    """Checks that every file has all columns, before the first row is scored.

    Raises:
      PfrecError: where one is missing.
    """
    names = list(wanted.kinds())
    for file in files:
        if file.suffix != ".parquet":
            opened, dialect = _settled(file, wanted)
            csv_layout.require_columns(opened, names, dialect)
            continue
        found = parquet.column_names(file)
        missing = [name for name in names if name not in found]
        if missing:
            raise errors.PfrecError(
                f"{file}: no column {', '.join(map(repr, missing))}; columns found: "
                f"{', '.join(found)}"
            )


def chunks(files: Sequence[pathlib.Path], wanted: Wanted) -> Iterator[source.RawChunk]:
    """The rows of all files in order, some at a time.

    Raises:
      PfrecError: where a file cannot be read.
    """
    kinds = wanted.kinds()
    for file in files:
        if file.suffix == ".parquet":
            yield from parquet.batches(file, list(kinds))
        else:
            opened, dialect = _settled(file, wanted)
            yield from csv_stream.chunks(opened, kinds, dialect)


def _settled(file: pathlib.Path, wanted: Wanted) -> dialects.File:
    """A text file with its layout, as a conversion reads it."""
    kinds = wanted.kinds()
    numbers = [name for name, kind in kinds.items() if kind == csv_stream.NUMBER]
    return dialects.settled(raw_file.RawFile(file), wanted.dialect, list(kinds), numbers)


def good(chunk: source.RawChunk, wanted: Wanted) -> source.RawChunk:
    """The rows of a chunk that can be scored; the others become faults."""
    singles = [
        feature.raw
        for feature in wanted.schema.categorical
        if feature.encoding == "identity" and feature.values == 1
    ]
    numbers = [*singles, *(c.raw for c in wanted.schema.numerical if c.values == 1)]
    vectors = [column for column in wanted.schema.numerical if column.values > 1]
    return as_numbers.only_numbers(chunk, numbers, vectors)


def request(chunk: source.RawChunk, wanted: Wanted) -> requests.Request:
    """The request that stands for the rows of a chunk, all of them good.

    Raises:
      PfrecError: where a value of a list is none of its kind.
    """
    found: requests.Request = {}
    for feature in wanted.schema.categorical:
        if feature.values > 1:
            found[feature.name] = _lists(chunk, feature)
        elif feature.encoding == "identity":
            found[feature.name] = _ids(as_numbers.read(chunk, feature.raw))
        else:
            texts = column_text.canonical(as_text.read(chunk, feature.raw))
            found[feature.name] = _bytes(texts)
    for column in wanted.schema.numerical:
        with np.errstate(over="ignore"):  # beyond float32: infinite, hence the default
            found[column.name] = (
                as_numbers.read(chunk, column.raw)
                if column.values == 1
                else as_numbers.vectors(chunk, column)
            ).astype(np.float32)
    return found


def scenarios(chunk: source.RawChunk, wanted: Wanted) -> Any:
    """The scenario of each row, an Arrow string array.

    Raises:
      PfrecError: where the column holds no text.
    """
    import pyarrow as pa

    if wanted.scenario_column is None:
        return pa.repeat(pa.scalar(wanted.scenario, pa.string()), len(chunk))
    encoded = as_text.read(chunk, wanted.scenario_column).dictionary_encode()
    made = [names_lib.scenario_name(v.strip()) if v else v for v in encoded.dictionary.to_pylist()]
    return pa.array(made, pa.string()).take(encoded.indices)


def _ids(values: np.ndarray) -> np.ndarray:
    """Numbers as ids, int64; -1, which is unknown to every model, for what is none."""
    known = np.isfinite(values) & (np.abs(values) < _LARGEST_ID) & (values == np.floor(values))
    return np.where(known, values, -1.0).astype(np.int64)


def _bytes(texts: Any) -> np.ndarray:
    import pyarrow as pa

    return np.asarray(texts.cast(pa.binary()).to_numpy(zero_copy_only=False), object)


def _lists(chunk: source.RawChunk, feature: schema_lib.Categorical) -> np.ndarray:
    """The lists of a column as an array [rows, values], filled up with what stands for no value."""
    lists = as_text.lists(chunk, feature)
    values: Any = _bytes(lists.values)
    if feature.encoding == "identity":
        own = dataclasses.replace(
            chunk, rows=chunk.rows[lists.rows], columns={feature.raw: lists.values}, scenario=None
        )
        # A value that is no id is unknown, which -1, no value at all, is not.
        ids = _ids(as_numbers.read(own, feature.raw))
        values = np.where(ids < 0, feature.cardinality, ids)
    filler: Any = schema_lib.NO_VALUE if feature.encoding == "identity" else b""
    found = np.full((len(chunk), feature.values), filler, values.dtype)
    found[lists.rows, lists.places] = values
    return found
