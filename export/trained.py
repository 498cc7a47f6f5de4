"""The one place where exports read a finished run."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from export import serving_request
from pfrec import files, run_directory
from pfrec.data import row_block
from pfrec.data import schema as schema_lib


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A scenario's trained model and what is needed to check its export.

    Attributes:
      scenario: which it was trained for.
      network: maps `{"categorical": int32 [rows, features], "numerical": float32 [rows, features]}` to `{task: logits [rows]}`.
      schema: of the features and tasks.
      rows: some rows of its data.
      run: `id` (of the training's configuration) and `round`.
    """

    scenario: str
    network: tf.keras.Model
    schema: schema_lib.Schema
    rows: row_block.Rows
    run: Mapping[str, object]

    def predict(self, request: Mapping[str, np.ndarray]) -> "dict[str, np.ndarray]":
        """Probabilities, float32 [rows] per task, computed without any exported graph."""
        ids, numbers = serving_request.reference_ids(request, self.schema)
        with tf.device("/CPU:0"):
            logits = self.network({"categorical": tf.constant(ids), "numerical": tf.constant(numbers)}, training=False)
            return {task.name: tf.reshape(tf.sigmoid(logits[task.name]), [-1]).numpy() for task in self.schema.tasks}


class Run:
    """A finished run.

    Args:
      path: of the run directory.

    Attributes:
      scenarios: names of its scenarios.

    Raises:
      PfrecError: where there is no run or it is not finished.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._run = run_directory.open_run(path)
        self.scenarios: tuple[str, ...] = tuple(self._run.scenarios)

    def trained(self, scenario: str, rows: int) -> TrainedModel:
        """A scenario's model after the best round, with up to `rows` rows of its training data.

        Raises:
          PfrecError: where its files are damaged.
        """
        # The configuration decides everything about a run, and its text is equal wherever the run directory is copied to.
        identity = hashlib.sha256(files.json_text(self._run.config).encode()).hexdigest()[:16]
        return TrainedModel(
            scenario=scenario,
            network=self._run.load_model(scenario),
            schema=self._run.schema,
            rows=self._run.sample_rows(scenario, "train", rows),
            run={"id": identity, "round": self._run.summary["best_round"]},
        )
