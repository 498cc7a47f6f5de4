"""The one place where exports read trained models: of a finished run,
or of one silo's client directory.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any, Union

import numpy as np
import tensorflow as tf

from export import interface
from export.graph import requests as requests_lib
from pfrec import checkpoint, client_directory, errors, files, groups, run_directory
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import row_block, writer
from pfrec.models.mmoe import mmoe


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A scenario's trained model and what is needed to check its export.

    Attributes:
      scenario: which it was trained for.
      network: maps `{"categorical": int32 [rows, features], "numerical": float32 [rows, features]}`
        to `{task: logits [rows]}`.
      schema: of the features and tasks.
      rows: some rows of its data.
      run: `id` (of the training's configuration) and `round`.
      metrics: of the scenario's test rows, by task; empty where they are not known.
    """

    scenario: str
    network: tf.keras.Model
    schema: schema_lib.Schema
    rows: row_block.Rows
    run: Mapping[str, object]
    metrics: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    @property
    def served(self) -> interface.Interface:
        """What its export takes and gives."""
        return interface.Interface(self.schema)

    def requests(self) -> requests_lib.Request:
        """The request that stands for its rows."""
        return requests_lib.from_rows(self.rows, self.schema)

    def predict(self, request: Mapping[str, np.ndarray]) -> "dict[str, np.ndarray]":
        """Probabilities, float32 [rows] per task, computed without any exported graph."""
        ids, numbers = requests_lib.reference_ids(request, self.schema)
        with tf.device("/CPU:0"):
            logits = self.network(
                {"categorical": tf.constant(ids), "numerical": tf.constant(numbers)}, training=False
            )
            return {
                task.name: tf.reshape(tf.sigmoid(logits[task.name]), [-1]).numpy()
                for task in self.schema.tasks
            }


@dataclasses.dataclass(frozen=True)
class RoutedModels:
    """The trained models of several scenarios,
    to be exported as one that takes the scenario as an input.

    Attributes:
      models: one per scenario, all of one schema.

    Raises:
      PfrecError: where two scenarios' schemas differ, as those of client-local preprocessing do.
    """

    models: "tuple[TrainedModel, ...]"

    def __post_init__(self) -> None:
        first = self.models[0]
        for other in self.models[1:]:
            if other.schema != first.schema:
                raise errors.PfrecError(
                    f"--router: {first.scenario} and {other.scenario} encode their features "
                    "differently (local vocabularies or "
                    "normalisation), and one model for both would show each the other's; leave "
                    "the flag out"
                )

    @property
    def served(self) -> interface.Interface:
        """What its export takes and gives."""
        return interface.Interface(
            self.models[0].schema, tuple(model.scenario for model in self.models)
        )

    @property
    def run(self) -> Mapping[str, object]:
        """`id` and `round` of the training."""
        return self.models[0].run

    def requests(self) -> requests_lib.Request:
        """Rows of all scenarios, one of each in turn."""
        parts = []
        for model in self.models:
            own = model.requests()
            name = requests_lib.texts([model.scenario.encode()] * requests_lib.rows(own))
            parts.append({interface.SCENARIO: name, **own})
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        turns = np.concatenate([np.arange(requests_lib.rows(part)) for part in parts])
        return requests_lib.take(joined, np.argsort(turns, kind="stable"))

    def predict(self, request: Mapping[str, np.ndarray]) -> "dict[str, np.ndarray]":
        """Probabilities, float32 [rows] per task, each row's by the model of its scenario."""
        found = {
            task: np.zeros(requests_lib.rows(request), np.float32) for task in self.served.tasks()
        }
        for model in self.models:
            own = np.flatnonzero(request[interface.SCENARIO] == model.scenario.encode())
            if len(own):
                for task, values in model.predict(requests_lib.take(request, own)).items():
                    found[task][own] = values
        return found


Exportable = Union[TrainedModel, RoutedModels]


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
        return TrainedModel(
            scenario=scenario,
            network=self._run.load_model(scenario),
            schema=self._run.client_schema(scenario),
            rows=self._run.sample_rows(scenario, "train", rows),
            run={"id": _identity(self._run.config), "round": self._run.summary["best_round"]},
            metrics=self._run.summary.get("test", {}).get(scenario, {}),
        )


class ClientDirectory:
    """What one silo holds of its own model; nothing of another silo, and nothing of the server,
    is read.

    Its format is that of `pfrec.client_directory`. Of data/NL its own vocabularies and statistics
    are read where it has any (client_schema.json), and its training rows, without which random rows
    stand in for the warm-up requests.

    Args:
      path: of the client directory.

    Raises:
      PfrecError: where client.json is missing, damaged or of another version.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._path, self._record = path, client_directory.ClientRecord.read(path)
        self.scenarios: tuple[str, ...] = (self._record.scenario,)
        self._data = path / client_directory.DATA / self._record.scenario
        self._schema = self._record.schema
        if self._schema.local:
            # What the client knows of its own columns the server never saw, so client.json does
            # not hold it.
            self._schema = schema_lib.Schema.read(self._data / writer.CLIENT_SCHEMA_FILE)

    def trained(self, scenario: str, rows: int) -> TrainedModel:
        """The silo's model, with up to `rows` of its training rows.

        Raises:
          PfrecError: where a part is missing or damaged.
        """
        record = self._record
        places = record.private_path(self._path), record.shared_path(self._path)
        (private, _), (shared, _) = map(checkpoint.load, places)
        network = mmoe.build(self._schema, record.model, record.seed)
        for item in groups.tag(network):
            values = private if item.name in private else shared
            if item.name not in values:
                raise errors.PfrecError(
                    f"{self._path}: {item.name} is in neither {places[0].name} nor "
                    f"shared/{places[1].name}; train again"
                )
            item.variable.assign(values[item.name])
        return TrainedModel(
            scenario=scenario,
            network=network,
            schema=self._schema,
            rows=self._rows(rows),
            run={"id": record.run, "round": record.round},
            metrics=record.test,
        )

    def _rows(self, count: int) -> row_block.Rows:
        for shard in sorted(self._data.glob("train-*.tfrecord")):
            for record in tf.data.TFRecordDataset(str(shard)).take(1).as_numpy_iterator():
                return row_block.decode(record, self._schema).take(slice(0, count))
        ids, numbers = requests_lib.reference_ids(
            requests_lib.random(interface.Interface(self._schema), count, seed=2), self._schema
        )
        return row_block.Rows(ids, numbers, np.zeros((count, len(self._schema.tasks)), np.uint8))


Source = Union[Run, ClientDirectory]


def _identity(config: Mapping[str, Any]) -> str:
    # The configuration decides everything about a run, and its text is equal wherever the run
    # directory is copied to.
    return hashlib.sha256(files.json_text(config).encode()).hexdigest()[:16]
