"""The models that score: of a run, of a silo's own directory, or versions that were exported."""

import pathlib
from collections.abc import Mapping
from typing import Any, Callable, Protocol

import numpy as np

from export import interface
from export.graph import requests
from pfrec import errors
from pfrec.data import schema as schema_lib

Predict = Callable[[requests.Request], "dict[str, np.ndarray]"]


class Models(Protocol):
    """The models of some scenarios.

    Attributes:
      scenarios: that have one.
      schema: whose features and tasks all of them have; encodings may differ.
    """

    scenarios: "tuple[str, ...]"
    schema: schema_lib.Schema

    def load(self, scenario: str) -> Predict:
        """The model of a scenario: from a request to probabilities, float32 [rows], by task.

        Raises:
          PfrecError: where it is missing or damaged.
        """
        ...


class RunModels:
    """Those of a finished run after its best round.

    Args:
      path: of the run directory.

    Raises:
      PfrecError: where there is no run, or it is not finished.
    """

    def __init__(self, path: pathlib.Path) -> None:
        from pfrec import run_directory

        self._run = run_directory.open_run(path)
        self.scenarios = tuple(self._run.scenarios)
        self.schema = self._run.client_schema(self.scenarios[0])

    def load(self, scenario: str) -> Predict:
        """See `Models`."""
        return _in_memory(self._run.load_model(scenario), self._run.client_schema(scenario))


class ClientModels:
    """That of one silo, of its own directory.

    Args:
      path: of the client directory.

    Raises:
      PfrecError: where it is none, or damaged.
    """

    def __init__(self, path: pathlib.Path) -> None:
        from export.exporting import trained

        self._model = trained.ClientDirectory(path).trained(
            trained.ClientDirectory(path).scenarios[0], 1
        )
        self.scenarios: tuple[str, ...] = (self._model.scenario,)
        self.schema = self._model.schema

    def load(self, scenario: str) -> Predict:
        """See `Models`."""
        assert scenario == self._model.scenario
        return _in_memory(self._model.network, self._model.schema)


class ServedModels:
    """The versions that a model server would serve: the pinned ones, else the highest.

    Args:
      serving: the directory that pfrec-export wrote.

    Raises:
      PfrecError: where it holds no version of a scenario's model, or two models of a scenario.
    """

    def __init__(self, serving: pathlib.Path) -> None:
        from export.publishing import models_config, publish
        from export.version import manifest

        pinned = models_config.pinned(serving)
        self._directories: dict[str, pathlib.Path] = {}
        self._served: dict[str, interface.Interface] = {}
        for name in publish.models(serving):
            version = max(pinned.get(name) or publish.versions(serving / name))
            directory = serving / name / str(version)
            value = manifest.read(directory)
            scenario = value["scenario"]
            if scenario is None:
                continue  # a router, whose scenarios have models of their own
            if scenario in self._directories:
                raise errors.PfrecError(
                    f"{directory}: {self._directories[scenario]} is a model of {scenario} too; "
                    "move one elsewhere"
                )
            changed = manifest.differences(directory, value)
            if changed:
                raise errors.PfrecError(f"{directory}: {'; '.join(changed)}; export it again")
            self._directories[scenario] = directory
            self._served[scenario] = manifest.served_by(value, place=str(directory))
        if not self._directories:
            raise errors.PfrecError(
                f"{serving}: holds no version of a scenario's model; name what pfrec-export wrote "
                "as --serving"
            )
        self.scenarios = tuple(sorted(self._directories))
        self.schema = self._served[self.scenarios[0]].schema

    def load(self, scenario: str) -> Predict:
        """See `Models`."""
        from export.checks import c_library, saved_graph

        directory, served = self._directories[scenario], self._served[scenario]
        graph = saved_graph.read(directory, served)
        if graph.not_allowed:
            raise errors.PfrecError(
                f"{directory}: holds what exports do not: {', '.join(graph.not_allowed)}; it is "
                "not run; export it again"
            )
        names = graph.names[interface.SERVE]
        try:
            session = c_library.Session(str(directory))
        except c_library.CLibraryError as error:
            raise errors.PfrecError(f"{directory}: does not load ({error})") from error

        def predict(request: requests.Request) -> "dict[str, np.ndarray]":
            fed = {names.inputs[name]: values for name, values in request.items()}
            try:
                found = session.call(fed, list(names.outputs.values()))
            except c_library.CLibraryError as error:
                raise errors.PfrecError(f"{directory}: refused a batch ({error})") from error
            return dict(zip(names.outputs, found))

        return predict


def mean(predictions: "list[Mapping[str, np.ndarray]]") -> "dict[str, np.ndarray]":
    """The mean of what several models say of the same rows, by task."""
    return {
        task: np.mean([one[task] for one in predictions], axis=0, dtype=np.float64).astype(
            np.float32
        )
        for task in predictions[0]
    }


def _in_memory(network: Any, schema: schema_lib.Schema) -> Predict:
    """A trained network as pfrec-export would serve it, without writing it."""
    import tensorflow as tf

    from export.graph import folded_network, folding, serving_module

    if folding.can_fold(network):
        network = folded_network.FoldedNetwork(folding.fold(network))
    module = serving_module.ServingModule(network, interface.Interface(schema))

    def predict(request: requests.Request) -> "dict[str, np.ndarray]":
        with tf.device("/CPU:0"):
            found = module.functions[interface.SERVE](
                **{
                    name: tf.constant(values, tf.string if values.dtype == object else values.dtype)
                    for name, values in request.items()
                }
            )
        return {task: values.numpy() for task, values in found.items()}

    return predict
