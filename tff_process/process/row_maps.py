"""Which row of an embedding table means in old data what a row means in new ones.

Ids are matched by what they stand for, the text of a vocabulary, and never by their place.
"""

from collections.abc import Mapping

import numpy as np

from pfrec.data import schema as schema_lib

FRESH = -1
_BY_TEXT = ("vocabulary", "local_vocabulary")

RowMaps = Mapping[str, np.ndarray]


def of_feature(old: schema_lib.Categorical, new: schema_lib.Categorical) -> np.ndarray:
    """For each row of a feature's new table the row of the old one that means the same.

    Args:
      old, new: the feature, with its vocabulary where it has one, as it was and as it is.

    Returns:
      int64 [new cardinality + 1], `FRESH` where an id has no row yet, or where no id is known. The
      last row, of unknown ids, is the old last one.
    """
    rows = np.full(new.cardinality + 1, FRESH, np.int64)
    if new.encoding in _BY_TEXT:
        places = {text: place for place, text in enumerate(old.vocabulary)}
        known = [places.get(text, FRESH) for text in new.vocabulary]
    else:
        known = list(range(min(old.cardinality, new.cardinality)))
    rows[: len(known)] = known
    rows[-1] = old.cardinality
    return rows


def of_schemas(old: schema_lib.Schema, new: schema_lib.Schema) -> "dict[str, np.ndarray]":
    """`of_feature` of every categorical feature, by its name; both schemas have the same ones."""
    before = {feature.name: feature for feature in old.categorical}
    return {feature.name: of_feature(before[feature.name], feature) for feature in new.categorical}


def taken(value: np.ndarray, fresh: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The new table: rows of the old one where there are any, else fresh ones.

    Args:
      value: the old table, [old rows, width].
      fresh: the new one's first values, [new rows, width].
      rows: see `of_feature`.
    """
    return np.where((rows == FRESH)[:, np.newaxis], fresh, value[rows]).astype(fresh.dtype)


def new_words(feature: schema_lib.Categorical, rows: np.ndarray) -> int:
    """How many words of a feature's new vocabulary have no row yet."""
    return int((rows[: len(feature.vocabulary)] == FRESH).sum())
