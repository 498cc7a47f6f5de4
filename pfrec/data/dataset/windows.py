"""The batches of `pipeline.epoch_batches` without its pipeline: a window of blocks is decoded at
once, and a batch gathered from it.

For loops that are part of a graph. Setting up a dataset's maps and rebatching takes longer than a
short stretch of training; reading windows of raw blocks takes a tenth of that, and the rest is a
few operations per window and one gather per batch.
"""

import dataclasses
from typing import Any, Optional

import tensorflow as tf

from pfrec.data import schema as schema_lib
from pfrec.data.dataset import pipeline

Rows = dict[str, tf.Tensor]
# Autograph is for loops over windows, which are a caller's: rewriting what has none takes longer
# than tracing it.
_plain = tf.autograph.experimental.do_not_convert
END = -1


@_plain
def lean(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The same dataset without the rewriting and tuning that only pay in long pipelines."""
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    options.autotune.enabled = False
    return dataset.with_options(options)


@_plain
def read(
    shards: tf.Tensor, seed: tf.Tensor, epoch: tf.Tensor, scenarios: Optional[tf.Tensor] = None
) -> tf.data.Dataset:
    """The windows of an epoch in order, (number, blocks), int64 scalar and what `pipeline.decode`
    takes: pairs where `scenarios` are given; after the last an empty one, `END`.
    """
    windows = pipeline.shuffled_blocks(shards, seed, epoch, scenarios).batch(pipeline.WINDOW_BLOCKS)
    # Not `enumerate`, which has each call rewrite a graph for a service that is not there.
    numbers = tf.data.Dataset.range(tf.int64.max)
    windows = tf.data.Dataset.zip((numbers, windows))
    end = tf.data.Dataset.from_tensors((tf.constant(END, tf.int64), _none(scenarios is not None)))
    return lean(windows.concatenate(end))


def _none(with_scenarios: bool) -> Any:
    """No blocks."""
    records = tf.zeros([0], tf.string)
    return (records, tf.zeros([0], tf.int32)) if with_scenarios else records


@_plain
def no_rows(schema: schema_lib.Schema, with_scenarios: bool = False) -> Rows:
    """No rows, of the form that `pipeline.decode` gives them, of a shape that any number of rows
    may take in a loop.
    """
    rows = pipeline.decode(_none(with_scenarios), schema)
    return {
        name: tf.raw_ops.PlaceholderWithDefault(input=value, shape=[None, *value.shape[1:]])
        for name, value in rows.items()
    }


@dataclasses.dataclass(frozen=True)
class Window:
    """Rows in the order of an epoch.

    Attributes:
      rows: see `pipeline.decode`, in any order.
      order: int32 [rows], which row comes when.
    """

    rows: Rows
    order: tf.Tensor

    @classmethod
    @_plain
    def of(
        cls,
        rest: Rows,
        blocks: Any,
        schema: schema_lib.Schema,
        seed: tf.Tensor,
        epoch: tf.Tensor,
        number: tf.Tensor,
    ) -> "Window":
        """A window behind the rows that the one before left over.

        Args:
          rest: rows left over, in order.
          blocks: the window's, see `pipeline.decode`.
          schema: of the rows.
          seed, epoch: int64 scalars.
          number: int64 scalar, of the window.
        """
        decoded = pipeline.decode(blocks, schema)
        before = tf.shape(rest["labels"])[0]
        order = pipeline.window_order(tf.shape(decoded["labels"])[0], seed, epoch, number)
        joined = {name: tf.concat([rest[name], value], 0) for name, value in decoded.items()}
        return cls(joined, tf.concat([tf.range(before), order + before], 0))

    @_plain
    def batches(
        self, batch_size: int, number: tf.Tensor, passed: tf.Tensor
    ) -> "tuple[tf.Tensor, tf.Tensor]":
        """The rows of a batch, and how many there are in this window; int64 scalars.

        Args:
          batch_size: rows of a whole batch. An epoch with fewer rows is one batch of them all.
          number: int64 scalar, of the window.
          passed: int64 scalar, batches of the windows before.
        """
        rows = tf.size(self.order, tf.int64)
        # Not ==, which compares objects in the graphs that TFF builds.
        alone = tf.equal(number, END) & tf.equal(passed, 0) & (rows > 0)
        size = tf.where(alone, rows, batch_size)
        return size, rows // size

    @_plain
    def batch(self, number: tf.Tensor, size: tf.Tensor) -> Rows:
        """Batch `number`, from 0, of those of `size` rows."""
        return self._take(self.order[number * size : (number + 1) * size])

    @_plain
    def after(self, number: tf.Tensor, size: tf.Tensor) -> Rows:
        """The rows left over by the first `number` batches of `size` rows."""
        return self._take(self.order[number * size :])

    def _take(self, places: tf.Tensor) -> Rows:
        return {name: tf.gather(value, places) for name, value in self.rows.items()}
