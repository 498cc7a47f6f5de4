"""Columns of a chunk as ids, and as groups of rows."""

import dataclasses

import numpy as np

from pfrec.data import schema as schema_lib
from pfrec.data.conversion.columns import as_numbers, as_text, row_checks
from pfrec.data.reading import column_text, source

# The largest modulus of to_hash_bucket_fast, so that group hashes use 63 bits.
_GROUP_BUCKETS = 2**63 - 1


def read(
    chunk: source.RawChunk,
    feature: schema_lib.Categorical,
    checks: "row_checks.Checks | row_checks.ElementChecks",
    beyond: str,
) -> np.ndarray:
    """The ids of a categorical column, int32 [rows]."""
    import pyarrow as pa
    from pyarrow import compute

    if feature.encoding == "hash":
        return column_text.hash_bucket(
            as_text.of_feature(chunk, feature), feature.cardinality
        ).astype(np.int32)
    if feature.encoding == "vocabulary":
        found = compute.index_in(
            as_text.of_feature(chunk, feature), value_set=pa.array(feature.vocabulary, pa.string())
        )
        return (
            compute.fill_null(found, feature.cardinality)
            .to_numpy(zero_copy_only=False)
            .astype(np.int32)
        )
    values = as_numbers.marked(chunk, feature.raw, checks)
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


def unknown_and_empty(
    chunk: source.RawChunk, feature: schema_lib.Categorical, ids: np.ndarray
) -> np.ndarray:
    """Which of a vocabulary feature's `ids` are the unknown one because the value is empty, bool
    [rows].
    """
    from pyarrow import compute

    unknown = ids == feature.cardinality
    if not unknown.any():
        return unknown
    text = as_text.of_feature(chunk, feature)
    return unknown & compute.equal(text, "").to_numpy(zero_copy_only=False)


def lists(
    chunk: source.RawChunk, feature: schema_lib.Categorical, checks: row_checks.Checks, beyond: str
) -> np.ndarray:
    """The ids of a column of lists, int32 [rows, values]."""
    found = as_text.lists(chunk, feature)
    own = dataclasses.replace(
        chunk, rows=chunk.rows[found.rows], columns={feature.raw: found.values}, scenario=None
    )
    elements = row_checks.ElementChecks(checks, found.rows, len(chunk))
    ids = np.full((len(chunk), feature.values), schema_lib.NO_VALUE, np.int32)
    ids[found.rows, found.places] = read(own, feature, elements, beyond)
    return ids


def groups(chunk: source.RawChunk, column: str, checks: row_checks.Checks) -> np.ndarray:
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
    text = as_text.read(chunk, column)
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
