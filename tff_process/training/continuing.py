"""All scenarios of a finished run go on, on later data.

The new run begins with a round 0, which is the best round of the finished one carried over: shared
and private values, batch normalisation, what an algorithm keeps, and the moments of every
optimizer. From there it is a run like any other, and needs the finished one no longer.

What is carried over means the same as before. Rows of tables go by what their ids stand for
(`row_maps`), so new ids take a fresh row, without moments, and the others keep theirs, wherever
they stand now. Where a client's numbers are normalised by other statistics than before, the means
and variances of the first batch normalisation are restated in the new units: with x = (raw - m) / s
and x' = (raw - m') / s', mean' = (mean s + m - m') / s' and var' + e = (var + e) (s / s')^2, where
e is what batch normalisation adds to a variance. That leaves the answers to raw rows as they were.

A scenario that is new starts as a newcomer does (`joining`), from the consensus of what is personal
and the common values; of one that is gone nothing is kept. Averages of what is served begin anew,
so that they do not reach back over older data; rows of tables are counted anew.
"""

import collections
import logging
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np

from pfrec import errors, run_directory
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.models import adam
from pfrec.models.config import ModelConfig
from tff_process import plan as plan_lib
from tff_process.algorithms import averaging
from tff_process.client import variables
from tff_process.process import federation
from tff_process.training import row_maps

_log = logging.getLogger(__name__)
_NOT_CARRIED = ("round", "row_counts")
_INPUT_STATISTICS = "numeric/normalise"
_EPSILON = 1e-3  # Keras's


def check(plan: plan_lib.Plan, dataset: dataset_lib.Dataset) -> None:
    """Checks that a run can go on by a plan on some data.

    Raises:
      PfrecError: where the run is not finished, is of another algorithm or shape of model, its
        models are in silos, none of its scenarios is in the data, or columns or tasks are others.
    """
    run = run_directory.open_run(pathlib.Path(plan.init_from))
    place = f"--init_from={run.path}"
    if plan.pooled:
        raise errors.PfrecError(
            f"{place}: {plan.name} is pooled, and only federated runs go on; train it anew"
        )
    for name, before, now in (
        ("algorithm", run.config["algorithm"], plan.name),
        ("model", ModelConfig.from_json(run.config["model"]).to_json(), plan.model.to_json()),
        ("sharing", run.config["plan"].get("sharing", []), plan.to_json()["sharing"]),
    ):
        difference = dataset_lib.first_difference(before, now, name)
        if difference:
            raise errors.PfrecError(f"{place}: {difference}; leave that flag out, or train anew")
    difference = dataset_lib.first_difference(_columns(run.schema), _columns(dataset.schema))
    if difference:
        raise errors.PfrecError(
            f"{dataset.path}: not the columns and tasks of {run.path}: {difference}; convert with "
            "the run's schema, or train anew"
        )
    if not set(run.scenarios) & set(dataset.scenarios):
        raise errors.PfrecError(
            f"{dataset.path}: has none of the scenarios of {run.path}: {', '.join(run.scenarios)}"
        )


def changed_scenarios(
    run: run_directory.RunDirectory, dataset: dataset_lib.Dataset
) -> "tuple[list[str], list[str]]":
    """The scenarios of a run that data lack, and those of the data that the run does not know."""
    return (
        [name for name in run.scenarios if name not in dataset.scenarios],
        [name for name in dataset.scenarios if name not in run.scenarios],
    )


def _columns(schema: schema_lib.Schema) -> "dict[str, Any]":
    """A schema without what may differ from one week to the next: how many ids there are of what
    is not hashed, and what they are called.
    """
    value = schema.to_json()
    for feature in value["categorical"]:
        feature.pop("vocabulary", None)
        if feature["encoding"] != "hash":
            feature.pop("cardinality")
    return value


