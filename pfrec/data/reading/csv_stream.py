"""Reads delimited text in bounded memory, chunk by chunk.

Arrow parses blocks of whole records. Where it meets anything wrong, the records of that block are
looked at one by one: those that cannot be read become faults with their line, and Arrow parses the
others, so that a row reads the same whatever stands beside it.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional, Union

import numpy as np

from pfrec import errors
from pfrec.data import schema as schema_lib
from pfrec.data.reading import bad_rows, raw_file, records, source

NUMBER = "number"
TEXT = "text"
BLOCK_BYTES = 4 << 20
QUOTINGS = ("double", "backslash", "none")

_BOM = b"\xef\xbb\xbf"
_WIDE_BOMS = (b"\xff\xfe", b"\xfe\xff")
_REASONS = {
    "unclosed_quote": (
        "a value opens with a quote that is never closed; close it, or quote the "
        "value with the quote doubled"
    ),
    "text_after_quote": (
        "text follows the closing quote of a value; double the quotes inside the value"
    ),
    "nul_byte": "holds a NUL byte; mend the row",
    "carriage_return": "holds a carriage return inside an unquoted value; quote the value",
    "not_utf8": (
        'is not UTF-8; mend it, or name the file\'s encoding (encoding = "latin-1" under [file])'
    ),
}


@dataclasses.dataclass(frozen=True)
class Dialect:
    """How a file's text is laid out.

    Attributes:
      delimiter: one ASCII character between values; empty where `dialects.settled` is to guess it.
      encoding: `utf-8` (a byte order mark is skipped), `latin-1`, or for `dialects.settled` the
        name of any other that Python knows.
      names: the columns, for files without a header line; None where the first line names them.
      short_rows: whether a row may lack values at its end, which then are empty.
      nulls: spellings of a missing value beside those that Arrow knows for numbers; they are
        missing in text columns too.
      decimal: what stands before the fraction of a number, `.` or `,`; empty for a guess.
      quoting: what a quote in a value is: doubled inside a quoted value (`double`), there escaped
        by a backslash (`backslash`), or a character like any other (`none`).
    """

    delimiter: str = ","
    encoding: str = "utf-8"
    names: Optional[tuple[str, ...]] = None
    short_rows: bool = False
    nulls: tuple[str, ...] = ()
    decimal: str = "."
    quoting: str = "double"

    @property
    def quoted(self) -> bool:
        """Whether quotes open values."""
        return self.quoting != "none"


CSV = Dialect()
# Nothing is known of it.
OPEN = Dialect(delimiter="", decimal="")
File = Union[pathlib.Path, raw_file.RawFile]


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


def header(file: File, dialect: Dialect = CSV) -> list[str]:
    """The column names of a file.

    Raises:
      PfrecError: where the file is missing, unreadable, empty, or names a column twice.
    """
    return _start(_raw(file), dialect)[0]


def require_columns(file: File, wanted: Sequence[str], dialect: Dialect = CSV) -> None:
    """Checks that a file has all columns.

    Raises:
      PfrecError: naming the file, the missing columns and those found.
    """
    found = header(file, dialect)
    missing = [name for name in wanted if name not in found]
    if missing:
        what = "column" if len(missing) == 1 else "columns"
        raise errors.PfrecError(
            f"{file}: no {what} {', '.join(map(repr, missing))}; columns found: "
            f"{', '.join(found)}; mend the file or the schema"
        )


def chunks(
    file: File,
    kinds: Mapping[str, str],
    dialect: Dialect = CSV,
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
    file = _raw(file)
    require_columns(file, list(kinds), dialect)
    names, offset, line = _start(file, dialect)
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
        dialect: Dialect,
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
            bad.append((number, record.fault, _REASONS[record.fault]))
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
    chunk: source.RawChunk, kinds: Mapping[str, str], dialect: Dialect
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
                bad, "not_utf8", name, lambda _: f"the value {_REASONS['not_utf8']}"
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


def _raw(file: File) -> raw_file.RawFile:
    return file if isinstance(file, raw_file.RawFile) else raw_file.RawFile(file)


def _start(file: raw_file.RawFile, dialect: Dialect) -> tuple[list[str], int, int]:
    """The column names, and the offset and line of the first row."""
    with file.open() as stream:
        text = stream.read(1 << 16)
        if text.startswith(_WIDE_BOMS):
            raise errors.PfrecError(
                f"{file}: UTF-16 text; convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)"
            )
        skipped = len(_BOM) if text.startswith(_BOM) else 0
        text = text[skipped:]
        if b"\n" not in text and b"\r" in text.rstrip(b"\r"):
            raise errors.PfrecError(
                f"{file}: its lines end in carriage returns alone; convert them (tr '\\r' '\\n')"
            )
        if dialect.names is not None:
            if not text:
                raise errors.PfrecError(
                    f"{file}: empty; it should hold rows of {len(dialect.names)} values"
                )
            return list(dialect.names), skipped, 1
        while True:
            read = stream.read(1 << 16)
            text += read
            found = records.scan(text, dialect.delimiter.encode(), not read, dialect.quoted)
            if found or not read or len(text) > records.MAX_RECORD_BYTES:
                break
    if not found:
        raise errors.PfrecError(f"{file}: empty; a CSV file starts with a line of column names")
    names = _names(file, text, found[0], dialect)
    return names, skipped + found[0].end, 1 + text.count(b"\n", 0, found[0].end)


def _names(
    file: raw_file.RawFile, text: bytes, record: records.Record, dialect: Dialect
) -> list[str]:
    place = f"{file}: line {record.line + 1}"
    if record.fault is not None:
        raise errors.PfrecError(f"{place}: {_REASONS[record.fault]}")
    import csv

    try:
        line = records.content_of(text, record.start, record.end).decode(dialect.encoding)
    except UnicodeDecodeError:
        raise errors.PfrecError(
            f"{place}: the line of column names {_REASONS['not_utf8']}"
        ) from None
    quoting = csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE
    read = csv.reader([line], delimiter=dialect.delimiter, quoting=quoting)
    names = [name.strip() for name in next(read)]
    for name in names:
        if name and names.count(name) > 1:
            raise errors.PfrecError(f"{place}: the column {name!r} stands twice; rename one")
    return names
