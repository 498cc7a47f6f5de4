"""Reads CSV files in bounded memory, chunk by chunk."""

import csv
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, Optional

import numpy as np

from pfrec import errors
from pfrec.data import schema as schema_lib
from pfrec.data import source

NUMBER = "number"
TEXT = "text"
BLOCK_BYTES = 4 << 20


def column_kinds(schema: schema_lib.Schema) -> dict[str, str]:
    """How each column of the schema is read: as `NUMBER` or as `TEXT`. A column with a part of both kinds is text."""
    kinds = {feature.name: NUMBER for feature in schema.numerical}
    kinds.update((task.column, NUMBER) for task in schema.tasks)
    kinds.update((feature.name, NUMBER) for feature in schema.categorical if feature.encoding == "identity")
    kinds.update((feature.name, TEXT) for feature in schema.categorical if feature.encoding != "identity")
    if schema.group is not None:
        kinds[schema.group] = TEXT
    return kinds


def header(file: pathlib.Path) -> list[str]:
    """The column names of a CSV file.

    Raises:
      PfrecError: where the file is missing, unreadable, empty, or names a column twice.
    """
    try:
        with file.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            names = next((fields for fields in csv.reader(stream) if fields), [])
    except OSError as error:
        raise errors.PfrecError(f"{file}: cannot be read ({error.strerror}); check --input") from error
    if not names:
        raise errors.PfrecError(f"{file}: empty; a CSV file starts with a line of column names")
    for name in names:
        if names.count(name) > 1:
            raise errors.PfrecError(f"{file}: line 1: the column {name!r} stands twice; rename one")
    return names


def require_columns(file: pathlib.Path, wanted: "list[str]") -> None:
    """Checks that a CSV file has all columns.

    Raises:
      PfrecError: naming the file, the missing columns and those found.
    """
    found = header(file)
    missing = [name for name in wanted if name not in found]
    if missing:
        what = "column" if len(missing) == 1 else "columns"
        raise errors.PfrecError(
            f"{file}: no {what} {', '.join(map(repr, missing))}; columns found: {', '.join(found)}; mend the file or the schema"
        )


def chunks(
    file: pathlib.Path, kinds: Mapping[str, str], *, newlines_in_values: bool = False, block_bytes: int = BLOCK_BYTES
) -> Iterator[source.RawChunk]:
    """Yields the rows of a CSV file with a header line.

    Numbers are parsed by Arrow as float64 while it reads. Where a value is no number the rest of the file is handed on as text,
    so that the encoder meets it and names its line.

    Args:
      file: the file.
      kinds: the columns to read, and how (`column_kinds`).
      newlines_in_values: whether quoted values may hold line ends (slower).
      block_bytes: bytes of text per chunk, about.

    Raises:
      PfrecError: where the file is missing or unreadable, lacks a column, or has a row of another length than its header.
    """
    import pyarrow as pa

    require_columns(file, list(kinds))
    done = 0
    options: dict[str, Any] = {"newlines_in_values": newlines_in_values, "block_bytes": block_bytes}
    try:
        for chunk in _read(file, kinds, 0, **options):
            yield chunk
            done += len(chunk)
    except pa.ArrowInvalid:
        yield from _read_text(file, kinds, done, **options)


def _read_text(file: pathlib.Path, kinds: Mapping[str, str], skip: int, **options: Any) -> Iterator[source.RawChunk]:
    """As `_read`, with every column as text; where even that fails, the rows themselves are malformed."""
    import pyarrow as pa

    bad: list[Any] = []

    def on_invalid_row(row: Any) -> str:
        bad.append(row)
        return "error"

    try:
        yield from _read(file, dict.fromkeys(kinds, TEXT), skip, on_invalid_row, **options)
    except pa.ArrowInvalid as error:
        if bad:
            # Arrow counts records from 1 and the header as the first; empty lines do not count.
            line = "" if bad[0].number is None else f" line {source.line_of(file, bad[0].number - 1)}:"
            raise errors.PfrecError(
                f"{file}:{line} {bad[0].actual_columns} values where the header names {bad[0].expected_columns} columns; "
                "mend the row"
            ) from error
        raise errors.PfrecError(f"{file}: not a readable CSV file ({' '.join(str(error).split())}); mend the file") from error


def _read(
    file: pathlib.Path,
    kinds: Mapping[str, str],
    skip: int,
    invalid_row_handler: Optional[Any] = None,
    *,
    newlines_in_values: bool,
    block_bytes: int,
) -> Iterator[source.RawChunk]:
    """Yields the rows after the first `skip`; raises ArrowInvalid where Arrow cannot parse a value or a row."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    types = {name: pa.float64() if kind == NUMBER else pa.string() for name, kind in kinds.items()}
    try:
        reader = arrow_csv.open_csv(
            file,
            # Rows are numbered for the message about a malformed one only where one thread reads.
            read_options=arrow_csv.ReadOptions(block_size=block_bytes, use_threads=invalid_row_handler is None),
            parse_options=arrow_csv.ParseOptions(newlines_in_values=newlines_in_values, invalid_row_handler=invalid_row_handler),
            convert_options=arrow_csv.ConvertOptions(column_types=types, include_columns=list(kinds)),
        )
        row = 0
        for batch in reader:
            first = max(skip - row, 0)
            if first < len(batch):
                part = batch.slice(first)
                columns = dict(zip(part.schema.names, part.columns))
                yield source.RawChunk(file, np.arange(row + first, row + len(batch), dtype=np.int64), columns)
            row += len(batch)
    except OSError as error:
        raise errors.PfrecError(f"{file}: cannot be read ({error.strerror or error}); check --input") from error
