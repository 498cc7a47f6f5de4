"""The models that score: of a run, of a silo's own directory, or versions that were exported."""

import dataclasses
import pathlib
from collections.abc import Collection, Mapping
from typing import Any, Callable, Optional, Protocol

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
      schema: whose features all of them have, with the tasks of all of them; encodings may
        differ, and a scenario need not serve every task.
    """

    scenarios: "tuple[str, ...]"
    schema: schema_lib.Schema

    def interface(self, scenario: str) -> interface.Interface:
        """What the model of a scenario takes and gives."""
        ...

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

    def interface(self, scenario: str) -> interface.Interface:
        """See `Models`."""
        return interface.Interface(
            self._run.client_schema(scenario).of_tasks(self._run.served(scenario))
        )

    def load(self, scenario: str) -> Predict:
        """See `Models`."""
        from pfrec import run_model

        return _in_memory(run_model.load(self._run, scenario), self.interface(scenario).schema)


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

    def interface(self, scenario: str) -> interface.Interface:
        """See `Models`."""
        assert scenario == self._model.scenario
        return interface.Interface(self._model.schema)

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
        self._versions: dict[str, Version] = {}
        for directory in served_versions(serving).values():
            version = Version(directory)
            if version.scenario is None:
                continue  # a router, whose scenarios have models of their own
            if version.scenario in self._versions:
                other = self._versions[version.scenario].directory
                raise errors.PfrecError(
                    f"{directory}: {other} is a model of {version.scenario} too; move one elsewhere"
                )
            self._versions[version.scenario] = version
        if not self._versions:
            raise errors.PfrecError(
                f"{serving}: holds no version of a scenario's model; name what pfrec-export wrote "
                "as --serving"
            )
        self.scenarios = tuple(sorted(self._versions))
        schemas = [self._versions[name].served.schema for name in self.scenarios]
        tasks = {task.name: task for schema in schemas for task in schema.tasks}
        self.schema = dataclasses.replace(schemas[0], tasks=tuple(tasks.values()))

    def interface(self, scenario: str) -> interface.Interface:
        """See `Models`."""
        return self._versions[scenario].served

    def load(self, scenario: str) -> Predict:
        """See `Models`."""
        version = self._versions[scenario]
        version.load()
        return version.predict


def served_versions(
    serving: pathlib.Path, names: "Optional[Collection[str]]" = None
) -> "dict[str, pathlib.Path]":
    """The directory of the version that a model server would serve, by the model's name.

    Args:
      serving: the serving directory.
      names: of the models that are asked for; None for all.

    Raises:
      PfrecError: where models.config cannot be understood.
    """
    from export.publishing import models_config

    return {
        name: serving / name / str(version)
        for name, version in models_config.served(serving).items()
        if names is None or name in names
    }


class Version:
    """One exported version, which is loaded when it is first asked.

    Args:
      directory: of the version.

    Attributes:
      directory: the same.
      version: its number.
      scenario: that it is a model of; None for a router.
      served: what it takes and gives.

    Raises:
      PfrecError: where a file of it is missing or changed.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        from export.version import manifest

        value = manifest.read(directory)
        changed = manifest.differences(directory, value)
        if changed:
            raise errors.PfrecError(f"{directory}: {'; '.join(changed)}; export it again")
        self.directory, self.version = directory, int(directory.name)
        self.scenario: Optional[str] = value["scenario"]
        self.served = manifest.served_by(value, place=str(directory))
        self._session: Any = None

    def load(self) -> None:
        """Loads it, where that is not done yet.

        Raises:
          PfrecError: where it does not load, or holds what exports do not.
        """
        from export.checks import c_library, saved_graph

        if self._session is not None:
            return
        graph = saved_graph.read(self.directory, self.served)
        if graph.not_allowed:
            raise errors.PfrecError(
                f"{self.directory}: holds what exports do not: {', '.join(graph.not_allowed)}; it "
                "is not run; export it again"
            )
        self._names = graph.names[interface.SERVE]
        try:
            self._session = c_library.Session(str(self.directory))
        except c_library.CLibraryError as error:
            raise errors.PfrecError(f"{self.directory}: does not load ({error})") from error

    def predict(self, request: requests.Request) -> "dict[str, np.ndarray]":
        """From a request to probabilities, float32 [rows], by task.

        Raises:
          PfrecError: where it is refused.
        """
        from export.checks import c_library

        self.load()
        fed = {self._names.inputs[name]: values for name, values in request.items()}
        try:
            found = self._session.call(fed, list(self._names.outputs.values()))
        except c_library.CLibraryError as error:
            raise errors.PfrecError(f"{self.directory}: refused a batch ({error})") from error
        return dict(zip(self._names.outputs, found))


def mean(predictions: "list[Mapping[str, np.ndarray]]") -> "dict[str, np.ndarray]":
    """The mean of what several models say of the same rows, by task, of those that serve it."""
    found = {}
    for task in dict.fromkeys(task for one in predictions for task in one):
        told = [one[task] for one in predictions if task in one]
        found[task] = np.mean(told, axis=0, dtype=np.float64).astype(np.float32)
    return found


def _in_memory(network: Any, schema: schema_lib.Schema) -> Predict:
    """A trained network as pfrec-export would serve it, without writing it."""
    import tensorflow as tf

    from export.graph import folded_network, folding, serving_module

    if folding.can_fold(network):
        folded = folding.fold(network, served=[task.name for task in schema.tasks])
        network = folded_network.FoldedNetwork(folded)
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
