"""Columns of a chunk as numbers: single ones, vectors and weights, checked value by value."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np

from pfrec import errors
from pfrec.data import schema as schema_lib
from pfrec.data.conversion.columns import as_text, row_checks
from pfrec.data.reading import bad_rows, column_text, source


def read(chunk: source.RawChunk, column: str) -> np.ndarray:
    """A column as float64 [rows]; empty and null values are NaN.

    Raises:
      PfrecError: where a value is no number.
    """
    checks = row_checks.Checks(chunk)
    values = marked(chunk, column, checks)
    bad_rows.BadRows("stop").add(checks.faults)
    return values


def read_or_nan(chunk: source.RawChunk, column: str) -> np.ndarray:
    """As `read`; values that are no number are NaN."""
    return marked(chunk, column, row_checks.Checks(chunk))


def only_numbers(
    chunk: source.RawChunk,
    columns: Sequence[str],
    vector_columns: Sequence[schema_lib.Numerical] = (),
) -> source.RawChunk:
    """The chunk without the rows that have something other than a number, or nothing, in one of
    `columns`, or other than a vector in one of `vector_columns`; those become faults.
    """
    checks = row_checks.Checks(chunk)
    for column in columns:
        marked(chunk, column, checks)
    for described in vector_columns:
        vectors(chunk, described, checks)
    if not checks.bad.any():
        return chunk
    return dataclasses.replace(
        chunk.take(np.flatnonzero(~checks.bad)), faults=(*chunk.faults, *checks.faults)
    )


def marked(
    chunk: source.RawChunk, column: str, checks: "row_checks.Checks | row_checks.ElementChecks"
) -> np.ndarray:
    """As `read`; values that are no number are marked as faults, and NaN."""
    import pyarrow as pa
    from pyarrow import compute

    values = column_text.arrow(chunk.columns[column])
    if not pa.types.is_string(values.type):
        try:
            return values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        except pa.ArrowException:
            raise errors.PfrecError(
                f"{chunk.file}: column {column!r} holds {values.type} where numbers belong; mend "
                "the file or the schema"
            ) from None
    text = compute.utf8_trim_whitespace(values)
    text = compute.if_else(compute.is_in(text, value_set=pa.array(_null_texts())), None, text)
    try:
        return text.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        found = np.array([_float(value) for value in text])
    good = ~np.isnan(found) | ~text.is_valid().to_numpy(zero_copy_only=False)
    good |= compute.fill_null(compute.utf8_lower(text), "").to_numpy(zero_copy_only=False) == "nan"
    checks.require(
        good,
        column,
        "not_a_number",
        lambda i: f"{text[i].as_py()!r} is not a number; mend the value",
    )
    return found


def _float(value: Any) -> float:
    """An Arrow string as a number, as Arrow reads it; NaN where it is none."""
    import pyarrow as pa

    try:
        number = value.cast(pa.float64()).as_py()
    except pa.ArrowInvalid:
        return float("nan")
    return float("nan") if number is None else number


def _null_texts() -> list[str]:
    """The spellings that Arrow's CSV reader takes for a missing number."""
    from pyarrow import csv as arrow_csv

    return list(arrow_csv.ConvertOptions().null_values)


def finite(
    chunk: source.RawChunk, column: schema_lib.Numerical, missing: str, checks: row_checks.Checks
) -> "tuple[np.ndarray, np.ndarray | None]":
    """A numerical column as float32 [rows, values], and where values were imputed,
    bool [rows] (None: nowhere).
    """
    with np.errstate(over="ignore"):
        if column.values > 1:
            raw = vectors(chunk, column, checks)
        else:
            raw = marked(chunk, column.raw, checks)[:, np.newaxis]
        values = (
            raw.astype(np.float32)
            if column.normalise == "none"
            else ((raw - column.shift) / column.scale).astype(np.float32)
        )
    good = np.isfinite(values)
    if good.all():
        return values, None
    default = 0.0 if column.default is None else (column.default - column.shift) / column.scale
    if missing == "reject":
        whose = "the column's default" if column.normalise == "none" else "the client's mean"
        stand_in = whose if column.default is None else f"{whose}, {column.default:g},"
        remedy = f"mend it, or pass --missing_numerical=impute to put {stand_in} there"
        empty = np.isnan(values).any(axis=1)
        checks.require(
            ~empty, column.raw, "number_missing", lambda _: f"the value is empty or NaN; {remedy}"
        )
        checks.require(
            good.all(axis=1) | empty,
            column.raw,
            "number_infinite",
            lambda _: f"the value is infinite as a 32-bit float; {remedy}",
        )
    return np.where(good, values, np.float32(default)), ~good.all(axis=1)


def vectors(
    chunk: source.RawChunk,
    column: schema_lib.Numerical,
    checks: "Optional[row_checks.Checks]" = None,
) -> np.ndarray:
    """A column of vectors, float64 [rows, values]; NaN where a row has none or a number is missing.

    Raises:
      PfrecError: where the column's type has no vectors; without `checks`, where a value is none or
        has another length.
    """
    import pyarrow as pa
    from pyarrow import compute

    stop = checks is None
    checks = row_checks.Checks(chunk) if checks is None else checks
    found = as_text.convert(
        chunk, column.raw, lambda values: column_text.number_lists(values, column.separator)
    )
    sizes = compute.fill_null(compute.list_value_length(found), 0).to_numpy(zero_copy_only=False)
    whole = sizes == column.values
    checks.require(
        whole | (sizes == 0),
        column.raw,
        "vector_length",
        lambda i: f"{sizes[i]} numbers where {column.values} belong; mend the row, or values",
    )
    rows = np.flatnonzero(whole)
    flat = compute.list_flatten(found.filter(pa.array(whole)))
    inside = np.repeat(rows, column.values)
    own = source.RawChunk(chunk.file, chunk.rows[inside], {column.raw: flat}, chunk.trace)
    numbers_ = marked(own, column.raw, row_checks.ElementChecks(checks, inside, len(chunk)))
    values = np.full((len(chunk), column.values), np.nan)
    values[rows] = numbers_.reshape(-1, column.values)
    if stop:
        bad_rows.BadRows("stop").add(checks.faults)
    return values


def weights(chunk: source.RawChunk, column: str, checks: row_checks.Checks) -> np.ndarray:
    """The weights of rows, float32 [rows]."""
    with np.errstate(over="ignore"):
        values = marked(chunk, column, checks).astype(np.float32)
    good = np.isfinite(values) & (values >= 0)
    checks.require(
        good,
        column,
        "weight",
        lambda i: f"the weight is {values[i]:g}; it must be a number from 0 on",
    )
    return np.where(good, values, np.float32(1))
