"""A client directory: where a scenario's own states are, and what its finished model is of.

A simulation keeps one for each scenario in its run directory, a silo has its own. Training writes
it, by computations of the client, and exports read it; both have its format from here.

DIRECTORY/version_00007/                the private state after aggregation 7, counted over the
                                        whole training, where the client took part in that
DIRECTORY/finished_00003/               all values of the model that it made of those after round 3,
                                        the best one, at the end (`--home_epochs`), and serves

and of a silo, where DIRECTORY is CLIENT/runs/ID:

CLIENT/client.json                      of the last finished training, a `ClientRecord`
CLIENT/data/                            what pfrec-convert wrote of its one scenario
CLIENT/runs/ID/client_schema.json       its own vocabularies and statistics as it was trained with
                                        them, where it has any
CLIENT/runs/ID/shared/round_00007/      the values it got back from the server after round 7, the
                                        training's best: its own, by the variables' names
"""

import dataclasses
import pathlib
import re
from collections.abc import Container, Mapping
from typing import Any

import numpy as np

from pfrec import errors, files, json_fields, names, run_records
from pfrec.data import schema as schema_lib
from pfrec.models.config import ModelConfig

# What a private state holds of the model whose training is differentially private: values of what
# stays with the client, and slots of its optimizer.
RELEASED, RELEASED_OPTIMIZER = "released/", "optimizer/released"
FINISHED = "finished_"
DATA, RUNS, CLIENT = "data", "runs", "client.json"
FORMAT_VERSION = 2
# As `tff_process.silos.training.identity` names a training.
_RUN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_VERSION = re.compile(r"version_(\d{5,})")


def version_name(version: int) -> str:
    """The directory of a private state."""
    return f"version_{version:05d}"


def version_of(name: str) -> int:
    """The inverse of `version_name`; -1 for the name of something else."""
    match = _VERSION.fullmatch(name)
    return int(match.group(1)) if match else -1


def finished_name(round_number: int) -> str:
    """The directory of the model that a client finished at the end, from its values of a round."""
    return f"{FINISHED}{round_number:05d}"


def shared_name(round_number: int) -> str:
    """The directory of the shared values of a training's best round, relative to the training's."""
    return f"shared/round_{round_number:05d}"


def description(
    model: ModelConfig, schema: schema_lib.Schema, scenario: str, seed: int, data: str
) -> "dict[str, Any]":
    """What client.json says of a model, but for its training, its rounds and its metrics."""
    return {
        "data": data,
        "format_version": FORMAT_VERSION,
        "model": model.to_json(),
        "scenario": scenario,
        "schema": schema.to_json(),
        "seed": seed,
    }


def as_received(
    private: "Mapping[str, np.ndarray]", shared: "Container[str]"
) -> "dict[str, np.ndarray]":
    """A private state without values of what is shared, so that a model has those that were
    received last. Under differential privacy it then has of what is not shared the values that
    what left depends on: nothing of tables that the released model does not read.

    Args:
      private: by name.
      shared: the names of shared variables.
    """
    own = {name: value for name, value in private.items() if name not in shared}
    if any(name.startswith(RELEASED_OPTIMIZER) for name in own):
        own = {
            name: private.get(RELEASED + name, np.zeros_like(value)) for name, value in own.items()
        }
    return own


@dataclasses.dataclass(frozen=True)
class ClientRecord:
    """What client.json says.

    Attributes:
      scenario: whose model it is.
      schema: of its rows, as all agreed on it.
      model: its shape.
      seed: of its initial values.
      run: names the training.
      round: the best one, whose values it has.
      private_version: its own state until then.
      test: the scenario's metrics by task; empty where they are not known.
      data: the silo's keyed digest of the rows that it was trained on (`run_data.keyed`).
    """

    scenario: str
    schema: schema_lib.Schema
    model: ModelConfig
    seed: int
    run: str
    round: int
    private_version: int
    test: "Mapping[str, Any]"
    data: str = ""

    def to_json(self) -> "dict[str, Any]":
        """Plain data."""
        return {
            **description(self.model, self.schema, self.scenario, self.seed, self.data),
            "private_version": self.private_version,
            "round": self.round,
            "run": self.run,
            "test": dict(self.test),
        }

    @classmethod
    def read(cls, directory: pathlib.Path) -> "ClientRecord":
        """The record of a silo's directory.

        Raises:
          PfrecError: where it is missing, damaged or of another version.
        """
        place = directory / CLIENT
        remedy = "name the directory of a silo whose training is finished as --client_dir"
        value = files.read_json(place, remedy=remedy)
        version = value.get("format_version") if isinstance(value, dict) else None
        if version != FORMAT_VERSION:
            raise errors.PfrecError(
                f"{place}: format version {version}, this pfrec reads {FORMAT_VERSION}; use "
                "the pfrec that wrote it"
            )
        told = json_fields.Fields(value, str(place), "it is damaged or was edited: train again")
        if not _RUN.fullmatch(told.text("run")):
            raise errors.PfrecError(f"{place}: run is no training's name; train again")
        metrics = told.fields("test") if "test" in told else None
        if metrics is not None:
            run_records.check_metrics(metrics)
        with json_fields.within(f"{place}: model", "train again"):
            model = ModelConfig.from_json(told.fields("model").value)
        return cls(
            scenario=names.require(told.text("scenario"), place=str(place)),
            schema=schema_lib.Schema.from_json(told.fields("schema").value, place=str(place)),
            model=model,
            seed=told.integer("seed", 0, 1 << 63),
            run=told.text("run"),
            round=told.integer("round"),
            private_version=told.integer("private_version"),
            test={} if metrics is None else metrics.value,
            data=told.text("data") if "data" in told else "",
        )

    def private_path(self, directory: pathlib.Path) -> pathlib.Path:
        """Where its private state is."""
        return directory / RUNS / self.run / version_name(self.private_version)

    def shared_path(self, directory: pathlib.Path) -> pathlib.Path:
        """Where its values of the shared variables are."""
        return directory / RUNS / self.run / shared_name(self.round)
