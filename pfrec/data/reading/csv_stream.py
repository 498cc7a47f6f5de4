"""Reads delimited text in bounded memory, chunk by chunk.

Arrow parses blocks of whole records. Where it meets anything wrong, the records of that block are
looked at one by one: those that cannot be read become faults with their line, and Arrow parses the
others, so that a row reads the same whatever stands beside it.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

import numpy as np

from pfrec import errors
from pfrec.data import schema as schema_lib
from pfrec.data.reading import bad_rows, csv_layout, raw_file, records, source

NUMBER = "number"
TEXT = "text"
BLOCK_BYTES = 4 << 20


def column_kinds(schema: schema_lib.Schema) -> dict[str, str]:
    """How each column of the schema is read: as `NUMBER` or as `TEXT`.

    A column with a part of both kinds is text.
    """
    kinds = {c.raw: NUMBER if c.values == 1 else TEXT for c in schema.numerical}
    if schema.weight is not None:
        kinds[schema.weight] = NUMBER
    kinds.update((task.column, TEXT) for task in schema.tasks)
    for feature in schema.categorical:
        kinds[feature.raw] = (
            NUMBER if feature.encoding == "identity" and feature.values == 1 else TEXT
        )
    if schema.group is not None:
        kinds[schema.group] = TEXT
    return kinds


def chunks(
    file: csv_layout.File,
    kinds: Mapping[str, str],
    dialect: csv_layout.Dialect = csv_layout.CSV,
    *,
    start: Optional[Sequence[int]] = None,
    block_bytes: Optional[int] = None,
) -> Iterator[source.RawChunk]:
    """Yields the rows of a file.

    A number that is none is left to the encoder, which names its line.

    Args:
      file: the file.
      kinds: the columns to read, and how (`column_kinds`).
      dialect: how the text is laid out.
      start: `resume` of the chunk to go on after; None to start with the first row.
      block_bytes: bytes of text per chunk, about; does not change the rows.

    Raises:
      PfrecError: where the file is missing or unreadable, or lacks a column.
    """
    file = csv_layout.opened(file)
    csv_layout.require_columns(file, list(kinds), dialect)
    names, offset, line = csv_layout.start(file, dialect)
    row = 0
    if start is not None:
        offset, line, row = start
    delimiter = dialect.delimiter.encode()
    for block in records.blocks(
        *(file, delimiter),
        offset=offset,
        line=line,
        block_bytes=block_bytes or BLOCK_BYTES,
        quoted=dialect.quoted,
    ):
        chunk, count = _chunk(_Text(file, block, dialect, names, row), kinds)
        row += count
        position = [block.offset + len(block.text), block.line + block.lines, row]
        if count or block.ended:
            yield dataclasses.replace(chunk, resume=position)


class _Text:
    """A block's text, parsed and searched."""

    def __init__(
        self,
        file: raw_file.RawFile,
        block: records.Block,
        dialect: csv_layout.Dialect,
        names: Sequence[str],
        first_row: int,
    ):
        self.file, self.block, self.dialect, self.names, self.first_row = (
            file,
            block,
            dialect,
            names,
            first_row,
        )

    @functools.cached_property
    def all_records(self) -> "list[records.Record]":
        return records.scan(
            self.block.text, self.dialect.delimiter.encode(), True, self.dialect.quoted
        )

    def content(self, record: records.Record) -> bytes:
        return records.content_of(self.block.text, record.start, record.end)

    def origin(self, row: int) -> bad_rows.Origin:
        """Where a row was read."""
        record = self.all_records[row - self.first_row]
        text = self.content(record).decode(self.dialect.encoding, errors="replace")
        return bad_rows.Origin(str(self.file), self.block.line + record.line, row, text)

    def parse(self, text: bytes, types: Mapping[str, Any]) -> Any:
        """An Arrow table of the columns in `types`;
        raises ArrowInvalid where a row or value does not fit.
        """
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        if self.dialect.encoding != "utf-8":
            text = text.decode(self.dialect.encoding).encode()
        # One block: Arrow must not cut the text anew, since it would cut inside quoted line ends.
        read = arrow_csv.ReadOptions(column_names=list(self.names), block_size=len(text) + 1)
        parse = arrow_csv.ParseOptions(
            delimiter=self.dialect.delimiter,
            quote_char='"' if self.dialect.quoted else False,
            newlines_in_values=self.dialect.quoted,
        )
        nulls = [*arrow_csv.ConvertOptions().null_values, *self.dialect.nulls]
        convert = arrow_csv.ConvertOptions(
            column_types=dict(types),
            include_columns=list(types),
            null_values=nulls,
            decimal_point=self.dialect.decimal or ".",
        )
        return arrow_csv.read_csv(pa.BufferReader(text), read, parse, convert)


