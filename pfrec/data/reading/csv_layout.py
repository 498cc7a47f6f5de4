"""How a file of delimited text is laid out, and what its first line names."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Optional, Union

from pfrec import errors
from pfrec.data.reading import columns_found, raw_file, records

QUOTINGS = ("double", "backslash", "none")

_BOM = b"\xef\xbb\xbf"
_WIDE_BOMS = (b"\xff\xfe", b"\xfe\xff")
# What is wrong with a record, for messages.
REASONS = {
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


def require_possible(dialect: Dialect) -> None:
    """Checks the delimiter and the encoding, which a schema, a flag or a caller may name.

    Raises:
      PfrecError: where the one is no single ASCII character, or the other no encoding of text.
    """
    delimiter = dialect.delimiter
    if delimiter and (len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n\0'):
        raise errors.PfrecError(
            f"[file]: delimiter = {delimiter!r} must be one ASCII character, and no quote or line "
            "end"
        )
    try:
        "".encode(dialect.encoding)
    except (LookupError, ValueError):
        raise errors.PfrecError(
            f"[file]: encoding = {dialect.encoding!r} is not known; utf-8, latin-1, gbk and utf-16 "
            "are, for example"
        ) from None


def header(file: File, dialect: Dialect = CSV) -> list[str]:
    """The column names of a file.

    Raises:
      PfrecError: where the file is missing, unreadable, empty, or names a column twice.
    """
    return start(opened(file), dialect)[0]


def require_columns(
    file: File,
    wanted: Sequence[str],
    dialect: Dialect = CSV,
    remedy: str = "mend the file or the schema",
) -> None:
    """Checks that a file has all columns; as `columns_found.require_all`."""
    columns_found.require_all(file, header(file, dialect), wanted, remedy)


def opened(file: File) -> raw_file.RawFile:
    return file if isinstance(file, raw_file.RawFile) else raw_file.RawFile(file)


def start(file: raw_file.RawFile, dialect: Dialect) -> tuple[list[str], int, int]:
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
        raise errors.PfrecError(f"{place}: {REASONS[record.fault]}")
    import csv

    try:
        line = records.content_of(text, record.start, record.end).decode(dialect.encoding)
    except UnicodeDecodeError:
        raise errors.PfrecError(
            f"{place}: the line of column names {REASONS['not_utf8']}"
        ) from None
    quoting = csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE
    read = csv.reader([line], delimiter=dialect.delimiter, quoting=quoting)
    names = [name.strip() for name in next(read)]
    for name in names:
        if name and names.count(name) > 1:
            raise errors.PfrecError(f"{place}: the column {name!r} stands twice; rename one")
    return names