def begin(run: run_directory.RunDirectory, training: Any) -> None:
    """Carries a finished run over to a training that has not begun: its state becomes round 0 of
    its run directory.

    Args:
      run: of the training.
      training: a `federation.Federation` that is a `loop.Training`.

    Raises:
      PfrecError: where the finished run's state is damaged or of another shape.
    """
    before = run_directory.open_run(pathlib.Path(training.plan.init_from))
    fresh = training.to_save()
    state = _Carrying(before, training, fresh, run).state()
    run.commit(0, state)
    training.restore(run.load(0))


class _Meaning:
    """What changes in the meaning of values from a run's schema to the data's."""

    def __init__(self, old: schema_lib.Schema, new: schema_lib.Schema) -> None:
        self.maps = row_maps.of_schemas(old, new)
        shift, scale = (
            [np.array([getattr(c, of) for c in s.numerical]) for s in (old, new)]
            for of in ("shift", "scale")
        )
        self._scale = scale[0] / scale[1]
        self._shift = (shift[0] - shift[1]) / scale[1]

    def carried(
        self, spec: variables.VariableSpec, value: np.ndarray, fresh: np.ndarray, place: str
    ) -> np.ndarray:
        """A variable's value, or the moment of one, in the new meaning; `fresh` is what it has
        where nothing is carried over.
        """
        if spec.kind == "embedding":
            return row_maps.taken(value, fresh, self.maps[spec.member])
        if value.shape != fresh.shape:
            raise errors.PfrecError(
                f"{place}: {spec.name} has shape {list(value.shape)}, not {list(fresh.shape)}; "
                "train anew"
            )
        if spec.kind == "batch_norm" and spec.member == _INPUT_STATISTICS:
            if spec.name.endswith("mean"):
                return (value * self._scale + self._shift).astype(value.dtype)
            restated = (value + _EPSILON) * self._scale**2 - _EPSILON
            return np.maximum(restated, 0.0).astype(value.dtype)
        return value


