"""The run directory: everything a training writes, and how a trained model is found in it again.

RUN/config.json             what was asked, with the formats' version
RUN/server/, RUN/clients/   the states after each round, see `run_rounds`
RUN/clients/NL/client_schema.json  what the client's model means by its ids and numbers, where that
                            is the client's own
RUN/counts.json, times.csv, report.html  of the data, of the rounds, and the page made of all
RUN/metrics.csv, summary.json, privacy_manifest.json, diagnostics/, logs/
"""

import csv
import functools
import hashlib
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np

import pfrec
from pfrec import (
    cells,
    checkpoint,
    client_directory,
    errors,
    files,
    run_data,
    run_records,
    run_rounds,
)
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import dataset as dataset_lib

FORMAT_VERSION = run_records.FORMAT_VERSION
SYNTHETIC_DATA = "data"  # the directory in a run of the data that --data=synthetic made for it
LOGS = "logs"
METRICS_HEADER = ("round", "scenario", "split", "task", "metric", "value")

FINISHED = run_records.FINISHED
RoundState = run_rounds.RoundState
MetricRow = tuple[int, str, str, str, str, float]


class RunDirectory(run_rounds.Rounds):
    """Reads and writes one run directory; `create`, `resume` or `open_run` make one.

    Attributes:
      path: of the directory.
      scenarios: in client order.
      config: the content of config.json.
    """

    def __init__(self, path: pathlib.Path, config: Mapping[str, Any]) -> None:
        super().__init__(path, config["scenarios"])
        self.config = config

    @classmethod
    def create(cls, path: pathlib.Path, config: Mapping[str, Any]) -> "RunDirectory":
        """Starts a run in a directory that is new or empty,
        or holds nothing but the synthetic data made for the run, and logs of one that was refused.

        Raises:
          PfrecError: where it is not empty or cannot be written.
        """
        files.require_empty(path, besides=[SYNTHETIC_DATA, LOGS])
        config = {**config, "format_version": FORMAT_VERSION, "pfrec_version": pfrec.__version__}
        files.write_json(path / "config.json", config)
        with files.readable_errors(path):
            path.chmod(0o700)  # Private states of a simulation's clients are in it, and logs.
        return cls(path, config)

    @classmethod
    def read(cls, path: pathlib.Path) -> "RunDirectory":
        """Reads a run's config.json.

        Raises:
          PfrecError: where there is no run, it is damaged, or of another format version.
        """
        return cls(path, run_records.read_config(path))

    def discard(self) -> None:
        """Removes what was begun, so that another run can be; data that were made for it and logs
        with something in them stay.
        """
        logs = [log for log in (self.path / LOGS).rglob("*") if log.is_file()]
        kept = {SYNTHETIC_DATA, *([LOGS] if any(log.stat().st_size for log in logs) else [])}
        for entry in self.path.iterdir():
            if entry.name in kept:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def moved_to(self, places: Mapping[str, str]) -> None:
        """Notes where the data are now, `run_data.places`."""
        if any(self.config.get(key) != value for key, value in places.items()):
            self.config = {**self.config, **places}
            files.write_json(self.path / "config.json", self.config)

    def extended_to(self, plan: Mapping[str, Any]) -> None:
        """Notes a plan of more rounds; a finished run is none until they are trained."""
        # First: a run must not be taken for finished at a best round that may be gone.
        (self.path / "summary.json").unlink(missing_ok=True)
        self.config = {**self.config, "plan": dict(plan)}
        files.write_json(self.path / "config.json", self.config)

    def executed_by(self, options: Mapping[str, Any]) -> None:
        """Notes how the run is executed from here on."""
        if self.config.get(run_records.OPTIONS) != options:
            self.config = {**self.config, run_records.OPTIONS: dict(options)}
            files.write_json(self.path / "config.json", self.config)

    @functools.cached_property
    def schema(self) -> schema_lib.Schema:
        """Of the rows."""
        return schema_lib.Schema.from_json(
            self.config["schema"], place=str(self.path / "config.json")
        )

    @property
    def identity(self) -> str:
        """What tells the run from others, wherever its directory is moved or copied to."""
        if "id" in self.config:
            return str(self.config["id"])
        return hashlib.sha256(files.json_text(self.config).encode()).hexdigest()[:16]

    @functools.cached_property
    def dataset(self) -> dataset_lib.Dataset:
        """The data that the run was trained on.

        Raises:
          PfrecError: where they are gone or damaged, or other rows are in their place.
        """
        return run_data.open_own(self.path, self.config)

    def data(self, given: Optional[pathlib.Path]) -> dataset_lib.Dataset:
        """The data at `given`, which the run's models understand; None for its own.

        Raises:
          PfrecError: where they do not fit; see `run_data.open_given` and `dataset`.
        """
        if given is None:
            return self.dataset
        clients = {scenario: self.client_schema(scenario) for scenario in self.scenarios}
        return run_data.open_given(given, self.schema, clients)

    def begin_metrics(self, last_round: int) -> None:
        """Starts metrics.csv, or takes from it what belongs to a later round or to the test.

        Raises:
          PfrecError: where what is there cannot be read.
        """
        path = self.path / "metrics.csv"
        try:
            # A line that a kill cut short, maybe inside a letter, is of a round not complete.
            whole = files.whole_lines(path) if path.exists() else ""
            rows = [next(csv.reader([line])) for line in whole.splitlines()[1:] if line]
            kept = [
                row
                for row in rows
                if len(row) == 6 and int(row[0]) <= last_round and row[2] != "test"
            ]
        except (ValueError, csv.Error) as error:
            raise errors.PfrecError(
                f"{path}: cannot be read ({error}); train into another --output"
            ) from error
        files.write_csv(path, METRICS_HEADER, kept)

    def append_metrics(self, rows: Sequence[MetricRow]) -> None:
        """Adds rows to metrics.csv;
        a value that is not defined (an AUC of one class) is left empty.
        """
        files.append_csv(
            self.path / "metrics.csv",
            [[*row[:-1], "" if np.isnan(row[-1]) else float(row[-1])] for row in rows],
        )

    @functools.cached_property
    def summary(self) -> Mapping[str, Any]:
        """The content of summary.json.

        Raises:
          PfrecError: where the run is not finished, or the file is damaged.
        """
        return run_records.read_summary(self.path)

    def served(self, scenario: str) -> "tuple[str, ...]":
        """The tasks that a scenario of a finished run serves."""
        told = self.summary.get("test", {}).get(scenario, {})
        return tuple(t.name for t in self.schema.tasks if cells.served(told.get(t.name, {})))

    def model_values(
        self, scenario: str, round_number: Optional[int] = None
    ) -> "tuple[Mapping[str, np.ndarray], dict[str, np.ndarray]]":
        """What the model of a scenario is made of, see `run_model.load`.

        Args:
          scenario: which one.
          round_number: after which round; None for the best one.

        Returns:
          the server's tensors by name, and the client's private state.

        Raises:
          PfrecError: where there is no such scenario, the run is not finished, or the round is
            damaged.
        """
        if scenario not in self.scenarios:
            raise errors.PfrecError(
                f"{self.path}: no scenario {scenario!r}; it has {', '.join(self.scenarios)}"
            )
        number = self.summary["best_round"] if round_number is None else round_number
        server, meta = checkpoint.load(self._server(number))
        self._check_meta(number, meta)
        self._require_own(scenario, meta)
        return server, self.private_state(scenario, meta["versions"])

    def finished_values(
        self, scenario: str, round_number: Optional[int] = None
    ) -> "dict[str, np.ndarray]":
        """All values of the model that a scenario's client finished at the end, by name; empty
        where it serves what it received, or a round by its number is asked for.

        Args:
          scenario, round_number: see `model_values`.

        Raises:
          PfrecError: where they are missing, damaged, or another run's.
        """
        known = self.summary.get(FINISHED, {}).get(scenario) if round_number is None else None
        if known is None:
            return {}
        name = client_directory.finished_name(self.summary["best_round"])
        place = self.client_path(scenario) / name
        try:
            whole = checkpoint.fingerprint(place) == known
            values, _ = checkpoint.load(place) if whole else ({}, None)
        except errors.PfrecError:
            whole = False
        if not whole:
            raise errors.PfrecError(
                f"{place}: is not the model that this run's client finished, or damaged; put the "
                f"run's own back, or remove {self.path / run_records.SUMMARY}, and pfrec-train "
                "--resume finishes it anew"
            )
        return values

    def client_schema(self, scenario: str) -> schema_lib.Schema:
        """The schema as the scenario's own client knew it when it was trained.

        Raises:
          PfrecError: where the client's directory lacks it, or it is damaged.
        """
        return run_data.read_client_schema(self.client_path(scenario), self.schema)


def open_run(path: pathlib.Path, *, with_models: bool = True) -> RunDirectory:
    """A finished run.

    Args:
      path: its directory.
      with_models: whether its models are to be in it, as they are not after a training over silos.

    Raises:
      PfrecError: where there is none, it is of another version, it is not finished, or its models
        are in their silos.
    """
    run = RunDirectory.read(pathlib.Path(path))
    if with_models and run.config["data"] is None:
        raise errors.PfrecError(
            f"{path}: was trained over silos, which keep their data and private states; on each "
            "silo's machine run pfrec-export, pfrec-predict or pfrec-audit with --client_dir, or "
            "pfrec-evaluate on what was exported"
        )
    run.summary  # noqa: B018  (raises where the run is not finished)
    return run
