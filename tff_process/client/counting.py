"""How often a client's rows hold the ids of shared tables, which it is asked for once a run."""

import collections

import tensorflow as tf

from pfrec import coarsening
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import pipeline, windows
from tff_process.client import variables

# Autograph would rewrite what it meets; only the loop over rows needs it.
_plain = tf.autograph.experimental.do_not_convert


def count_ids(
    layout: variables.ModelVariables, schema: schema_lib.Schema, shards: tf.Tensor
) -> "collections.OrderedDict[str, tf.Tensor]":
    """How often the rows of some shards hold each id of the shared tables, as coarse as
    `coarsening.id_counts` makes it.

    Args:
      layout: names the tables.
      schema: of the rows.
      shards: string [shards], paths.

    Returns:
      by the table's name, float32 [ids].
    """
    columns: dict[str, list[int]] = {}
    for feature, place in zip(schema.categorical, schema.id_places):
        columns.setdefault(feature.owner, []).extend(range(schema.id_columns)[place])
    counted = [spec for spec in layout.specs if spec.counts_rows]

    @_plain
    def occurrences(records: tf.Tensor) -> "tuple[tf.Tensor, ...]":
        ids = pipeline.decode_blocks(records, schema)["categorical"]
        return tuple(
            _occurrences(tf.gather(ids, columns[spec.member], axis=1), spec.shape[0])
            for spec in counted
        )

    @tf.function
    def count() -> "tuple[tf.Tensor, ...]":
        totals = tuple(tf.zeros([spec.shape[0]], tf.int64) for spec in counted)
        for records in iter(windows.lean(pipeline.evaluation_blocks(shards))):
            totals = tuple(total + found for total, found in zip(totals, occurrences(records)))
        return totals

    # Without a table there is nothing to read for.
    totals = count() if counted else ()
    return collections.OrderedDict(
        (spec.name, coarsening.id_counts(total)) for spec, total in zip(counted, totals)
    )


def _occurrences(ids: tf.Tensor, rows: int) -> tf.Tensor:
    """How often each row of a table stands among ids of any shape, int64 [rows]."""
    flat = (
        ids[:, 0]
        if ids.shape[1] == 1
        else tf.boolean_mask(ids, tf.not_equal(ids, schema_lib.NO_VALUE))
    )
    return tf.ensure_shape(
        tf.math.bincount(flat, minlength=rows, maxlength=rows, dtype=tf.int64), [rows]
    )
