"""Requests: the raw inputs of an exported model, and the reference encoding of them.

A request is a dict with one array [rows] per feature: int64 for identity encoding, an object array
of bytes for hash and vocabulary encoding, float32 for a numerical feature. Where a feature's rows
hold lists it is [rows, values], filled up with -1 or empty text; a vector is float32 [rows,
numbers]. A request to a router also has the
scenario of each row, as bytes.
"""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from export import interface
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import row_block

Request = dict[str, np.ndarray]


def from_rows(given: row_block.Rows, schema: schema_lib.Schema) -> Request:
    """The request that stands for encoded rows.

    A vocabulary id becomes its word, an identity id itself, a normalised number its raw value. A
    hash cannot be undone, so a hashed feature gets the decimal text of its id: a plausible value,
    whose own id `reference_ids` tells.
    """
    request: Request = {}
    for feature, place in zip(schema.categorical, schema.id_places):
        ids = given.categorical[:, place]
        if feature.encoding == "identity":
            values = ids.astype(np.int64)
        elif feature.encoding == "hash":
            values = _each(ids, lambda v: str(v).encode())
        else:
            words = [word.encode() for word in feature.vocabulary]
            unknown = _unknown_word(feature)
            values = _each(
                ids,
                lambda v, words=words, unknown=unknown: (  # type: ignore[misc]
                    words[v] if v < len(words) else unknown
                ),
            )
        request[feature.name] = values[:, 0] if feature.values == 1 else values
    for column, place in zip(schema.numerical, schema.number_places):
        raw = (given.numerical[:, place] * np.float64(column.scale) + column.shift).astype(
            np.float32
        )
        request[column.name] = raw[:, 0] if column.values == 1 else raw
    return request


def with_hashed_texts(
    request: Mapping[str, np.ndarray], given: row_block.Rows, schema: schema_lib.Schema
) -> Request:
    """A request of `from_rows` whose hashed features have texts that hash to the rows' ids.

    Args:
      request: that stands for the rows.
      given: the rows.
      schema: of them.
    """
    found = dict(request)
    for feature, place in zip(schema.categorical, schema.id_places):
        if feature.encoding != "hash":
            continue
        ids = given.categorical[:, place]
        words = _preimages(np.unique(ids[ids != schema_lib.NO_VALUE]), feature.cardinality)
        values = _each(ids, words.__getitem__)
        found[feature.name] = values[:, 0] if feature.values == 1 else values
    return found


def _preimages(wanted: np.ndarray, buckets: int) -> "dict[int, bytes]":
    """A text for each of some ids that hashes to it; an id that is no bucket gets any."""
    found = {int(i): b"?" for i in wanted if not 0 <= i < buckets}
    missing, start, step = set(wanted.tolist()) - set(found), 0, max(1 << 12, buckets)
    while missing:
        texts_ = np.char.mod("%d", np.arange(start, start + step))
        with tf.device("/CPU:0"):
            places = tf.strings.to_hash_bucket_fast(tf.constant(texts_), buckets).numpy()
        own, first = np.unique(places, return_index=True)
        for place, index in zip(own.tolist(), first.tolist()):
            if place in missing:
                found[place] = str(texts_[index]).encode()
                missing.discard(place)
        start += step
    return found


def random(served: interface.Interface, count: int, seed: int) -> Request:
    """Rows with scenarios and ids drawn evenly from all known ones and numbers from a standard
    normal distribution.
    """
    generator = np.random.default_rng(seed)
    schema = served.schema
    ids = [
        generator.integers(
            0, len(feature.vocabulary) or feature.cardinality, (count, feature.values)
        )
        for feature in schema.categorical
    ]
    for feature, own in zip(schema.categorical, ids):
        if feature.values > 1:
            own[
                np.arange(feature.values) >= generator.integers(0, feature.values + 1, (count, 1))
            ] = schema_lib.NO_VALUE
    request = from_rows(
        row_block.Rows(
            categorical=np.concatenate([np.zeros((count, 0), np.int32), *ids], axis=1).astype(
                np.int32
            ),
            numerical=generator.standard_normal((count, schema.number_columns)).astype(np.float32),
            labels=np.zeros((count, len(schema.tasks)), np.uint8),
        ),
        schema,
    )
    return _with_scenarios(
        request, served, generator.integers(0, max(1, len(served.scenarios)), count)
    )


def mixed(
    served: interface.Interface, real: Mapping[str, np.ndarray], count: int, seed: int
) -> Request:
    """Rows with random scenarios and ids, and each number from any of some real rows.

    Numbers from a normal distribution would be many deviations away in a column that is rarely
    other than 0: there a trained model's own rounding is as large as what an export is held to.
    """
    generator = np.random.default_rng(seed)
    request = random(served, count, seed)
    for column in served.schema.numerical:
        request[column.name] = real[column.name][generator.integers(0, rows(real), count)]
    return request


def hostile(served: interface.Interface) -> Request:
    """Rows that no training data held: ids just out of range and at the ends of int64, words not in
    any vocabulary, NaN and infinities.
    """
    limits = np.iinfo(np.int64)
    request: Request = {}
    for feature in served.schema.categorical:
        if feature.encoding == "identity":
            # 2**32 would become id 0 where a graph cut it to 32 bits before the range check.
            values = np.array(
                [feature.cardinality, feature.cardinality + 1, -1, limits.max, limits.min, 2**32],
                np.int64,
            )
        else:
            values = texts(
                [_unknown_word(feature), b"", b"\x00", "\u65b0".encode(), b"\xff\xfe", b" " * 300]
            )
        # A list has more values than count, too.
        request[feature.name] = (
            values if feature.values == 1 else np.stack([values] * (feature.values + 1), axis=1)
        )
    for column in served.schema.numerical:
        numbers = np.array([np.nan, np.inf, -np.inf, 0.0, 1.0, -1.0], np.float32)
        request[column.name] = (
            numbers if column.values == 1 else np.stack([numbers] * column.values, axis=1)
        )
    return _with_scenarios(request, served, np.arange(6) % max(1, len(served.scenarios)))


