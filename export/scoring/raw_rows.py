"""Raw rows of CSV and Parquet files, as a served model takes them, in bounded memory.

What a conversion refuses a served model still answers: an id that is empty or out of range is
unknown, a number that is empty or NaN is the column's default. A value of another kind than its
column's (text in a number) is a bad row.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

import numpy as np

from export.graph import requests
from pfrec.data import names as names_lib
from pfrec.data import schema as schema_lib
from pfrec.data.conversion.columns import as_numbers, as_text, truth_words
from pfrec.data.converters import parquet
from pfrec.data.reading import (
    column_text,
    columns_found,
    csv_layout,
    csv_stream,
    dialects,
    folder,
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
      scenario: of all rows; where neither is given each file is of the scenario that it is called
        after.
      carried: columns that go along into the output as they are.
      dialect: how text files are laid out.
      aliases: from a spelling of a scenario to the one meant.
    """

    schema: schema_lib.Schema
    scenario_column: Optional[str]
    scenario: Optional[str]
    carried: "tuple[str, ...]" = ()
    dialect: csv_layout.Dialect = csv_layout.OPEN
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)

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


def find(path: pathlib.Path) -> "tuple[list[folder.Input], list[str]]":
    """The input file, or those below the input folder, in order of name, as a conversion finds
    them, and a note for each kind of file that is not read.

    Raises:
      PfrecError: where there is none.
    """
    return folder.find(path, ENDINGS, "CSV or Parquet")


def require_columns(inputs: Sequence[folder.Input], wanted: Wanted) -> None:
    """Checks that every file has all columns, before the first row is scored.

    Raises:
      PfrecError: where one is missing.
    """
    remedy = "mend the file or the schema"
    for entry in inputs:
        names = list(_in_file(entry, wanted))
        if _is_parquet(entry):
            found = parquet.column_names(entry.file)
            columns_found.require_all(entry.file, found, names, remedy)
        else:
            opened, dialect = _settled(entry, wanted)
            csv_layout.require_columns(opened, names, dialect, remedy)


def chunks(inputs: Sequence[folder.Input], wanted: Wanted) -> Iterator[source.RawChunk]:
    """The rows of all files in order, some at a time, with the keys of the folders that they lie in
    as columns, and each row's scenario by its name.

    Raises:
      PfrecError: where a file cannot be read.
    """
    import pyarrow as pa

    for entry in inputs:
        kinds = _in_file(entry, wanted)
        keys = {name: entry.keys[name] for name in wanted.kinds() if name in entry.keys}
        if _is_parquet(entry):
            found = parquet.batches(entry.file, list(kinds))
        else:
            opened, dialect = _settled(entry, wanted)
            found = csv_stream.chunks(opened, kinds, dialect)
        for chunk in found:
            columns = dict(chunk.columns)
            for name, value in keys.items():
                columns[name] = pa.array([value] * len(chunk), pa.string())
            chunk = dataclasses.replace(chunk, columns=columns)
            yield dataclasses.replace(chunk, scenario=_scenarios(chunk, wanted, entry.parts[-1]))


def _in_file(entry: folder.Input, wanted: Wanted) -> "dict[str, str]":
    """`Wanted.kinds` of the columns that are no keys of the folders that a file lies in."""
    return {name: kind for name, kind in wanted.kinds().items() if name not in entry.keys}


def _is_parquet(entry: folder.Input) -> bool:
    return entry.file.has_ending(folder.PARQUET_ENDINGS)


def _settled(entry: folder.Input, wanted: Wanted) -> dialects.File:
    """A text file with its layout, as a conversion reads it."""
    kinds = _in_file(entry, wanted)
    numbers = [name for name, kind in kinds.items() if kind == csv_stream.NUMBER]
    return dialects.settled(entry.file, wanted.dialect, list(kinds), numbers)


def _scenarios(chunk: source.RawChunk, wanted: Wanted, stem: str) -> Any:
    """The scenario of each row, by its name, an Arrow string array.

    Args:
      chunk: the rows.
      wanted: what says which scenario a row is of.
      stem: what their file is called.

    Raises:
      PfrecError: where the column holds no text.
    """
    import pyarrow as pa

    def named(value: Optional[str]) -> Optional[str]:
        value = value.strip() if value else value
        return names_lib.scenario_name(wanted.aliases.get(value, value)) if value else value

    if wanted.scenario_column is None:
        of_all = named(stem) if wanted.scenario is None else wanted.scenario
        return pa.repeat(pa.scalar(of_all, pa.string()), len(chunk))
    encoded = as_text.read(chunk, wanted.scenario_column).dictionary_encode()
    made = [named(value) for value in encoded.dictionary.to_pylist()]
    return pa.array(made, pa.string()).take(encoded.indices)


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
            texts = column_text.canonical(as_text.of_feature(chunk, feature))
            found[feature.name] = _bytes(texts)
    for column in wanted.schema.numerical:
        with np.errstate(over="ignore"):  # beyond float32: infinite, hence the default
            found[column.name] = (
                as_numbers.read(chunk, column.raw)
                if column.values == 1
                else as_numbers.vectors(chunk, column)
            ).astype(np.float32)
    return found


def strange(chunk: source.RawChunk, wanted: Wanted) -> "dict[str, tuple[str, ...]]":
    """By feature, its truth values in text that `truth_words.strange` finds; features without any
    are left out.
    """
    found = {
        feature.name: truth_words.strange(as_text.read(chunk, feature.raw), feature)
        for feature in wanted.schema.categorical
        if feature.values == 1
        and feature.encoding != "identity"
        and truth_words.others(feature)
        and not truth_words.holds(chunk.columns[feature.raw])
    }
    return {name: words for name, words in found.items() if words}


def rounded(chunk: source.RawChunk, wanted: Wanted) -> "dict[str, int]":
    """By feature, in how many rows an id is `column_text.rounded`."""
    found = {
        feature.name: column_text.rounded(chunk.columns[feature.raw])
        for feature in wanted.schema.categorical
        if feature.encoding != "identity"
    }
    return {name: int(rows.sum()) for name, rows in found.items() if rows is not None}


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
