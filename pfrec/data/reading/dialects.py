"""How the text of a user's own file is laid out, as far as nobody says.

Delimiter, decimal point and an encoding with a byte order mark are guessed by each file's
beginning, and told.
"""

import codecs
import csv
import dataclasses
import re
from collections.abc import Sequence
from typing import Optional

from pfrec.data.reading import csv_layout, raw_file

_DELIMITERS = (",", "\t", ";", "|")
_HEAD_BYTES = 1 << 18
_PLAIN = {"utf-8": "utf-8", "iso8859-1": "latin-1"}
_WITH_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
_WITH_POINT = re.compile(r"[+-]?[0-9]+\.[0-9]+")

File = tuple[raw_file.RawFile, csv_layout.Dialect]


def settled(
    file: raw_file.RawFile,
    dialect: csv_layout.Dialect,
    wanted: Sequence[str],
    numbers: Optional[Sequence[str]] = None,
) -> File:
    """The file and its dialect with nothing left open.

    Args:
      file: the file.
      dialect: what is said of it.
      wanted: columns that it should have; the delimiter that finds them is the right one.
      numbers: those of numbers, whose decimal point is guessed; None where any column may be.

    Raises:
      PfrecError: where the file cannot be read, is compressed under a plain name, or what is said
        cannot be.
    """
    csv_layout.require_possible(dialect)
    file.require_text()
    file, dialect = _encoded(file, dialect)
    if dialect.delimiter and dialect.decimal:
        return file, dialect
    with file.open() as stream:
        head = stream.read(_HEAD_BYTES)
    lines = head.decode(dialect.encoding, "replace").lstrip("\ufeff").splitlines()
    lines = [line for line in (lines if len(head) < _HEAD_BYTES else lines[:-1]) if line]
    if not dialect.delimiter:
        dialect = dataclasses.replace(dialect, delimiter=_delimiter(file, dialect, lines, wanted))
    if not dialect.decimal:
        decimal = "."
        if dialect.delimiter != "," and _has_commas(dialect, lines, numbers):
            decimal = ","
        dialect = dataclasses.replace(dialect, decimal=decimal)
    return file, dialect


def notes(files: Sequence[File], said: csv_layout.Dialect) -> "list[str]":
    """What was guessed other than the usual, a line for each guess with a file that it is of."""
    found: dict[str, raw_file.RawFile] = {}
    for file, dialect in files:
        guessed = []
        if not said.delimiter and dialect.delimiter != ",":
            guessed.append(f"delimiter = {dialect.delimiter!r}")
        if not said.decimal and dialect.decimal != ".":
            guessed.append(f"decimal = {dialect.decimal!r}")
        if file.encoding and said.encoding == "utf-8":
            guessed.append(f"encoding = {file.encoding!r}")
        if guessed:
            found.setdefault(", ".join(guessed), file)
    return [f"{file}: read with {what}, by its beginning" for what, file in found.items()]


def _encoded(file: raw_file.RawFile, dialect: csv_layout.Dialect) -> File:
    encoding = codecs.lookup(dialect.encoding).name
    if encoding in _PLAIN:
        with file.open() as stream:
            wide = stream.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        encoding = "utf-16" if wide else encoding
    if encoding not in _PLAIN:
        file = dataclasses.replace(file, encoding=encoding)
    if dialect.quoting == "backslash":
        file = dataclasses.replace(file, escapes=True)
    return file, dataclasses.replace(dialect, encoding=_PLAIN.get(encoding, "utf-8"))


def _fields(dialect: csv_layout.Dialect, lines: Sequence[str], delimiter: str) -> "list[list[str]]":
    quoting = csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE
    try:
        return list(csv.reader(lines, delimiter=delimiter, quoting=quoting))
    except csv.Error:
        return []


def _delimiter(
    file: raw_file.RawFile,
    dialect: csv_layout.Dialect,
    lines: Sequence[str],
    wanted: Sequence[str],
) -> str:
    order = list(_DELIMITERS)
    if file.has_ending((".tsv",)):
        order.sort(key=lambda delimiter: delimiter != "\t")
    if not lines:
        return order[0]
    first = {d: (_fields(dialect, lines[:1], d) or [[]])[0] for d in order}
    if dialect.names is not None:
        fitting = [d for d in order if len(first[d]) == len(dialect.names)]
    else:
        found = {d: {name.strip() for name in names} for d, names in first.items()}
        fitting = [d for d in order if wanted and found[d].issuperset(wanted)]
    return fitting[0] if fitting else max(order, key=lambda d: len(first[d]))


def _has_commas(
    dialect: csv_layout.Dialect, lines: Sequence[str], numbers: Optional[Sequence[str]]
) -> bool:
    """Whether numbers are written with a comma, and none with a point."""
    rows = _fields(dialect, lines, dialect.delimiter)
    if dialect.names is not None:
        names = list(dialect.names)
    else:
        names, rows = [name.strip() for name in rows[0]] if rows else [], rows[1:]
    places = [i for i, name in enumerate(names) if numbers is None or name in numbers]
    values = [row[i].strip() for row in rows for i in places if i < len(row)]
    with_comma = sum(_WITH_COMMA.fullmatch(value) is not None for value in values)
    return with_comma > 0 and not any(_WITH_POINT.fullmatch(value) for value in values)