def unknown_scenario(served: interface.Interface) -> Request:
    """A request to a router in which one of three rows is of a scenario that it does not know."""
    request = random(served, 3, seed=0)
    name = b"unknown"
    while name.decode() in served.scenarios:
        name += b"!"
    request[interface.SCENARIO][1] = name
    return request


def rows(request: Mapping[str, np.ndarray]) -> int:
    """How many rows a request has."""
    return len(next(iter(request.values())))


def take(request: Mapping[str, np.ndarray], index: "np.ndarray | slice") -> Request:
    """The rows that `index` (positions, a mask or a slice) chooses."""
    return {name: values[index] for name, values in request.items()}


def repeated(request: Mapping[str, np.ndarray], count: int) -> Request:
    """`count` rows: those of a request from the first on, again and again where it has fewer."""
    return take(request, np.arange(count) % rows(request))


def examples(request: Mapping[str, np.ndarray]) -> np.ndarray:
    """The request as serialized tf.Example, an object array of bytes [rows]."""
    serialized = []
    for row in range(rows(request)):
        example = tf.train.Example()
        for name, values in request.items():
            feature = example.features.feature[name]
            if values.ndim == 1:
                own = values[row : row + 1].tolist()
            elif values.dtype == np.float32:
                own = values[row].tolist()
            else:
                own = values[row][~_filler(values[row])].tolist()
            if values.dtype == object:
                feature.bytes_list.value.extend(own)
            elif values.dtype == np.int64:
                feature.int64_list.value.extend(own)
            else:
                feature.float_list.value.extend(own)
        # A map has no order of its own; equal exports must hold equal bytes.
        serialized.append(example.SerializeToString(deterministic=True))
    return texts(serialized)


def reference_ids(
    request: Mapping[str, np.ndarray], schema: schema_lib.Schema
) -> "tuple[np.ndarray, np.ndarray]":
    """Encodes a request outside any exported graph: the reference that an export is held against.

    Returns:
      Ids, int32 [rows, `schema.id_columns`], and numbers, float32 [rows,
      `schema.number_columns`].
    """
    count = rows(request)
    ids = np.full((count, schema.id_columns), schema_lib.NO_VALUE, np.int32)
    for feature, place in zip(schema.categorical, schema.id_places):
        values = request[feature.name].reshape(count, -1)
        if feature.values > 1:
            values = _counted(values, feature)
        if feature.encoding == "identity":
            known = (values >= 0) & (values < feature.cardinality)
            found = np.where(known, values, feature.cardinality)
        elif feature.encoding == "hash":
            with tf.device("/CPU:0"):
                found = tf.strings.to_hash_bucket_fast(
                    tf.constant(values, tf.string), feature.cardinality
                ).numpy()
        else:
            places = {
                word.encode(): number
                for number, word in reversed(list(enumerate(feature.vocabulary)))
            }
            found = np.array(
                [[places.get(value, feature.cardinality) for value in row] for row in values]
            ).reshape(values.shape)
        if feature.values > 1:
            found = np.where(_filler(values), schema_lib.NO_VALUE, found)
        ids[:, place.start : place.start + values.shape[1]] = found
    numbers = np.zeros((count, schema.number_columns), np.float32)
    for column, place in zip(schema.numerical, schema.number_places):
        values = request[column.name].reshape(count, -1)
        raw = np.where(np.isfinite(values), values, np.float32(column.default))
        numbers[:, place] = (raw.astype(np.float64) - column.shift) / column.scale
    return ids, numbers


def _each(ids: np.ndarray, text: Callable[[int], bytes]) -> np.ndarray:
    """The texts of ids as an object array of their shape;
    empty where a list has no further value.
    """
    return texts(
        [b"" if v == schema_lib.NO_VALUE else text(v) for v in ids.ravel().tolist()]
    ).reshape(ids.shape)


def _counted(lists: np.ndarray, feature: schema_lib.Categorical) -> np.ndarray:
    """The values of each list that count, without blanks around texts, filled up at the end."""
    nothing, count = _no_value(lists), feature.values
    kept = slice(-count, None) if feature.keep == schema_lib.LAST else slice(count)
    found = np.full((len(lists), count), nothing, lists.dtype)
    for row, values in zip(found, lists.tolist()):
        own = [value.strip(b" \t\n\v\f\r") if lists.dtype == object else value for value in values]
        own = [value for value in own if value != nothing][kept]
        row[: len(own)] = own
    return found


def _filler(values: np.ndarray) -> np.ndarray:
    """Where lists have no value, bool of their shape."""
    return np.asarray(values == _no_value(values), bool)


def _no_value(lists: np.ndarray) -> "bytes | int":
    """What fills up lists of texts (an object array) or ids."""
    return b"" if lists.dtype == object else schema_lib.NO_VALUE


def texts(values: "list[bytes]") -> np.ndarray:
    """Byte strings as an object array [rows]."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _with_scenarios(request: Request, served: interface.Interface, places: np.ndarray) -> Request:
    """The request, for a router with the scenario at each place among its scenarios."""
    if not served.scenarios:
        return request
    return {
        interface.SCENARIO: texts([served.scenarios[place].encode() for place in places]),
        **request,
    }


def _unknown_word(feature: schema_lib.Categorical) -> bytes:
    word = "not in the vocabulary"
    while word in feature.vocabulary:
        word += "!"
    return word.encode()
