"""Turns raw columns into rows: ids, numbers, labels and groups, checked value by value."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Optional

import numpy as np

from pfrec import errors
from pfrec.data import schema as schema_lib
from pfrec.data.conversion import labels
from pfrec.data.dataset import row_block
from pfrec.data.reading import bad_rows, column_text, source

MISSING_NUMERICAL = ("reject", "impute")
# The largest modulus of to_hash_bucket_fast, so that group hashes use 63 bits.
_GROUP_BUCKETS = 2**63 - 1


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
      contrary: per conditional task, in how many good rows it is 1 while the task it depends on is
        not (tasks without any are left out); there it counts as unobserved.
    """

    rows: row_block.Rows
    good: np.ndarray
    faults: tuple[bad_rows.Faults, ...]
    imputed: "dict[str, int]"
    contrary: "dict[str, int]"


class _Checks:
    """Collects the bad rows of a chunk, each once."""

    def __init__(self, chunk: source.RawChunk) -> None:
        self._chunk = chunk
        self.bad = np.zeros(len(chunk), bool)
        self.faults: list[bad_rows.Faults] = []

    def require(
        self, good: np.ndarray, column: str, reason: str, describe: Callable[[int], str]
    ) -> None:
        """Marks the rows that are not `good`; `describe` takes a position in the chunk."""
        if good.all():
            return
        positions = np.flatnonzero(~good & ~self.bad)
        self.bad |= ~good
        if len(positions):
            self.faults.append(
                bad_rows.Faults(
                    reason,
                    column,
                    self._chunk.rows[positions],
                    lambda i: describe(int(positions[i])),
                    self._chunk.origin,
                )
            )


class _Elements:
    """The checks of a chunk, for the values of its lists: a row is bad where one of its values is,
    and its first bad one is told.
    """

    def __init__(self, checks: _Checks, rows: np.ndarray, count: int) -> None:
        self._checks, self._rows, self._count = checks, rows, count

    def require(
        self, good: np.ndarray, column: str, reason: str, describe: Callable[[int], str]
    ) -> None:
        """See `_Checks`, by the values of all rows one after the other."""
        bad = np.flatnonzero(~good)
        rows, first = np.unique(self._rows[bad], return_index=True)
        fine = np.ones(self._count, bool)
        fine[rows] = False
        told = dict(zip(rows.tolist(), bad[first].tolist()))
        self._checks.require(fine, column, reason, lambda i: describe(told[i]))


