"""What a trained model does on a scenario's own rows: how calibrated it is, what it goes by.

Both need the rows, so they are computed where these are, at the scenario's own client; what is left
of them is a summary in a few numbers, as exact as metrics are when they leave a client.

References:
  Breiman, "Random Forests", Machine Learning 45, 2001; Fisher, Rudin and Dominici, "All Models are
  Wrong, but Many are Useful", JMLR 20, 2019 (permutation importance). Guo et al., "On Calibration
  of Modern Neural Networks", ICML 2017 (reliability diagrams).
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Callable, Optional

import numpy as np
import tensorflow as tf

from pfrec import coarsening, errors, metrics
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import pipeline, row_block
from pfrec.models.mmoe import first_layer

PARTS = 10

# Logits, float32 [rows, tasks], of rows.
Predict = Callable[[row_block.Rows], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Feature:
    """A feature and where it stands in rows.

    Attributes:
      name: of it.
      columns: its columns, of the ids or of the numbers.
      categorical: which of the two.
    """

    name: str
    columns: slice
    categorical: bool


def features(schema: schema_lib.Schema) -> "list[Feature]":
    """All features of a schema; a list of values, or a vector, is one."""
    found, start = [], 0
    for one in schema.categorical:
        found.append(Feature(one.name, slice(start, start + one.values), True))
        start += one.values
    numbers = [
        Feature(one.name, place, False)
        for one, place in zip(schema.numerical, schema.number_places)
    ]
    return found + numbers


def predictor(network: tf.keras.Model, schema: schema_lib.Schema) -> Predict:
    """What a network predicts of rows, by one graph for all calls."""
    tasks = [task.name for task in schema.tasks]

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, schema.id_columns], tf.int32),
            tf.TensorSpec([None, schema.number_columns], tf.float32),
        ]
    )
    @tf.autograph.experimental.do_not_convert
    def logits(ids: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        with first_layer.expected_rows(pipeline.EVALUATION_ROWS):
            found = network({"categorical": ids, "numerical": numbers}, training=False)
        return tf.stack([tf.reshape(found[task], [-1]) for task in tasks], axis=1)

    def predict(rows: row_block.Rows) -> np.ndarray:
        starts = range(0, max(1, len(rows)), pipeline.EVALUATION_ROWS)
        batches = [rows.take(slice(start, start + pipeline.EVALUATION_ROWS)) for start in starts]
        return np.concatenate(
            [logits(tf.constant(b.categorical), tf.constant(b.numerical)).numpy() for b in batches]
        )

    return predict


def read_rows(
    paths: Sequence[str], schema: schema_lib.Schema, most: Optional[int] = None
) -> row_block.Rows:
    """The rows of some shards, the first `most` of them. Shards hold rows in random order.

    Raises:
      PfrecError: where there are none.
    """
    parts: list[row_block.Rows] = []
    count = 0
    for record in tf.data.TFRecordDataset(list(paths)).as_numpy_iterator():
        parts.append(row_block.decode(record, schema))
        count += len(parts[-1])
        if most is not None and count >= most:
            break
    if not parts:
        raise errors.PfrecError(f"{', '.join(paths)}: no rows; convert the raw data again")
    return row_block.joined(parts).take(slice(0, most))


def importance(
    predict: Predict, rows: row_block.Rows, schema: schema_lib.Schema, *, repeats: int, seed: int
) -> "dict[str, dict[str, Optional[dict[str, float]]]]":
    """How much lower a task's AUC is where a feature has the values of other rows.

    Formula: `AUC - mean over repeats of AUC with the feature's values permuted among the rows`. The
    permutation of a feature and repeat follows from the seed and their numbers alone.

    Args:
      predict: the model.
      rows: to measure on, of one scenario.
      schema: of them.
      repeats: how many permutations, at least one.
      seed: of the permutations.

    Returns:
      By task and feature `mean` and `deviation` over repeats, exactly 0 where the model ignores the
      feature; None for a task without rows of both classes.
    """
    measure = _Auc(rows.labels)
    whole = measure(predict(rows))
    found: dict[str, dict[str, Optional[dict[str, float]]]] = {
        task.name: {} for task in schema.tasks
    }
    for number, feature in enumerate(features(schema)):
        lost = []
        for repeat in range(repeats):
            order = np.random.default_rng([seed, number, repeat]).permutation(len(rows))
            lost.append(whole - measure(predict(_permuted(rows, feature, order))))
        for place, task in enumerate(schema.tasks):
            own = np.array(lost)[:, place]
            known = not np.isnan(own).any()
            found[task.name][feature.name] = (
                {
                    "mean": _told(float(own.mean())),
                    "deviation": _told(float(own.std(ddof=1)) if repeats > 1 else 0.0),
                }
                if known
                else None
            )
    return found


def calibration(
    labels: np.ndarray, logits: np.ndarray, tasks: Sequence[str], parts: int = PARTS
) -> "dict[str, list[dict[str, Any]]]":
    """How often labels are 1 where so much is predicted, in parts of equal size by prediction.

    Args:
      labels: uint8 [rows, tasks]; rows whose label is not observed do not count.
      logits: float [rows, tasks].
      tasks: their names.
      parts: how many, fewer where there are fewer rows.

    Returns:
      By task, ascending in prediction: `rows`, `positives` and `predicted`, the mean probability;
      nothing for a task without rows or with predictions that are no numbers.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for place, task in enumerate(tasks):
        observed = labels[:, place] != metrics.UNOBSERVED
        label = labels[observed, place] != 0
        probability = 1.0 / (1.0 + np.exp(-logits[observed, place].astype(np.float64)))
        if not len(label) or np.isnan(probability).any():
            continue
        order = np.argsort(probability, kind="stable")
        found[task] = [
            {
                "rows": len(part),
                "positives": int(label[part].sum()),
                "predicted": float(probability[part].mean()),
            }
            for part in np.array_split(order, min(parts, len(order)))
        ]
    return found


class _Auc:
    """AUC by task, float64 [tasks], of scores [rows, tasks]."""

    def __init__(self, labels: np.ndarray) -> None:
        self._labels = labels
        self._compute = tf.function(metrics.auc)

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        columns = zip(self._labels.T, scores.T)
        return np.array(
            [
                self._compute(
                    tf.constant(label == 1),
                    tf.constant(score),
                    tf.constant(label != metrics.UNOBSERVED),
                ).numpy()
                for label, score in columns
            ]
        )


def _permuted(rows: row_block.Rows, feature: Feature, order: np.ndarray) -> row_block.Rows:
    name = "categorical" if feature.categorical else "numerical"
    values = getattr(rows, name).copy()
    values[:, feature.columns] = values[order, feature.columns]
    return dataclasses.replace(rows, **{name: values})


def _told(value: float) -> float:
    return round(value, coarsening.METRIC_DECIMALS) + 0.0  # no -0
