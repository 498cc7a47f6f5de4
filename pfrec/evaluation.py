"""Evaluating a model on shards, with graph operations alone, and a whole run by it."""

import os
import pathlib
from typing import Any, Callable, Optional, Union

import tensorflow as tf

from pfrec import cells, metrics, run_directory, run_model
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import pipeline, windows
from pfrec.models.mmoe import first_layer


def evaluate(
    run: "Union[str, os.PathLike[str]]",
    *,
    split: str = "test",
    data: "Union[str, os.PathLike[str], None]" = None,
) -> "dict[str, dict[str, dict[str, Optional[float]]]]":
    """Evaluates the saved models of a run, those of its best round.

        >>> import pfrec
        >>> found = pfrec.evaluate("run", split="valid")
        >>> sorted(found), sorted(found["nl"])
        (['fr', 'nl'], ['buy', 'click'])
        >>> 0 < found["nl"]["click"]["auc"] < 1
        True

    Args:
      run: a finished run directory.
      split: `train`, `valid` or `test`.
      data: a dataset directory of the run's schema to evaluate on, each scenario that both know;
        None for the rows that the run was trained on.

    Returns:
      By scenario, task and metric (`metrics.METRICS`); None where a metric is not defined, and of a
      task that the scenario does not serve all of them, with `served` False.

    Raises:
      PfrecError: where the run or the data cannot be read, or do not fit each other.
    """
    opened = run_directory.open_run(pathlib.Path(run))
    dataset = opened.data(None if data is None else pathlib.Path(data))
    dataset.verify()
    found: dict[str, dict[str, dict[str, Optional[float]]]] = {}
    for scenario in [name for name in opened.scenarios if name in dataset.scenarios]:
        evaluator = Evaluator(run_model.load(opened, scenario), opened.schema)
        values = evaluator(tf.constant(dataset.shards(scenario, split))).numpy()
        served = opened.served(scenario)
        found[scenario] = {
            task.name: cells.plain(dict(zip(metrics.METRICS, row)))
            if task.name in served
            else cells.not_served(metrics.METRICS)
            for task, row in zip(opened.schema.tasks, values.tolist())
        }
    return found


class Evaluator:
    """Metrics of a network on all rows of some shards; keeps predictions and labels, never
    features, of more than one batch.

    Args:
      network: maps features to `{task: logits [rows]}`.
      schema: of the rows.
    """

    def __init__(self, network: tf.keras.Model, schema: schema_lib.Schema) -> None:
        self._network, self._schema = network, schema
        self._run = tf.function(self._evaluate, input_signature=[tf.TensorSpec([None], tf.string)])

    def __call__(self, shards: tf.Tensor) -> tf.Tensor:
        """Evaluates.

        Args:
          shards: string [shards], paths.

        Returns:
          float64 [tasks, metrics], in the order of `metrics.METRICS`.
        """
        return self._run(shards)

    def each(
        self, shards: tf.Tensor, models: tf.Tensor, load: "Callable[[tf.Tensor], Any]"
    ) -> tf.Tensor:
        """Evaluates several models, each block of rows read once for all of them; inside a
        `tf.function`.

        Args:
          shards: string [shards], paths.
          models: how many there are, an int32 scalar.
          load: gives the network the values of a model, by its number from 0.

        Returns:
          float64 [models, tasks, metrics]; of a model what `__call__` says with its values.
        """
        measure = tf.autograph.experimental.do_not_convert(metrics.evaluate)
        give = tf.autograph.experimental.do_not_convert(load)
        tasks = len(self._schema.tasks)

        def predict_each(batch: "dict[str, tf.Tensor]") -> tf.Tensor:
            found = tf.TensorArray(tf.float32, models, element_shape=[None, tasks])
            for model in tf.range(models):
                give(model)
                found = found.write(model, self._predict(batch))
            return tf.transpose(found.stack(), [1, 0, 2])

        labels, logits, groups = self._over_blocks(shards, predict_each, [None, None, tasks])
        measured = tf.TensorArray(tf.float64, models, element_shape=[tasks, len(metrics.METRICS)])
        for model in tf.range(models):
            measured = measured.write(model, measure(labels, logits[:, model], groups))
        return measured.stack()

    # Autograph is for the loops: rewriting Keras and the metrics by it would take longer than
    # tracing them.
    @tf.autograph.experimental.do_not_convert
    def _predict(self, batch: "dict[str, tf.Tensor]") -> tf.Tensor:
        """Logits [rows, tasks]."""
        with first_layer.expected_rows(pipeline.EVALUATION_ROWS):
            predicted = self._network(batch, training=False)
        return tf.stack([predicted[task.name] for task in self._schema.tasks], axis=1)

    def _evaluate(self, shards: tf.Tensor) -> tf.Tensor:
        measure = tf.autograph.experimental.do_not_convert(metrics.evaluate)
        labels, logits, groups = self._over_blocks(
            shards, self._predict, [None, len(self._schema.tasks)]
        )
        return measure(labels, logits, groups)

    def _over_blocks(
        self,
        shards: tf.Tensor,
        predict: "Callable[[dict[str, tf.Tensor]], tf.Tensor]",
        shape: "list[int | None]",
    ) -> "tuple[tf.Tensor, tf.Tensor, Optional[tf.Tensor]]":
        """Labels [rows, tasks], what is predicted of a batch, of a shape, for all rows, and groups
        [rows] where there are any.
        """
        schema = self._schema

        def store(dtype: tf.DType, shape: "list[int | None]") -> tf.TensorArray:
            return tf.TensorArray(
                dtype, 0, dynamic_size=True, element_shape=shape, infer_shape=False
            )

        decode = tf.autograph.experimental.do_not_convert(
            lambda records: pipeline.decode_blocks(records, schema)
        )
        logits, labels, groups = (
            store(tf.float32, shape),
            store(tf.uint8, [None, len(schema.tasks)]),
            store(tf.int64, [None]),
        )
        number = 0  # not enumerate: the loop becomes a graph
        # An iterator, not the dataset: so the loop is part of the graph, where a dataset would
        # build its step anew in every call.
        for records in iter(windows.lean(pipeline.evaluation_blocks(shards))):
            batch = decode(records)
            logits = logits.write(number, predict(batch))
            labels = labels.write(number, batch["labels"])
            if schema.group is not None:
                groups = groups.write(number, batch["group"])
            number += 1  # noqa: SIM113
        grouped = groups.concat() if schema.group is not None else None
        return labels.concat(), logits.concat(), grouped
