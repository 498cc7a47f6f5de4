"""The one place where exports read trained models: of a finished run,
or of one silo's client directory.
"""

import dataclasses
import functools
import logging
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Optional, Union

import numpy as np
import tensorflow as tf

from export import interface
from export.exporting import held_ids
from export.graph import requests as requests_lib
from pfrec import cells, client_model, errors, run_data, run_directory, run_model
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import row_block
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A scenario's trained model and what is needed to check its export.

    Attributes:
      scenario: which it was trained for.
      network: maps `{"categorical": int32 [rows, features], "numerical": float32 [rows, features]}`
        to `{task: logits [rows]}`.
      schema: of the features and of the tasks that the scenario serves.
      rows: some rows of its data.
      run: `id` (of the training's configuration) and `round`.
      metrics: of the scenario's test rows, by task; empty where they are not known.
      stand_in: whether `rows` are random ones: those that it was trained on are not there.
      held: how many training rows hold each id, by private feature (`held_ids`); empty where that
        means nothing, as in a model of all scenarios' rows together.
      counts: the same by every feature with a table, for whoever attacks the model; empty where
        the rows are gone.
      begin: makes a network of the values that its training began with; None where that means
        nothing.
      received: reads the network with the values that the client received last, in place of those
        that it made of them for itself; None where nothing is sent.
      own_vocabularies: the features whose vocabulary the scenario made of its own rows.
    """

    scenario: str
    network: tf.keras.Model
    schema: schema_lib.Schema
    rows: row_block.Rows
    run: Mapping[str, object]
    metrics: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    stand_in: bool = False
    held: "Callable[[], Mapping[str, np.ndarray]]" = dict
    counts: "Callable[[], Mapping[str, np.ndarray]]" = dict
    own_vocabularies: "frozenset[str]" = frozenset()
    begin: "Optional[Callable[[], tf.keras.Model]]" = None
    received: "Optional[Callable[[], tf.keras.Model]]" = None

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
                if other.schema.tasks != first.schema.tasks:
                    raise errors.PfrecError(
                        f"--router: {first.scenario} and {other.scenario} serve different tasks "
                        f"({_names(first.schema)}; {_names(other.schema)}), and a router gives "
                        "the same of all; leave the flag out"
                    )
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
    def stand_in(self) -> bool:
        """Whether rows of one of them are random ones."""
        return any(model.stand_in for model in self.models)

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


@dataclasses.dataclass(frozen=True)
class LabelledRows:
    """Rows of a scenario with labels.

    Attributes:
      rows: encoded.
      schema: by which; of the scenario's own client.
    """

    rows: row_block.Rows
    schema: schema_lib.Schema


def labelled(data: dataset_lib.Dataset, scenario: str, most: int) -> LabelledRows:
    """Up to `most` test rows of a scenario."""
    schema = data.client_schema(scenario)
    return LabelledRows(_first_rows(data, scenario, schema, most, "test"), schema)


def _names(schema: schema_lib.Schema) -> str:
    return ", ".join(task.name for task in schema.tasks)


Exportable = Union[TrainedModel, RoutedModels]


class Run:
    """A finished run. What its models mean it carries itself; its data are looked at for rows to
    check the exports with, and random rows stand in for those of a scenario that are not there, or
    are not those that it was trained on.

    Args:
      path: of the run directory.
      data: of its data, where they were moved; None for where it found them.

    Attributes:
      scenarios: names of its scenarios.

    Raises:
      PfrecError: where there is no run, it is not finished, or `data` are other rows than its own.
    """

    def __init__(self, path: pathlib.Path, data: Optional[pathlib.Path] = None) -> None:
        self._run = run_directory.open_run(path)
        if self._run.summary.get("fault"):
            raise errors.PfrecError(f"{path}: {self._run.summary['fault']}")
        self.scenarios: tuple[str, ...] = tuple(self._run.scenarios)
        self._data: Optional[dataset_lib.Dataset] = None
        if data is not None:
            self._data = self._run.data(data)
            others = run_data.changed(self._run.config, self._data)
            if others:
                raise errors.PfrecError(
                    f"--data={data}: holds other rows of {', '.join(others)} than {path} was "
                    "trained on; leave it out, and random rows check the exports"
                )
            return
        try:
            self._data = self._run.dataset
        except errors.PfrecError as error:
            _log.warning("random rows check the exports in place of the run's own: %s", error)

    def trained(self, scenario: str, rows: int) -> TrainedModel:
        """A scenario's model after the best round, with up to `rows` rows of its training data.

        Raises:
          PfrecError: where its files are damaged.
        """
        whole = self._run.client_schema(scenario)
        schema = whole.of_tasks(self._run.served(scenario))
        own = None
        if self._data is not None:
            own = of_tasks(_first_rows(self._data, scenario, whole, rows, "train"), whole, schema)
        network, config = run_model.load(self._run, scenario), self._run.config
        held: Callable[[], Mapping[str, np.ndarray]] = dict
        first: Optional[Callable[[], tf.keras.Model]] = None
        received: Optional[Callable[[], tf.keras.Model]] = None
        if not str(config["algorithm"]).startswith("pooled_"):
            shape = ModelConfig.from_json(config["model"])
            first = functools.partial(mmoe.build, whole, shape, config["seed"])
            held = functools.partial(_held, self._data, scenario, whole, network, first)
            if config["algorithm"] != "local":
                received = functools.partial(run_model.load, self._run, scenario, received=True)
        return TrainedModel(
            scenario=scenario,
            network=network,
            held=held,
            counts=functools.partial(_counts, self._data, scenario, whole),
            begin=first,
            received=received,
            own_vocabularies=_own_vocabularies(self._run.schema),
            schema=schema,
            rows=_random_rows(schema, rows) if own is None else own,
            run={"id": self._run.identity, "round": self._run.summary["best_round"]},
            metrics=self._run.summary.get("test", {}).get(scenario, {}),
            stand_in=own is None,
        )

    def test_rows(self, scenario: str, most: int) -> Optional[LabelledRows]:
        """Up to `most` of a scenario's test rows; None where they are not there any more."""
        return None if self._data is None else labelled(self._data, scenario, most)


class ClientDirectory:
    """What one silo holds of its own model; nothing of another silo, and nothing of the server,
    is read.

    Its format is that of `pfrec.client_directory`. Where its data are gone, or others than it was
    trained on, random rows check the exports.

    Args:
      path: of the client directory.

    Raises:
      PfrecError: where client.json is missing, damaged or of another version.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._client = client_model.ClientModel(path)
        self.scenarios: tuple[str, ...] = (self._client.record.scenario,)

    def trained(self, scenario: str, rows: int) -> TrainedModel:
        """The silo's model, with up to `rows` of its training rows.

        Raises:
          PfrecError: where a part is missing or damaged.
        """
        client, data = self._client, self._client.own_data()
        record, network = client.record, client.load()
        schema = client.schema.of_tasks(
            [t.name for t in client.schema.tasks if cells.served(record.test.get(t.name, {}))]
        )
        own = None
        if data is not None:
            found = _first_rows(data, scenario, client.schema, rows, "train")
            own = of_tasks(found, client.schema, schema)
        first = functools.partial(mmoe.build, client.schema, record.model, record.seed)
        return TrainedModel(
            scenario=scenario,
            network=network,
            schema=schema,
            rows=_random_rows(schema, rows) if own is None else own,
            stand_in=own is None,
            run={"id": record.run, "round": record.round},
            metrics=record.test,
            held=functools.partial(_held, data, scenario, client.schema, network, first),
            counts=functools.partial(_counts, data, scenario, client.schema),
            begin=first,
            received=functools.partial(client.load, received=True),
            own_vocabularies=_own_vocabularies(record.schema),
        )

    def test_rows(self, scenario: str, most: int) -> Optional[LabelledRows]:
        """Up to `most` of its test rows; None where they are not there any more."""
        data = self._client.own_data()
        return None if data is None else labelled(data, scenario, most)


Source = Union[Run, ClientDirectory]


def _first_rows(
    data: dataset_lib.Dataset,
    scenario: str,
    schema: schema_lib.Schema,
    count: int,
    split: str,
) -> row_block.Rows:
    """Up to `count` rows, the first ones of a scenario's split."""
    parts: list[row_block.Rows] = []
    shards = data.shards(scenario, split)
    for record in tf.data.TFRecordDataset(shards).as_numpy_iterator():
        parts.append(row_block.decode(record, schema))
        if sum(map(len, parts)) >= count:
            break
    if not parts:
        raise errors.PfrecError(f"{shards[0]}: no rows; convert the raw data again")
    return row_block.joined(parts).take(slice(0, count))


def of_tasks(
    rows: row_block.Rows, whole: schema_lib.Schema, served: schema_lib.Schema
) -> row_block.Rows:
    """The rows with the labels of the tasks that are served alone."""
    names = [task.name for task in whole.tasks]
    places = [names.index(task.name) for task in served.tasks]
    return dataclasses.replace(rows, labels=rows.labels[:, places])


def _own_vocabularies(agreed: schema_lib.Schema) -> "frozenset[str]":
    return frozenset(f.name for f in agreed.categorical if f.encoding == "local_vocabulary")


def _counts(
    data: Optional[dataset_lib.Dataset], scenario: str, schema: schema_lib.Schema
) -> "dict[str, np.ndarray]":
    """See `TrainedModel.counts`."""
    if data is None:
        return {}
    return held_ids.of_rows(data.shards(scenario, "train"), schema, shared=True)


def _held(
    data: Optional[dataset_lib.Dataset],
    scenario: str,
    schema: schema_lib.Schema,
    network: mmoe.MMoE,
    first: "Callable[[], mmoe.MMoE]",
) -> "dict[str, np.ndarray]":
    """See `TrainedModel.held`; where the rows are gone, of the tables and those that training
    began with.
    """
    if data is not None:
        return held_ids.of_rows(data.shards(scenario, "train"), schema)

    def tables(of: mmoe.MMoE) -> "dict[str, np.ndarray]":
        layers = zip(schema.categorical, of.embeddings)
        return {
            f.name: own.table.numpy() for f, own in layers if f.policy == "private" and not f.table
        }

    return held_ids.of_tables(tables(network), tables(first()))


def _random_rows(schema: schema_lib.Schema, count: int) -> row_block.Rows:
    request = requests_lib.random(interface.Interface(schema), count, seed=2)
    ids, numbers = requests_lib.reference_ids(request, schema)
    return row_block.Rows(ids, numbers, np.zeros((count, len(schema.tasks)), np.uint8))
