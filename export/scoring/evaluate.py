"""Metrics of models on converted rows, which they are asked raw as by a client; of a run on rows
that are encoded as its own, `evaluation` is exact and faster.
"""

import os
import pathlib
from collections.abc import Iterator
from typing import Optional, Union

import numpy as np
import tensorflow as tf

from export import interface
from export.graph import requests
from export.scoring import models as models_lib
from pfrec import cells, errors, metrics
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import row_block

# What a float32 probability is kept away from 0 and 1 by, of which the logit is infinite.
_LEAST = 2.0**-24


def evaluate(
    models: models_lib.Models, data: "Union[str, os.PathLike[str]]", *, split: str = "test"
) -> "dict[str, dict[str, dict[str, Optional[float]]]]":
    """Evaluates models on data whose vocabularies and statistics may be others than theirs.

    A text of a hashed feature, which converted rows do not hold, is stood for by another of the
    same hash. Predictions and labels of a scenario are kept, features of one record at a time.

    Args:
      models: of a run, or those that a model server would serve.
      data: a directory that pfrec-convert wrote; each scenario that both know is evaluated.
      split: `train`, `valid` or `test`.

    Returns:
      By scenario, task and metric (`metrics.METRICS`); None where a metric is not defined, and of a
      task that a model does not serve all of them, with `served` False.

    Raises:
      PfrecError: where a model or the data cannot be read, or do not fit each other.
    """
    dataset = dataset_lib.Dataset.open(pathlib.Path(data))
    known = [name for name in models.scenarios if name in dataset.scenarios]
    if not known:
        raise errors.PfrecError(
            f"{dataset.path}: knows none of the scenarios that there are models of: "
            f"{', '.join(models.scenarios)}"
        )
    dataset.verify()
    found: dict[str, dict[str, dict[str, Optional[float]]]] = {}
    for scenario in known:
        values = _values(models, dataset, scenario, split)
        found[scenario] = {
            task.name: values.get(task.name, cells.not_served(metrics.METRICS))
            for task in dataset.schema.tasks
        }
    return found


def _values(
    models: models_lib.Models, dataset: dataset_lib.Dataset, scenario: str, split: str
) -> "dict[str, dict[str, Optional[float]]]":
    """The metrics of the tasks that a scenario's model serves and the data have labels of."""
    schema = dataset.client_schema(scenario)
    served = models.interface(scenario)
    different = set(served.inputs().items()) ^ set(interface.Interface(schema).inputs().items())
    if different:
        names = ", ".join(sorted({name for name, _ in different}))
        raise errors.PfrecError(
            f"{dataset.path}: has not the columns that {scenario}'s model takes ({names}); convert "
            "with the schema of its run"
        )
    places = {task.name: place for place, task in enumerate(schema.tasks)}
    tasks = [task for task in served.tasks() if task in places]
    if not tasks:
        raise errors.PfrecError(
            f"{dataset.path}: has labels of none of the tasks that {scenario}'s model serves "
            f"({', '.join(served.tasks())}); convert with the schema of its run"
        )
    predict = models.load(scenario)
    logits, labels, groups = [], [], []  # by record
    for rows in _records(dataset, scenario, schema, split):
        request = requests.from_rows(rows, schema)
        said = predict(requests.with_hashed_texts(request, rows, schema))
        logits.append(np.stack([_logit(said[task]) for task in tasks], axis=1))
        labels.append(rows.labels[:, [places[task] for task in tasks]])
        groups += [] if rows.group is None else [rows.group]
    grouped = tf.constant(np.concatenate(groups)) if groups else None
    told = metrics.evaluate(
        tf.constant(np.concatenate(labels)), tf.constant(np.concatenate(logits)), grouped
    )
    return {
        task: cells.plain(dict(zip(metrics.METRICS, row)))
        for task, row in zip(tasks, told.numpy().tolist())
    }


def _records(
    dataset: dataset_lib.Dataset, scenario: str, schema: schema_lib.Schema, split: str
) -> "Iterator[row_block.Rows]":
    shards = dataset.shards(scenario, split)
    for record in tf.data.TFRecordDataset(shards).as_numpy_iterator():
        yield row_block.decode(record, schema)


def _logit(probability: np.ndarray) -> np.ndarray:
    inside = np.clip(probability.astype(np.float64), _LEAST, 1.0 - _LEAST)
    return np.log(inside / (1.0 - inside))
