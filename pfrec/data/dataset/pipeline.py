"""Reading shards with graph operations alone,
so that a client's computation can do it in a worker without Python.

Order and masks are functions of (seed, epoch): blocks are shuffled, then rows within a window of
blocks. A round that starts in the middle of an epoch continues where the round before it stopped. A
federated client's seed is `order_seed` of a secret that never leaves it: who knows the order of
rows knows whose rows a step of training changed the model by.
"""

from collections.abc import Mapping
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from pfrec.data import schema as schema_lib
from pfrec.data.dataset import row_block

# Rows are shuffled within windows of this many blocks (65,536 rows), blocks within a buffer of as
# many.
WINDOW_BLOCKS = 256
# Rows of a batch of evaluation.
EVALUATION_ROWS = 8192


def decode_blocks(records: tf.Tensor, schema: schema_lib.Schema) -> dict[str, tf.Tensor]:
    """Decodes row blocks (see `row_block`).

    Args:
      records: string [blocks].
      schema: of the rows.

    Returns:
      `categorical` int32 [rows, `schema.id_columns`], `numerical` float32 [rows,
      `schema.number_columns`], `labels` uint8 [rows, tasks], and where the schema has such a column
      `group` int64 [rows] and `weight` float32 [rows].
    """
    rows = tf.strings.length(records) // schema.row_bytes
    offset = tf.zeros_like(rows)

    def section(dtype: tf.DType, columns: int) -> tf.Tensor:
        nonlocal offset
        length = rows * (dtype.size * columns)
        joined = tf.strings.reduce_join(tf.strings.substr(records, offset, length))
        offset += length
        return tf.reshape(
            tf.io.decode_raw(joined, dtype), [-1, columns] if columns else [tf.reduce_sum(rows), 0]
        )

    decoded = {
        "categorical": section(tf.int32, schema.id_columns),
        "numerical": section(tf.float32, schema.number_columns),
        "labels": section(tf.uint8, len(schema.tasks)),
    }
    if schema.group is not None:
        decoded["group"] = section(tf.int64, 1)[:, 0]
    if schema.weight is not None:
        decoded["weight"] = section(tf.float32, 1)[:, 0]
    return decoded