def encode(
    chunk: source.RawChunk, schema: schema_lib.Schema, *, missing_numerical: str = "reject"
) -> tuple[row_block.Rows, dict[str, int]]:
    """Encodes a chunk all of whose rows must be good.

    Args:
      chunk: raw rows.
      schema: columns and tasks.
      missing_numerical: what to do with an empty, NaN or infinite value of a numerical column:
        `reject` it, or `impute` the column's default.

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
    checks = _Checks(chunk)
    categorical = np.empty((len(chunk), schema.id_columns), np.int32)
    for feature, place in zip(schema.categorical, schema.id_places):
        ids = (
            _ids(chunk, feature, checks, beyond)[:, np.newaxis]
            if feature.values == 1
            else _id_lists(chunk, feature, checks, beyond)
        )
        categorical[:, place] = ids
    numerical = np.empty((len(chunk), schema.number_columns), np.float32)
    missing = {}
    for column, place in zip(schema.numerical, schema.number_places):
        numerical[:, place], missing[column.name] = _finite(
            chunk, column, missing_numerical, checks
        )
    group = None if schema.group is None else _groups(chunk, schema.group, checks)
    weight = None if schema.weight is None else _weights(chunk, schema.weight, checks)
    labels_, contrary = _labels(chunk, schema, checks)
    rows = row_block.Rows(categorical, numerical, labels_, group, weight)
    good = ~checks.bad
    counts = {name: int((mask & good).sum()) for name, mask in missing.items() if mask is not None}
    imputed = {name: count for name, count in counts.items() if count}
    against = {name: int((mask & good).sum()) for name, mask in contrary.items()}
    return Encoded(
        rows if good.all() else rows.take(good),
        good,
        tuple(checks.faults),
        imputed,
        {name: count for name, count in against.items() if count},
    )


def numbers(chunk: source.RawChunk, column: str) -> np.ndarray:
    """A column as float64 [rows]; empty and null values are NaN.

    Raises:
      PfrecError: where a value is no number.
    """
    checks = _Checks(chunk)
    values = _numbers(chunk, column, checks)
    bad_rows.BadRows("stop").add(checks.faults)
    return values


def numbers_or_nan(chunk: source.RawChunk, column: str) -> np.ndarray:
    """The same; values that are no number are NaN."""
    return _numbers(chunk, column, _Checks(chunk))


def only_numbers(
    chunk: source.RawChunk,
    columns: Sequence[str],
    vector_columns: Sequence[schema_lib.Numerical] = (),
) -> source.RawChunk:
    """The chunk without the rows that have something other than a number, or nothing, in one of
    `columns`, or other than a vector in one of `vector_columns`; those become faults.
    """
    checks = _Checks(chunk)
    for column in columns:
        _numbers(chunk, column, checks)
    for described in vector_columns:
        vectors(chunk, described, checks)
    if not checks.bad.any():
        return chunk
    return dataclasses.replace(
        chunk.take(np.flatnonzero(~checks.bad)), faults=(*chunk.faults, *checks.faults)
    )


def _numbers(chunk: source.RawChunk, column: str, checks: "_Checks | _Elements") -> np.ndarray:
    """The same; values that are no number are marked, and NaN."""
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


def value_lists(chunk: source.RawChunk, feature: schema_lib.Categorical) -> column_text.Lists:
    """The values of a feature whose rows hold lists.

    Raises:
      PfrecError: where the column's type has no text.
    """
    return _as_text(
        chunk,
        feature.raw,
        lambda values: column_text.lists(
            values,
            feature.separator,
            feature.values,
            feature.keep == schema_lib.LAST,
            # Of a vocabulary that itself tells 17.0 from 17 the words are taken as they are.
            any(column_text.POINTED.fullmatch(word) for word in feature.vocabulary),
        ),
    )


def all_values(chunk: source.RawChunk, feature: schema_lib.Categorical) -> Any:
    """The values of a feature in all rows one after the other, an Arrow string array.

    Raises:
      PfrecError: where the column's type has no text.
    """
    if feature.values > 1:
        return value_lists(chunk, feature).values
    return texts(chunk, feature.raw)


def _id_lists(
    chunk: source.RawChunk, feature: schema_lib.Categorical, checks: _Checks, beyond: str
) -> np.ndarray:
    """The ids of a column of lists, int32 [rows, values]."""
    lists = value_lists(chunk, feature)
    own = dataclasses.replace(
        chunk, rows=chunk.rows[lists.rows], columns={feature.raw: lists.values}, scenario=None
    )
    found = _ids(own, feature, _Elements(checks, lists.rows, len(chunk)), beyond)
    ids = np.full((len(chunk), feature.values), schema_lib.NO_VALUE, np.int32)
    ids[lists.rows, lists.places] = found
    return ids


def _ids(
    chunk: source.RawChunk,
    feature: schema_lib.Categorical,
    checks: "_Checks | _Elements",
    beyond: str,
) -> np.ndarray:
    """The ids of a categorical column, int32 [rows]."""
    import pyarrow as pa
    from pyarrow import compute

    if feature.encoding == "hash":
        return column_text.hash_bucket(texts(chunk, feature.raw), feature.cardinality).astype(
            np.int32
        )
    if feature.encoding == "vocabulary":
        found = compute.index_in(
            texts(chunk, feature.raw), value_set=pa.array(feature.vocabulary, pa.string())
        )
        return (
            compute.fill_null(found, feature.cardinality)
            .to_numpy(zero_copy_only=False)
            .astype(np.int32)
        )
    values = _numbers(chunk, feature.raw, checks)
    missing = np.isnan(values)
    checks.require(
        ~missing,
        feature.raw,
        "id_missing",
        lambda _: 'the id is empty; fill it in, or use encoding = "hash" or "vocabulary"',
    )
    if beyond == "unknown":
        whole = (values == np.floor(values)) & np.isfinite(values)
        values = np.where(whole & (values > feature.cardinality), feature.cardinality, values)
    most = feature.cardinality - (beyond == "bad")
    good = missing | ((values >= 0) & (values <= most) & (values == np.floor(values)))
    checks.require(
        good,
        feature.raw,
        "id_out_of_range",
        lambda i: (
            f"the id {values[i]:.17g} is not one of 0 to {feature.cardinality - 1}; "
            'mend the value, raise the cardinality, or use encoding = "hash"'
        ),
    )
    return np.where(good & ~missing, values, 0).astype(np.int32)


def texts(chunk: source.RawChunk, column: str) -> Any:
    """A chunk's column as text, see `column_text.of`.

    Raises:
      PfrecError: where its type has none.
    """
    return _as_text(chunk, column, column_text.of)


def _as_text(chunk: source.RawChunk, column: str, read: Callable[[Any], Any]) -> Any:
    """What `read` makes of a chunk's column.

    Raises:
      PfrecError: where its type has no text (a list where one value belongs, a structure).
    """
    import pyarrow as pa

    try:
        return read(chunk.columns[column])
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        kind = getattr(chunk.columns[column], "type", "values")
        raise errors.PfrecError(
            f"{chunk.file}: column {column!r} holds {kind} where text or numbers belong; mend the "
            "file or the schema"
        ) from None


def _finite(
    chunk: source.RawChunk, column: schema_lib.Numerical, missing: str, checks: _Checks
) -> "tuple[np.ndarray, np.ndarray | None]":
    """A numerical column as float32 [rows, values], and where values were imputed,
    bool [rows] (None: nowhere).
    """
    with np.errstate(over="ignore"):
        if column.values > 1:
            raw = vectors(chunk, column, checks)
        else:
            raw = _numbers(chunk, column.raw, checks)[:, np.newaxis]
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
        stand_in = (
            "the client's mean"
            if column.default is None
            else f"the column's default {column.default:g}"
        )
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
    chunk: source.RawChunk, column: schema_lib.Numerical, checks: "Optional[_Checks]" = None
) -> np.ndarray:
    """A column of vectors, float64 [rows, values]; NaN where a row has none or a number is missing.

    Raises:
      PfrecError: where the column's type has no vectors; without `checks`, where a value is none or
        has another length.
    """
    import pyarrow as pa
    from pyarrow import compute

    stop = checks is None
    checks = _Checks(chunk) if checks is None else checks
    found = _as_text(
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
    numbers_ = _numbers(own, column.raw, _Elements(checks, inside, len(chunk)))
    values = np.full((len(chunk), column.values), np.nan)
    values[rows] = numbers_.reshape(-1, column.values)
    if stop:
        bad_rows.BadRows("stop").add(checks.faults)
    return values


def _weights(chunk: source.RawChunk, column: str, checks: _Checks) -> np.ndarray:
    """The weights of rows, float32 [rows]."""
    with np.errstate(over="ignore"):
        values = _numbers(chunk, column, checks).astype(np.float32)
    good = np.isfinite(values) & (values >= 0)
    checks.require(
        good,
        column,
        "weight",
        lambda i: f"the weight is {values[i]:g}; it must be a number from 0 on",
    )
    return np.where(good, values, np.float32(1))


def _labels(
    chunk: source.RawChunk, schema: schema_lib.Schema, checks: _Checks
) -> "tuple[np.ndarray, dict[str, np.ndarray]]":
    """Labels, uint8 [rows, tasks], and by conditional task where it is 1 against its condition,
    bool [rows].

    A conditional task is unobserved wherever the task it depends on is not 1, whatever stands
    there; an empty label is judged where its task is defined, and nowhere else.
    """
    tasks = {task.name: task for task in schema.tasks}
    found: dict[str, np.ndarray] = {}
    contrary: dict[str, np.ndarray] = {}
    for task in schema.tasks:
        path = [task]
        while path[-1].given is not None and path[-1].given not in found:
            path.append(tasks[path[-1].given])
        for step in reversed(path):
            if step.name not in found:
                given = None if step.given is None else found[step.given] == 1
                codes = _label(chunk, step, given, checks)
                if given is not None:
                    contrary[step.name] = (codes == 1) & ~given
                    codes = np.where(given, codes, np.uint8(row_block.UNOBSERVED))
                found[step.name] = codes
    return np.stack([found[task.name] for task in schema.tasks], axis=1), contrary


def _label(
    chunk: source.RawChunk, task: schema_lib.Task, defined: "np.ndarray | None", checks: _Checks
) -> np.ndarray:
    """The labels of a task as they stand, uint8 [rows]; `defined`, bool [rows], says where an empty
    one is judged (None: everywhere).
    """
    import pyarrow as pa

    values = chunk.columns[task.column]
    try:
        codes = labels.codes(values, task)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        raise errors.PfrecError(
            f"{chunk.file}: column {task.column!r} holds {getattr(values, 'type', 'values')} where "
            "labels belong; mend the file or the schema"
        ) from None
    rule = labels.rule(task)
    checks.require(
        codes != labels.WRONG,
        task.column,
        "label_not_binary",
        lambda i: f"the label is {column_text.shown(values[i])}; {rule}",
    )
    missing = codes == labels.MISSING
    if task.missing == "bad":
        wanted = missing if defined is None else missing & defined
        checks.require(
            ~wanted,
            task.column,
            "label_missing",
            lambda _: (
                f"the label is empty; {rule}, "
                'or missing = "unobserved" or missing = 0 in its [[task]] says what that means'
            ),
        )
    stand_in = np.uint8(0 if task.missing == "0" else row_block.UNOBSERVED)
    return np.where(missing, stand_in, codes)


def _groups(chunk: source.RawChunk, column: str, checks: _Checks) -> np.ndarray:
    """Groups, int64 [rows]: integers as they are, any other text by its hash.

    Decided value by value, whatever stands beside it.
    """
    import pyarrow as pa
    from pyarrow import compute

    values = column_text.arrow(chunk.columns[column])
    if (
        values.null_count == 0
        and pa.types.is_integer(values.type)
        and not pa.types.is_uint64(values.type)
    ):
        return values.cast(pa.int64()).to_numpy(zero_copy_only=False)
    text = texts(chunk, column)
    filled = compute.not_equal(text, "").to_numpy(zero_copy_only=False)
    checks.require(
        filled,
        column,
        "group_missing",
        lambda _: "the group is empty; fill it in, or name no group column",
    )
    # At most 18 digits: always within int64. Longer numbers, and those with leading zeros, count as
    # text.
    whole = compute.match_substring_regex(text, r"^(0|-?[1-9][0-9]{0,17})$")
    integers = compute.if_else(whole, text, "0").cast(pa.int64()).to_numpy(zero_copy_only=False)
    is_whole = whole.to_numpy(zero_copy_only=False)
    return (
        integers
        if is_whole.all()
        else np.where(is_whole, integers, column_text.hash_bucket(text, _GROUP_BUCKETS))
    )
