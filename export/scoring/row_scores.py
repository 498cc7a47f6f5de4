"""What a network makes of rows whose labels are known."""

import numpy as np
import tensorflow as tf

from pfrec.data import schema as schema_lib
from pfrec.data.dataset import row_block

_BATCH = 8_192


def losses(network: tf.keras.Model, rows: row_block.Rows, schema: schema_lib.Schema) -> np.ndarray:
    """The mean cross-entropy of each row's observed labels, float64 [rows]; 0 where there is
    none.
    """
    return _of_observed(np.logaddexp(0.0, -_agreement(network, rows, schema)), rows)


def confidences(
    network: tf.keras.Model, rows: row_block.Rows, schema: schema_lib.Schema
) -> np.ndarray:
    """The mean logit of each row's observed labels, log p - log(1 - p) of the probability p that
    the label has; float64 [rows], 0 where there is none. It is near normal where p is not
    (Carlini et al., IEEE S&P 2022).
    """
    return _of_observed(_agreement(network, rows, schema), rows)


def _agreement(
    network: tf.keras.Model, rows: row_block.Rows, schema: schema_lib.Schema
) -> np.ndarray:
    """Logits, their sign turned where the label is negative, float64 [rows, tasks]."""
    parts = []
    for start in range(0, len(rows), _BATCH):
        one = rows.take(slice(start, start + _BATCH))
        with tf.device("/CPU:0"):
            logits = network(
                {
                    "categorical": tf.constant(one.categorical),
                    "numerical": tf.constant(one.numerical),
                },
                training=False,
            )
        parts.append(
            np.stack([tf.reshape(logits[t.name], [-1]).numpy() for t in schema.tasks], axis=1)
        )
    found = np.concatenate(parts).astype(np.float64)
    return np.where(rows.labels == 1, found, -found)


def _of_observed(values: np.ndarray, rows: row_block.Rows) -> np.ndarray:
    observed = rows.labels != row_block.UNOBSERVED
    return np.where(observed, values, 0.0).sum(axis=1) / np.maximum(observed.sum(axis=1), 1)
