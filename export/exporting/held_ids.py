"""How many training rows hold each id of a feature."""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from pfrec.data import schema as schema_lib
from pfrec.data.dataset import row_block


def of_rows(
    shards: "Sequence[str]", schema: schema_lib.Schema, *, shared: bool = False
) -> "dict[str, np.ndarray]":
    """How many rows of some shards hold each id of the private tables.

    Args:
      shards: paths.
      schema: of their rows.
      shared: whether those of the shared tables are counted too.

    Returns:
      by the feature that a table belongs to, int64 [cardinality + 1], the last of the unknown id.
    """
    counts = {
        feature.name: np.zeros(feature.cardinality + 1, np.int64)
        for feature in schema.categorical
        if (shared or feature.policy == "private") and not feature.table
    }
    columns: dict[str, list[int]] = {}
    for feature, place in zip(schema.categorical, schema.id_places):
        columns.setdefault(feature.owner, []).extend(range(schema.id_columns)[place])
    for shard in shards:
        for record in tf.data.TFRecordDataset(shard).as_numpy_iterator():
            ids = row_block.decode(record, schema).categorical
            for name, count in counts.items():
                found, rows = np.unique(_once_a_row(ids[:, columns[name]]), return_counts=True)
                count[found] += rows
    return counts


def _once_a_row(ids: np.ndarray) -> np.ndarray:
    """The ids of lists [rows, values], each once for every row that holds it."""
    ordered = np.sort(ids, axis=1)
    first = np.ones(ordered.shape, bool)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return ordered[first & (ordered != schema_lib.NO_VALUE)]


def of_tables(
    tables: "Mapping[str, np.ndarray]", first: "Mapping[str, np.ndarray]"
) -> "dict[str, np.ndarray]":
    """What can be said of `of_rows` where the rows are gone: 0 for ids whose row of a table is as
    training began with it, and more than any bound for the others.

    Args:
      tables, first: by private feature, now and at the start of the training.
    """
    most = np.iinfo(np.int64).max
    return {
        name: np.where((table == first[name]).all(axis=1), 0, most)
        for name, table in tables.items()
    }
