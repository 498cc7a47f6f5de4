"""Turns raw columns into rows: ids, numbers, labels and groups, checked value by value."""

from typing import Any

import numpy as np

from pfrec import errors
from pfrec.data import row_block, source
from pfrec.data import schema as schema_lib

MISSING_NUMERICAL = ("reject", "impute")
# The largest modulus of to_hash_bucket_fast, so that group hashes use 63 bits.
_GROUP_BUCKETS = 2**63 - 1


def encode(
    chunk: source.RawChunk, schema: schema_lib.Schema, *, missing_numerical: str = "reject"
) -> tuple[row_block.Rows, dict[str, int]]:
    """Encodes a chunk.

    Args:
      chunk: raw rows.
      schema: columns and tasks.
      missing_numerical: what to do with an empty, NaN or infinite value of a numerical column: `reject` it, or `impute` the
        column's default.

    Returns:
      The rows, and how many values were imputed per numerical column (columns without any are left out).

    Raises:
      PfrecError: naming file, line and column of the first value that does not fit the schema.
    """
    _require_columns(chunk, schema)
    categorical = np.empty((len(chunk), len(schema.categorical)), np.int32)
    for i, feature in enumerate(schema.categorical):
        categorical[:, i] = _ids(chunk, feature)
    numerical = np.empty((len(chunk), len(schema.numerical)), np.float32)
    imputed = {}
    for i, column in enumerate(schema.numerical):
        numerical[:, i], missing = _finite(chunk, column, missing_numerical)
        if missing:
            imputed[column.name] = missing
    group = None if schema.group is None else _groups(chunk, schema.group)
    return row_block.Rows(categorical, numerical, _labels(chunk, schema), group), imputed


def numbers(chunk: source.RawChunk, column: str) -> np.ndarray:
    """A column as float64 [rows]; empty and null values are NaN.

    Raises:
      PfrecError: where a value is no number.
    """
    import pyarrow as pa
    from pyarrow import compute

    values = _arrow(chunk.columns[column])
    if not pa.types.is_string(values.type):
        return values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    text = compute.utf8_trim_whitespace(values)
    text = compute.if_else(compute.is_in(text, value_set=pa.array(_null_texts())), None, text)
    try:
        return text.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        for position, value in enumerate(text):
            try:
                value.cast(pa.float64())
            except pa.ArrowInvalid:
                raise errors.PfrecError(
                    f"{chunk.place(position, column)}: {value.as_py()!r} is not a number; mend the value"
                ) from None
        raise


def texts(values: Any) -> Any:
    """A column as an Arrow string array; integers (also those stored as floats) in decimal, empty values as empty text."""
    import pyarrow as pa
    from pyarrow import compute

    values = _arrow(values)
    if pa.types.is_floating(values.type):
        whole = compute.all(compute.equal(compute.floor(values), values)).as_py() is not False
        if whole:
            values = values.cast(pa.int64())
    return compute.fill_null(values.cast(pa.string()), "")


def hash_bucket(text: Any, buckets: int) -> np.ndarray:
    """FarmHash fingerprint modulo `buckets`: what `tf.strings.to_hash_bucket_fast` gives, hence what a served model computes.

    Args:
      text: Arrow string array [rows] without nulls.
      buckets: the modulus.

    Returns:
      int64 [rows].
    """
    import tensorflow as tf

    # Hashing distinct values alone is several times faster for the usual column.
    encoded = text.dictionary_encode()
    distinct = np.array(encoded.dictionary.to_pylist(), dtype=object)
    if not len(distinct):
        return np.zeros(len(text), np.int64)
    with tf.device("/CPU:0"):
        hashes = tf.strings.to_hash_bucket_fast(tf.constant(distinct, tf.string), buckets).numpy()
    return hashes[encoded.indices.to_numpy(zero_copy_only=False)]


def _arrow(values: Any) -> Any:
    """An Arrow array of any column; pandas' NaN and None become null, large and dictionary strings plain ones."""
    import pyarrow as pa

    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if not isinstance(values, pa.Array):
        values = pa.array(values, from_pandas=True)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_null(values.type) or pa.types.is_large_string(values.type):
        values = values.cast(pa.string())
    return values


def _null_texts() -> list[str]:
    """The spellings that Arrow's CSV reader takes for a missing number."""
    from pyarrow import csv as arrow_csv

    return list(arrow_csv.ConvertOptions().null_values)


def _require_columns(chunk: source.RawChunk, schema: schema_lib.Schema) -> None:
    wanted = [feature.name for feature in schema.categorical] + [column.name for column in schema.numerical]
    wanted += [task.column for task in schema.tasks]
    wanted += [] if schema.group is None else [schema.group]
    for name in wanted:
        if name not in chunk.columns:
            raise errors.PfrecError(f"{chunk.file}: no column {name!r}; columns found: {', '.join(chunk.columns)}")