def decode(blocks: Any, schema: schema_lib.Schema) -> dict[str, tf.Tensor]:
    """Decodes row blocks, with the scenario of each row where the blocks come with theirs.

    Args:
      blocks: string [blocks], or a pair of those and int32 [blocks], the scenario of each.
      schema: of the rows.

    Returns:
      see `decode_blocks`; of a pair also `scenario`, int32 [rows].
    """
    records, scenario = blocks if isinstance(blocks, tuple) else (blocks, None)
    rows = decode_blocks(records, schema)
    if scenario is not None:
        rows["scenario"] = tf.repeat(scenario, tf.strings.length(records) // schema.row_bytes)
    return rows


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Whole batches in an epoch, at least one; the rows left over differ from epoch to epoch."""
    return max(1, rows // batch_size)


def shuffled_blocks(
    shards: tf.Tensor, seed: Any, epoch: Any, scenarios: Optional[tf.Tensor] = None
) -> tf.data.Dataset:
    """The records of an epoch in its order; with `scenarios` pairs of a record and its scenario.

    Arguments: see `epoch_batches`.
    """
    read = tf.data.TFRecordDataset(shards)
    if scenarios is not None:
        read = tf.data.Dataset.from_tensor_slices((shards, scenarios)).flat_map(_of_scenario)
    return read.shuffle(WINDOW_BLOCKS, seed=seed * 1_000_003 + epoch)


def window_order(rows: tf.Tensor, seed: Any, epoch: Any, window: tf.Tensor) -> tf.Tensor:
    """The order of a window's rows, int32 [rows]; `window` is its number, an int64 scalar."""
    window_seed = tf.random.experimental.stateless_fold_in(tf.stack([seed, epoch]), window)
    return tf.argsort(tf.random.stateless_uniform([rows], window_seed))


def epoch_batches(
    shards: tf.Tensor,
    schema: schema_lib.Schema,
    batch_size: int,
    *,
    seed: Any,
    epoch: Any,
    first_step: Any,
    steps: Any,
    scenarios: Optional[tf.Tensor] = None,
) -> tf.data.Dataset:
    """A stretch of the batches of one epoch.

    Args:
      shards: string [shards], paths.
      schema: of the rows.
      batch_size: rows of a batch.
      seed: int64 scalar; decides the order.
      epoch: int64 scalar, which one, from 0.
      first_step: int64 scalar, where in the epoch to begin.
      steps: int64 scalar, how many batches at most.
      scenarios: int32 [shards], the scenario of each shard's rows, where a model reads it; the
        order of the rows does not depend on it.

    Returns:
      batches, see `decode_blocks`; with `scenarios` also `scenario`, int32 [rows].
    """

    @tf.autograph.experimental.do_not_convert
    def permute(window: tf.Tensor, blocks: Any) -> dict[str, tf.Tensor]:
        rows = decode(blocks, schema)
        order = window_order(tf.shape(rows["labels"])[0], seed, epoch, window)
        return {name: tf.gather(value, order) for name, value in rows.items()}

    windows = (
        shuffled_blocks(shards, seed, epoch, scenarios)
        .batch(WINDOW_BLOCKS)
        .enumerate()
        .map(permute)
    )
    return windows.rebatch(batch_size).skip(first_step).take(steps)


def training_batches(
    shards: tf.Tensor,
    schema: schema_lib.Schema,
    batch_size: int,
    *,
    seed: Any,
    first_step: Any,
    steps: Any,
    epoch_steps: Any,
    scenarios: Optional[tf.Tensor] = None,
) -> tf.data.Dataset:
    """The batches of one round of training as one dataset, for loops outside of a graph.

    Args:
      shards: string [shards], paths.
      schema: of the rows.
      batch_size: rows of a batch.
      seed: int64 scalar; decides order and dropout masks.
      first_step: int64 scalar, steps before this round.
      steps: int64 scalar, steps of this round.
      epoch_steps: int64 scalar, `steps_per_epoch`.
      scenarios: see `epoch_batches`.

    Returns:
      batches, see `epoch_batches`, with `dropout_seed`, int64 [2].
    """
    seed, first_step, steps, epoch_steps = (
        tf.cast(v, tf.int64) for v in (seed, first_step, steps, epoch_steps)
    )

    @tf.autograph.experimental.do_not_convert
    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        return epoch_batches(
            shards,
            schema,
            batch_size,
            seed=seed,
            epoch=number,
            first_step=0,
            steps=epoch_steps,
            scenarios=scenarios,
        )

    @tf.autograph.experimental.do_not_convert
    def with_seed(step: tf.Tensor, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {**batch, "dropout_seed": dropout_seed(seed, step)}

    epochs = tf.data.Dataset.range(first_step // epoch_steps, tf.int64.max).flat_map(epoch)
    return (
        epochs.skip(first_step % epoch_steps)
        .take(steps)
        .enumerate(first_step)
        .map(with_seed)
        .prefetch(2)
    )


@tf.autograph.experimental.do_not_convert
def _of_scenario(shard: tf.Tensor, scenario: tf.Tensor) -> tf.data.Dataset:
    return tf.data.Dataset.zip(
        (tf.data.TFRecordDataset(shard), tf.data.Dataset.from_tensors(scenario).repeat())
    )


@tf.autograph.experimental.do_not_convert
def dropout_seed(seed: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """The seed of a step's dropout masks, int64 [2]."""
    return tf.stack([seed, step])


@tf.autograph.experimental.do_not_convert
def evaluation_blocks(shards: tf.Tensor, batch_size: int = EVALUATION_ROWS) -> tf.data.Dataset:
    """The records of all rows once, in the order of the shards; string [blocks of a batch]."""
    return tf.data.TFRecordDataset(shards).batch(max(1, batch_size // row_block.ROWS_PER_BLOCK))


def evaluation_batches(
    shards: tf.Tensor, schema: schema_lib.Schema, batch_size: int = EVALUATION_ROWS
) -> tf.data.Dataset:
    """All rows once, in the order of the shards; batches, see `decode_blocks`."""

    @tf.autograph.experimental.do_not_convert
    def decode(records: tf.Tensor) -> Mapping[str, tf.Tensor]:
        return decode_blocks(records, schema)

    return evaluation_blocks(shards, batch_size).map(decode).prefetch(2)


def order_seed(secret: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """The seed of a federated client's row order and dropout masks, an int64 scalar: a function of
    its secret that does not tell it.

    Args:
      secret: int64 [2], the client's own.
      seed: int64 scalar, the run's.
    """
    return tf.random.experimental.stateless_fold_in(secret, seed)[0]


def simulated_secret(seed: int, client: int) -> np.ndarray:
    """The secret of a client in a simulation, whose owner owns all secrets: int64 [2],
    a function of the run's seed.
    """
    return np.random.SeedSequence([seed, client]).generate_state(2, np.uint64).view(np.int64)


def stream_seed(seed: int, client: int) -> int:
    """The seed of pooled training's row order and dropout masks, in 1 to 2**31 - 1."""
    return 1 + int(np.random.SeedSequence([seed, client]).generate_state(1)[0] % (2**31 - 1))
