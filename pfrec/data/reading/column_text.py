"""Columns of any kind as Arrow arrays, as text, as hashes and as lists of values."""

import dataclasses
import re
from typing import Any, Optional

import numpy as np

from pfrec import amounts
from pfrec.data.reading import words

# Above this, float64 no longer tells neighbouring integers apart.
_LARGEST_EXACT = 2.0**53
# A whole number in text that is written with a point.
POINTED = re.compile(r"-?(?:0|[1-9][0-9]*)\.0+")
# A number of 12 digits or more in text that is written with an exponent.
_EXPONENT = r"\b[0-9]([.,][0-9]+)?[eE]\+(1[1-9]|[2-9][0-9])\b"


@dataclasses.dataclass(frozen=True)
class Lists:
    """The values of a column of lists, one row's after the other's.

    Attributes:
      values: Arrow string array [values of all rows], none of them empty.
      rows: int64 [values], the row that each belongs to.
      places: int64 [values], its place in its row's list, from 0.
    """

    values: Any
    rows: np.ndarray
    places: np.ndarray


def holds_lists(values: Any) -> bool:
    """Whether a column's own type is that of lists."""
    import pyarrow as pa

    kind = getattr(values, "type", None)
    return isinstance(kind, pa.DataType) and (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def lists(
    values: Any,
    separator: str,
    limit: Optional[int] = None,
    last: bool = False,
    as_it_is: bool = False,
) -> Lists:
    """A column of lists, or of text that `separator` cuts into values; ASCII blanks around a value
    and empty values do not count.

    Args:
      values: the column.
      separator: between the values of a text.
      limit: how many values of a row are kept; None for all.
      last: whether these are the last ones, not the first.
      as_it_is: whether whole numbers in text keep their point, see `canonical`.

    Raises:
      ArrowInvalid, ArrowNotImplementedError: where its type, or that of its lists' values, has no
        text.
    """
    import pyarrow as pa
    from pyarrow import compute

    values = arrow(values)
    found = values if holds_lists(values) else split(of(values), separator)
    flat = compute.ascii_trim_whitespace(of(compute.list_flatten(found)))
    flat = flat if as_it_is else canonical(flat)
    rows = compute.list_parent_indices(found).to_numpy(zero_copy_only=False).astype(np.int64)
    filled = compute.not_equal(flat, "").to_numpy(zero_copy_only=False)
    flat, rows = flat.filter(pa.array(filled)), rows[filled]
    places = np.arange(len(rows)) - np.searchsorted(rows, rows)
    if limit is None:
        return Lists(flat, rows, places)
    if last:
        sizes = np.bincount(rows, minlength=1)
        places = places - np.maximum(sizes[rows] - limit, 0)
    kept = (places >= 0) & (places < limit)
    return Lists(flat.filter(pa.array(kept)), rows[kept], places[kept])


def number_lists(values: Any, separator: str) -> Any:
    """A column of vectors as an Arrow list array: of numbers, or of text that stands for some; an
    empty text is null.

    Raises:
      ArrowInvalid, ArrowNotImplementedError: where its type has none.
    """
    import pyarrow as pa
    from pyarrow import compute

    values = arrow(values)
    if holds_lists(values):
        kind = values.type.value_type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            return compute.cast(values, pa.list_(pa.string()))
        return values
    text = compute.utf8_trim_whitespace(of(values))
    text = compute.if_else(compute.is_in(text, value_set=pa.array(["", "[]"])), None, text)
    return split(text, separator)


def split(text: Any, separator: str) -> Any:
    """Texts cut into lists; one in brackets is a list as Python and JSON write it, row by row."""
    from pyarrow import compute

    bracketed = compute.match_substring_regex(text, r"^\s*\[.*\]\s*$")
    if not compute.any(bracketed).as_py():
        return compute.split_pattern(text, separator)
    inner = compute.replace_substring_regex(text, r"^\s*\[\s*(.*?)\s*\]\s*$", r"\1")
    # NumPy writes no commas.
    plain = compute.match_substring_regex(inner, "[,'\"]")
    inner = compute.if_else(plain, inner, compute.replace_substring_regex(inner, r"\s+", ","))
    for pattern in (r"^['\"]", r"['\"]$"):
        inner = compute.replace_substring_regex(inner, pattern, "")
    for pattern in (r"['\"]?\s*,\s*['\"]", r"['\"]?\s*,\s*"):
        inner = compute.replace_substring_regex(inner, pattern, ",")
    inner = compute.replace_substring(inner, ",", separator)
    return compute.split_pattern(compute.if_else(bracketed, inner, text), separator)


def of(values: Any) -> Any:
    """A column as an Arrow string array; integers (also those stored as floats) in decimal,
    empty values as empty text.
    """
    import pyarrow as pa
    from pyarrow import compute

    values = arrow(values)
    if pa.types.is_floating(values.type):
        values = values.cast(pa.float64())
        # Value by value, so that what stands beside a value does not change its text.
        exact = compute.and_(
            compute.equal(compute.floor(values), values),
            compute.less(compute.abs(values), _LARGEST_EXACT),
        )
        whole = compute.if_else(exact, values, None).cast(pa.int64()).cast(pa.string())
        values = compute.if_else(compute.fill_null(exact, False), whole, values.cast(pa.string()))
    return compute.fill_null(values.cast(pa.string()), "")


def rounded(values: Any) -> Optional[np.ndarray]:
    """In which rows of a column a float stands for a whole number that floats of its width do not
    tell from its neighbours, as pandas makes of ids where one is missing, or text for one with an
    exponent, as pandas and spreadsheets write it then; bool [rows], and None where it holds
    neither.
    """
    import pyarrow as pa
    from pyarrow import compute

    if isinstance(values, np.ndarray) and values.dtype.kind != "f":
        return None  # What else it holds is not looked at, which would take long.
    found = arrow(values)
    flat = compute.list_flatten(found) if holds_lists(found) else found
    if pa.types.is_floating(flat.type):
        exact = 2.0 ** (np.finfo(flat.type.to_pandas_dtype()).nmant + 1)
        large = compute.greater_equal(compute.abs(flat.cast(pa.float64())), exact)
    elif pa.types.is_string(flat.type):
        large = compute.match_substring_regex(flat, _EXPONENT)
    else:
        return None
    large = compute.fill_null(large, False).to_numpy(zero_copy_only=False)
    if flat is found:
        return np.asarray(large)
    rows = compute.list_parent_indices(found).to_numpy(zero_copy_only=False)
    return np.bincount(rows[large], minlength=len(found)) > 0


def rounded_note(column: str, rows: int) -> str:
    """What a user should know of a column of ids that is `rounded` in so many rows."""
    return (
        f"{column!r}: {amounts.amount(rows, 'row')} with an id as a floating-point number from "
        "2^53 on (float32 from 2^24, float16 from 2^11), where floats no longer tell whole numbers "
        "apart, or as text like 1.23E+18 (pandas makes floats of ids where one is missing, "
        "spreadsheets of those with many digits): it is another id than that of the whole number "
        "that it was; write the column as whole numbers or as text"
    )


def canonical(values: Any) -> Any:
    """A column with whole numbers in text written without a point: `17.0` is the item `17`."""
    import pyarrow as pa
    from pyarrow import compute

    values = arrow(values)
    if not pa.types.is_string(values.type):
        return values
    if not compute.any(compute.match_substring(values, ".0")).as_py():
        return values
    return compute.replace_substring_regex(values, r"^(-?(?:0|[1-9][0-9]*))\.0+$", r"\1")


def hash_bucket(text: Any, buckets: int) -> np.ndarray:
    """FarmHash fingerprint modulo `buckets`: what `tf.strings.to_hash_bucket_fast` gives,
    hence what a served model computes.

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


def arrow(values: Any) -> Any:
    """An Arrow array of any column; pandas' NaN and None become null,
    large and dictionary strings plain ones.
    """
    import pyarrow as pa

    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if not isinstance(values, pa.Array):
        values = pa.array(values, from_pandas=True)
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_null(values.type) or pa.types.is_large_string(values.type):
        values = values.cast(pa.string())
    return values


def shown(value: Any) -> str:
    """A value of a column as messages show it: text in quotes, but not a number in text."""
    value = value.as_py() if hasattr(value, "as_py") else value
    if isinstance(value, str):
        return value.strip() if words.number(value) is not None else repr(value)
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)