def _ids(chunk: source.RawChunk, feature: schema_lib.Categorical) -> np.ndarray:
    """The ids of a categorical column, int32 [rows]."""
    import pyarrow as pa
    from pyarrow import compute

    if feature.encoding == "hash":
        return hash_bucket(texts(chunk.columns[feature.name]), feature.cardinality).astype(np.int32)
    if feature.encoding == "vocabulary":
        found = compute.index_in(texts(chunk.columns[feature.name]), value_set=pa.array(feature.vocabulary, pa.string()))
        return compute.fill_null(found, feature.cardinality).to_numpy(zero_copy_only=False).astype(np.int32)
    values = numbers(chunk, feature.name)
    good = (values >= 0) & (values < feature.cardinality) & (values == np.floor(values))
    if not good.all():
        position = int(np.argmin(good))
        value = values[position]
        place = chunk.place(position, feature.name)
        if np.isnan(value):
            raise errors.PfrecError(f'{place}: the id is empty; fill it in, or use encoding = "hash" or "vocabulary"')
        raise errors.PfrecError(
            f"{place}: the id {value:.17g} is not one of 0 to {feature.cardinality - 1}; "
            f'mend the value, raise the cardinality, or use encoding = "hash"'
        )
    return values.astype(np.int32)


def _finite(chunk: source.RawChunk, column: schema_lib.Numerical, missing: str) -> tuple[np.ndarray, int]:
    """A numerical column as float32 [rows], and how many values were imputed."""
    with np.errstate(over="ignore"):
        values = numbers(chunk, column.name).astype(np.float32)
    good = np.isfinite(values)
    if good.all():
        return values, 0
    if missing == "reject":
        position = int(np.argmin(good))
        what = "empty or NaN" if np.isnan(values[position]) else "infinite as a 32-bit float"
        raise errors.PfrecError(
            f"{chunk.place(position, column.name)}: the value is {what}; "
            f"mend it, or pass --missing_numerical=impute to put the column's default {column.default:g} there"
        )
    return np.where(good, values, np.float32(column.default)), int((~good).sum())


def _labels(chunk: source.RawChunk, schema: schema_lib.Schema) -> np.ndarray:
    """Labels, uint8 [rows, tasks]. A conditional task is unobserved wherever the task it depends on is not 1."""
    raw = {}
    for task in schema.tasks:
        values = numbers(chunk, task.column)
        good = (values == 0) | (values == 1)
        if not good.all():
            position = int(np.argmin(good))
            value = "empty" if np.isnan(values[position]) else f"{values[position]:g}"
            raise errors.PfrecError(f"{chunk.place(position, task.column)}: the label is {value}; labels are 0 or 1")
        raw[task.name] = values == 1
    given = {task.name: task.given for task in schema.tasks}
    labels = np.empty((len(chunk), len(schema.tasks)), np.uint8)
    for i, task in enumerate(schema.tasks):
        observed = np.ones(len(chunk), bool)
        condition = task.given
        for _ in schema.tasks:  # a chain of conditions is at most as long as there are tasks
            if condition is None:
                break
            observed &= raw[condition]
            condition = given[condition]
        labels[:, i] = np.where(observed, raw[task.name], row_block.UNOBSERVED)
    return labels


def _groups(chunk: source.RawChunk, column: str) -> np.ndarray:
    """Groups, int64 [rows]: integers as they are, any other text by its hash. Decided value by value, whatever stands beside it."""
    import pyarrow as pa
    from pyarrow import compute

    values = _arrow(chunk.columns[column])
    if values.null_count == 0 and pa.types.is_integer(values.type) and not pa.types.is_uint64(values.type):
        return values.cast(pa.int64()).to_numpy(zero_copy_only=False)
    text = texts(values)
    empty = compute.equal(text, "")
    if compute.any(empty).as_py():
        position = int(np.argmax(empty.to_numpy(zero_copy_only=False)))
        raise errors.PfrecError(f"{chunk.place(position, column)}: the group is empty; fill it in, or name no group column")
    # At most 18 digits: always within int64. Longer numbers, and those with leading zeros, count as text.
    whole = compute.match_substring_regex(text, r"^(0|-?[1-9][0-9]{0,17})$")
    integers = compute.if_else(whole, text, "0").cast(pa.int64()).to_numpy(zero_copy_only=False)
    is_whole = whole.to_numpy(zero_copy_only=False)
    return integers if is_whole.all() else np.where(is_whole, integers, hash_bucket(text, _GROUP_BUCKETS))
