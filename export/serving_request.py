"""Requests: the raw inputs of an exported model, and the reference encoding of them.

A request is a dict with one array [rows] per feature: int64 for identity encoding, an object array of bytes for hash and vocabulary
encoding, float32 for a numerical feature.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from pfrec.data import row_block
from pfrec.data import schema as schema_lib

Request = dict[str, np.ndarray]


def from_rows(rows: row_block.Rows, schema: schema_lib.Schema) -> Request:
    """The request that stands for encoded rows.

    A vocabulary id becomes its word and an identity id itself. A hash cannot be undone, so a hashed feature gets the decimal text of its
    id: a plausible value, whose own id `reference_ids` tells.
    """
    request: Request = {}
    for i, feature in enumerate(schema.categorical):
        ids = rows.categorical[:, i]
        if feature.encoding == "identity":
            request[feature.name] = ids.astype(np.int64)
        elif feature.encoding == "hash":
            request[feature.name] = _texts([str(v).encode() for v in ids])
        else:
            unknown = _unknown_word(feature)
            request[feature.name] = _texts([feature.vocabulary[v].encode() if v < feature.cardinality else unknown for v in ids])
    for i, column in enumerate(schema.numerical):
        request[column.name] = rows.numerical[:, i].astype(np.float32)
    return request


def random(schema: schema_lib.Schema, rows: int, seed: int) -> Request:
    """Rows with ids drawn evenly from all known ones and numbers from a standard normal distribution."""
    generator = np.random.default_rng(seed)
    ids = [generator.integers(0, feature.cardinality, rows) for feature in schema.categorical]
    return from_rows(
        row_block.Rows(
            categorical=np.stack(ids, axis=1).astype(np.int32) if ids else np.zeros((rows, 0), np.int32),
            numerical=generator.standard_normal((rows, len(schema.numerical))).astype(np.float32),
            labels=np.zeros((rows, len(schema.tasks)), np.uint8),
        ),
        schema,
    )


def hostile(schema: schema_lib.Schema) -> Request:
    """Rows that no training data held: ids just out of range and at the ends of int64, words not in any vocabulary, NaN and infinities."""
    limits = np.iinfo(np.int64)
    request: Request = {}
    for feature in schema.categorical:
        if feature.encoding == "identity":
            # 2**32 would become id 0 where a graph cut it to 32 bits before the range check.
            request[feature.name] = np.array(
                [feature.cardinality, feature.cardinality + 1, -1, limits.max, limits.min, 2**32], np.int64
            )
        else:
            words = [_unknown_word(feature), b"", b"\x00", "\u65b0".encode(), b"\xff\xfe", b" " * 300]
            request[feature.name] = _texts(words)
    for column in schema.numerical:
        request[column.name] = np.array([np.nan, np.inf, -np.inf, 0.0, 1.0, -1.0], np.float32)
    return request


def reference_ids(request: Mapping[str, np.ndarray], schema: schema_lib.Schema) -> "tuple[np.ndarray, np.ndarray]":
    """Encodes a request outside any exported graph: the reference that an export is held against.

    Returns:
      Ids, int32 [rows, categorical features], and numbers, float32 [rows, numerical features].
    """
    rows = len(next(iter(request.values())))
    ids = np.zeros((rows, len(schema.categorical)), np.int32)
    for i, feature in enumerate(schema.categorical):
        values = request[feature.name]
        if feature.encoding == "identity":
            known = (values >= 0) & (values < feature.cardinality)
            ids[:, i] = np.where(known, values, feature.cardinality)
        elif feature.encoding == "hash":
            with tf.device("/CPU:0"):
                ids[:, i] = tf.strings.to_hash_bucket_fast(tf.constant(values, tf.string), feature.cardinality).numpy()
        else:
            places = {word.encode(): place for place, word in reversed(list(enumerate(feature.vocabulary)))}
            ids[:, i] = [places.get(value, feature.cardinality) for value in values]
    numbers = np.zeros((rows, len(schema.numerical)), np.float32)
    for i, column in enumerate(schema.numerical):
        values = request[column.name]
        numbers[:, i] = np.where(np.isfinite(values), values, np.float32(column.default))
    return ids, numbers


def _texts(values: "list[bytes]") -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _unknown_word(feature: schema_lib.Categorical) -> bytes:
    word = "not in the vocabulary"
    while word in feature.vocabulary:
        word += "!"
    return word.encode()
