"""Turns raw columns into rows: ids, numbers, labels and groups, checked value by value."""

import dataclasses
from collections.abc import Mapping
from typing import Optional

import numpy as np

from pfrec import errors
from pfrec.data import schema as schema_lib
from pfrec.data.conversion.columns import as_ids, as_labels, as_numbers, row_checks
from pfrec.data.dataset import row_block
from pfrec.data.reading import bad_rows, column_text, source

MISSING_NUMERICAL = ("reject", "impute")


@dataclasses.dataclass(frozen=True)
class Encoded:
    """What became of a chunk.

    Attributes:
      rows: the good rows.
      good: bool [rows of the chunk], which they are.
      faults: the others, by column and reason; a row stands in one of them, that of the first
        column in which it is bad.
      imputed: per numerical column, how many values of good rows were imputed (columns without any
        are left out).
      empty: per vocabulary feature of one value, how many empty values good rows have that its
        vocabulary does not hold (features without any are left out): they have the unknown id.
      rounded: per feature whose ids are of text, in how many good rows one is a float that is no
        longer told from its neighbours (features without any are left out), see
        `column_text.rounded`.
      contrary: per conditional task, in how many good rows it is 1 while the task it depends on is
        not (tasks without any are left out); there it counts as unobserved.
    """

    rows: row_block.Rows
    good: np.ndarray
    faults: tuple[bad_rows.Faults, ...]
    imputed: "dict[str, int]"
    empty: "dict[str, int]"
    rounded: "dict[str, int]"
    contrary: "dict[str, int]"


def encode(
    chunk: source.RawChunk, schema: schema_lib.Schema, *, missing_numerical: str = "reject"
) -> tuple[row_block.Rows, dict[str, int]]:
    """Encodes a chunk all of whose rows must be good.

    Args:
      chunk: raw rows.
      schema: columns and tasks.
      missing_numerical: what to do with an empty, NaN or infinite value of a numerical column:
        `reject` it, or `impute` the column's default, and where it has none the client's mean.

    Returns:
      The rows, and how many values were imputed per numerical column (columns without any are left
      out).

    Raises:
      PfrecError: naming file, line and column of the first value that does not fit the schema.
    """
    encoded = encode_good(chunk, schema, missing_numerical=missing_numerical)
    bad_rows.BadRows("stop").add(encoded.faults)
    return encoded.rows, encoded.imputed


def encode_good(
    chunk: source.RawChunk,
    schema: schema_lib.Schema,
    *,
    missing_numerical: str = "reject",
    beyond: str = "bad",
) -> Encoded:
    """Encodes the rows of a chunk that fit the schema, and says which do not.

    Args:
      chunk, schema, missing_numerical: see `encode`.
      beyond: what an identity id at or above the cardinality is: `bad`, or `unknown`.

    Raises:
      PfrecError: where a column is missing or of a type that cannot hold what the schema wants.
    """
    _require_columns(chunk, schema)
    checks = row_checks.Checks(chunk)
    categorical = np.empty((len(chunk), schema.id_columns), np.int32)
    empty, rounded = {}, {}
    for feature, place in zip(schema.categorical, schema.id_places):
        ids = (
            as_ids.read(chunk, feature, checks, beyond)[:, np.newaxis]
            if feature.values == 1
            else as_ids.lists(chunk, feature, checks, beyond)
        )
        categorical[:, place] = ids
        # Lists leave empty values out.
        if feature.encoding == "vocabulary" and feature.values == 1:
            empty[feature.name] = as_ids.unknown_and_empty(chunk, feature, ids[:, 0])
        if feature.encoding != "identity":
            rounded[feature.name] = column_text.rounded(chunk.columns[feature.raw])
    numerical = np.empty((len(chunk), schema.number_columns), np.float32)
    missing = {}
    for column, place in zip(schema.numerical, schema.number_places):
        numerical[:, place], missing[column.name] = as_numbers.finite(
            chunk, column, missing_numerical, checks
        )
    group = None if schema.group is None else as_ids.groups(chunk, schema.group, checks)
    weight = None if schema.weight is None else as_numbers.weights(chunk, schema.weight, checks)
    labels, contrary = as_labels.read(chunk, schema, checks)
    rows = row_block.Rows(categorical, numerical, labels, group, weight)
    good = ~checks.bad
    return Encoded(
        rows if good.all() else rows.take(good),
        good,
        tuple(checks.faults),
        _counted(missing, good),
        _counted(empty, good),
        _counted(rounded, good),
        _counted(contrary, good),
    )


def _counted(masks: "Mapping[str, Optional[np.ndarray]]", good: np.ndarray) -> "dict[str, int]":
    """In how many good rows each mask is true; none of those that are so in no row."""
    found = {name: int((mask & good).sum()) for name, mask in masks.items() if mask is not None}
    return {name: count for name, count in found.items() if count}


def _require_columns(chunk: source.RawChunk, schema: schema_lib.Schema) -> None:
    wanted = [feature.raw for feature in schema.categorical] + [
        column.raw for column in schema.numerical
    ]
    wanted += [task.column for task in schema.tasks]
    wanted += [name for name in (schema.group, schema.weight) if name is not None]
    for name in wanted:
        if name not in chunk.columns:
            raise errors.PfrecError(
                f"{chunk.file}: no column {name!r}; columns found: {', '.join(chunk.columns)}"
            )