class _Carrying:
    """A run's best round, carried over to a training."""

    def __init__(
        self,
        before: run_directory.RunDirectory,
        training: federation.Federation,
        fresh: run_directory.RoundState,
        run: run_directory.RunDirectory,
    ) -> None:
        self._before, self._fresh, self._run = before, fresh, run
        self._old = before.load(before.summary["best_round"])
        self._dataset = training.dataset
        self._specs = {spec.name: spec for spec in training.layout.specs}
        self._optimizers = training.algorithm.client.optimizers(training.layout)
        # Of shared tables all clients' ids mean the same.
        self._agreed = _Meaning(before.schema, training.dataset.schema)

    def state(self) -> run_directory.RoundState:
        """Round 0."""
        server = {name: self._server(name, value) for name, value in self._fresh.server.items()}
        clients = {scenario: self._client(scenario, server) for scenario in self._dataset.scenarios}
        meta = {
            **self._fresh.meta,
            "continued": True,
            "versions": dict.fromkeys(self._dataset.scenarios, 0),
            "best_round": 0,
        }
        return run_directory.RoundState(server, clients, meta)

    def _server(self, name: str, fresh: np.ndarray) -> np.ndarray:
        old = self._old.server.get(name)
        if old is None:
            # An average that the run did not keep beside what it trained, or the other way round.
            old = self._old.server.get(name.replace(f"extra/{averaging.TRAINED}", "", 1))
        if old is None or name.split("/")[0] in _NOT_CARRIED:
            return fresh
        spec = self._variable(name)
        if spec is not None and old.ndim == len(spec.shape):
            return self._agreed.carried(spec, old, fresh, self._place)
        if spec is None and not fresh.ndim:
            return old
        consensus = self._old.server.get(f"consensus/{spec.name}") if spec else None
        return np.stack(
            [self._of_client(spec, old, new, i, consensus) for i, new in enumerate(fresh)]
        )

    def _of_client(
        self,
        spec: "Optional[variables.VariableSpec]",
        old: np.ndarray,
        fresh: np.ndarray,
        client: int,
        consensus: "Optional[np.ndarray]",
    ) -> np.ndarray:
        """The value that the server has for one client; a newcomer's is the consensus."""
        name = self._dataset.scenarios[client]
        known = name in self._before.scenarios
        value = old[self._before.scenarios.index(name)] if known else consensus
        if value is None:
            return fresh
        return value if spec is None else self._agreed.carried(spec, value, fresh, self._place)

    def _client(self, scenario: str, server: "Mapping[str, np.ndarray]") -> "dict[str, np.ndarray]":
        """A client's private state; of a newcomer what it has of shared variables is theirs."""
        fresh = self._fresh.clients.get(scenario)
        if fresh is None:  # The client has written it.
            fresh = self._run.private_state(scenario, {scenario: 0})
        if scenario not in self._before.scenarios:
            return {name: self._newcomers(name, v, server) for name, v in fresh.items()}
        old = self._old.clients[scenario]
        schema = self._dataset.client_schema(scenario)
        meaning = _Meaning(self._before.client_schema(scenario), schema)
        found = {}
        for name, value in fresh.items():
            spec, kept = self._variable(name), old.get(name)
            if kept is None and spec is not None:
                kept = old.get(spec.name)
            if kept is None or name == averaging.COUNT or name.startswith(variables.OPTIMIZER):
                found[name] = value
            else:
                found[name] = meaning.carried(spec, kept, value, self._place) if spec else kept
        for prefix, names in self._optimizers.items():
            found.update(self._slots(prefix, names, old, meaning))
        for feature in schema.categorical:
            new = row_maps.new_words(feature, meaning.maps[feature.name])
            if new:
                known = len(feature.vocabulary)
                _log.info("%s: %d of %d words of %s are new", scenario, new, known, feature.name)
        return found

    def _newcomers(
        self, name: str, fresh: np.ndarray, server: "Mapping[str, np.ndarray]"
    ) -> np.ndarray:
        spec = self._variable(name)
        if spec is None or spec.join == variables.PRIVATE or fresh.shape != spec.shape:
            return fresh
        if name not in (spec.name, f"{averaging.TRAINED}{spec.name}"):
            return fresh  # as weights over a variable
        kind = "consensus" if spec.join == variables.PERSONAL else "common"
        return server[f"{kind}/{spec.name}"]

    def _slots(
        self,
        prefix: str,
        names: "Sequence[str]",
        old: "Mapping[str, np.ndarray]",
        meaning: _Meaning,
    ) -> "dict[str, np.ndarray]":
        """The slots of an optimizer, of whose new rows the moments are zero."""
        rows = {f.name: f.cardinality + 1 for f in self._before.schema.categorical}
        shapes = collections.OrderedDict(
            (name, (rows[spec.member], *spec.shape[1:]) if spec.kind == "embedding" else spec.shape)
            for name, spec in ((name, self._specs[name]) for name in names)
        )
        slots = [old[name] for name in sorted(old) if name.rpartition("/")[0] == prefix]
        before, steps = adam.moments_of(shapes, slots)
        moments = collections.OrderedDict(
            (
                name,
                tuple(
                    meaning.carried(
                        self._specs[name],
                        moment,
                        np.zeros(self._specs[name].shape, np.float32),
                        self._place,
                    )
                    for moment in pair
                ),
            )
            for name, pair in before.items()
        )
        found = adam.slots_of(moments, steps)  # type: ignore[arg-type]
        return {f"{prefix}/{i:04d}": slot for i, slot in enumerate(found)}

    def _variable(self, name: str) -> "Optional[variables.VariableSpec]":
        """The variable that a saved tensor is a value of, or of whose shape it is."""
        parts = name.split("/")
        ends = ("/".join(parts[start:]) for start in range(len(parts)))
        return next((self._specs[end] for end in ends if end in self._specs), None)

    @property
    def _place(self) -> str:
        return str(self._before.path)
