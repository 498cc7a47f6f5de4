"""How the text of files is laid out: the [file] table of a TOML schema."""

from collections.abc import Mapping
from typing import Any

from pfrec import errors
from pfrec.data.conversion.toml import typed
from pfrec.data.reading import csv_layout


def dialect(table: Mapping[str, Any]) -> csv_layout.Dialect:
    """The [file] table.

    Raises:
      PfrecError: naming the key that is unknown or of a wrong value.
    """
    place = "[file]"
    known = (
        *("delimiter", "encoding", "short_rows", "missing"),
        *("decimal", "quoting", "columns"),
    )
    typed.known_keys(table, known, place)
    delimiter = typed.get(table, "delimiter", str, place, "")
    encoding = typed.get(table, "encoding", str, place, "utf-8")
    decimal = typed.get(table, "decimal", str, place, "")
    if decimal not in ("", ".", ","):
        raise errors.PfrecError(f'{place}: decimal = {decimal!r} is not "." or ","')
    quoting = typed.get(table, "quoting", str, place, "double")
    if quoting not in csv_layout.QUOTINGS:
        raise errors.PfrecError(
            f"{place}: quoting = {quoting!r} is not one of {', '.join(csv_layout.QUOTINGS)}"
        )
    columns = typed.get(table, "columns", list, place, None)
    if columns is not None and not all(isinstance(name, str) and name for name in columns):
        raise errors.PfrecError(f"{place}: columns: must be the names of all columns, in quotes")
    short_rows = table.get("short_rows", False)
    if not isinstance(short_rows, bool):
        raise errors.PfrecError(f"{place}: short_rows = {short_rows!r} must be true or false")
    missing = typed.get(table, "missing", list, place, [])
    for word in missing:
        if not isinstance(word, str):
            raise errors.PfrecError(f"{place}: missing: {word!r} is not text; put it in quotes")
    named = None if columns is None else tuple(columns)
    found = csv_layout.Dialect(
        delimiter, encoding, named, short_rows, tuple(missing), decimal, quoting
    )
    csv_layout.require_possible(found)
    return found