def _chunk(text: _Text, kinds: Mapping[str, str]) -> tuple[source.RawChunk, int]:
    """The rows of a block, and how many records it has, readable or not."""
    import pyarrow as pa

    if text.block.regular:
        try:
            table = text.parse(
                text.block.text,
                {
                    name: pa.float64() if kind == NUMBER else pa.string()
                    for name, kind in kinds.items()
                },
            )
            return _made(
                text,
                table,
                np.arange(text.first_row, text.first_row + len(table), dtype=np.int64),
                [],
            ), len(table)
        except pa.ArrowInvalid:
            pass
    return _record_by_record(text, kinds)


def _record_by_record(text: _Text, kinds: Mapping[str, str]) -> tuple[source.RawChunk, int]:
    import pyarrow as pa

    wanted = len(text.names)
    kept, rows, bad = [], [], []
    for number, record in enumerate(text.all_records, text.first_row):
        if record.fault is not None:
            bad.append((number, record.fault, csv_layout.REASONS[record.fault]))
        elif record.fields > wanted or (record.fields < wanted and not text.dialect.short_rows):
            what = f"{record.fields} values where the header names {wanted} columns; mend the row"
            bad.append((number, "number_of_values", what))
        else:
            missing = text.dialect.delimiter.encode() * (wanted - record.fields)
            kept.append(text.content(record) + missing)
            rows.append(number)
    faults = _grouped(text, bad)
    empty = pa.table({name: pa.array([], pa.string()) for name in kinds})
    if not kept:
        return _made(text, empty, np.array([], np.int64), faults), len(text.all_records)
    try:
        table = text.parse(b"\n".join([*kept, b""]), dict.fromkeys(kinds, pa.binary()))
    except pa.ArrowInvalid as error:
        raise errors.PfrecError(
            f"{text.file}: not a readable CSV file ({' '.join(str(error).split())}); mend the file"
        ) from error
    if len(table) != len(kept):
        raise errors.PfrecError(
            f"{text.file}: near line {text.block.line}: rows cannot be told apart; mend the file"
        )
    made = _as_text(_made(text, table, np.array(rows, np.int64), faults))
    return _with_points(made, kinds, text.dialect), len(text.all_records)


def _with_points(
    chunk: source.RawChunk, kinds: Mapping[str, str], dialect: csv_layout.Dialect
) -> source.RawChunk:
    """The chunk with numbers in text written with a point, where they have a comma."""
    from pyarrow import compute

    if dialect.decimal != ",":
        return chunk
    columns = {
        name: compute.replace_substring(values, ",", ".") if kinds[name] == NUMBER else values
        for name, values in chunk.columns.items()
    }
    return dataclasses.replace(chunk, columns=columns)


def _as_text(chunk: source.RawChunk) -> source.RawChunk:
    """The chunk with columns of bytes as text; rows that are not UTF-8 become faults."""
    import pyarrow as pa

    for name in chunk.columns:
        try:
            chunk.columns[name].cast(pa.string())
        except pa.ArrowInvalid:
            bad = np.array([not _is_utf8(value.as_py()) for value in chunk.columns[name]])
            chunk = chunk.without(
                bad, "not_utf8", name, lambda _: f"the value {csv_layout.REASONS['not_utf8']}"
            )
    return dataclasses.replace(
        chunk, columns={name: values.cast(pa.string()) for name, values in chunk.columns.items()}
    )


def _is_utf8(value: Optional[bytes]) -> bool:
    try:
        (value or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def _grouped(text: _Text, bad: "list[tuple[int, str, str]]") -> "list[bad_rows.Faults]":
    """Faults by reason."""
    grouped: dict[str, list[tuple[int, str]]] = {}
    for number, reason, what in bad:
        grouped.setdefault(reason, []).append((number, what))
    return [
        bad_rows.Faults(
            reason,
            None,
            np.array([number for number, _ in found], np.int64),
            lambda i, found=found: found[i][1],  # type: ignore[misc]
            text.origin,
        )
        for reason, found in grouped.items()
    ]


def _made(
    text: _Text, table: Any, rows: np.ndarray, faults: "list[bad_rows.Faults]"
) -> source.RawChunk:
    from pyarrow import compute

    columns = {}
    for name in table.schema.names:
        values = table.column(name).combine_chunks()
        for null in text.dialect.nulls:
            if str(values.type) in ("string", "binary"):
                values = compute.if_else(
                    compute.equal(values, null.encode() if str(values.type) == "binary" else null),
                    None,
                    values,
                )
        columns[name] = values
    return source.RawChunk(text.file, rows, columns, text.origin, tuple(faults))
