"""The run directory: everything a training writes, and how a trained model is found in it again.

RUN/config.json             what was asked, with the formats' version
RUN/server/round_00007/     the server's state after round 7; its appearance makes the round
                            complete
RUN/clients/NL/             the private states of client NL, by how many aggregations there were
                            until then (`client_directory`); the server's part of a round names its
RUN/clients/NL/client_schema.json  what the client's model means by its ids and numbers, where that
                            is the client's own
RUN/counts.json, times.csv, report.html  of the data, of the rounds, and the page made of all
RUN/metrics.csv, summary.json, privacy_manifest.json, diagnostics/, logs/
"""

import csv
import dataclasses
import functools
import hashlib
import pathlib
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Optional

import numpy as np

import pfrec
from pfrec import (
    cells,
    checkpoint,
    client_directory,
    errors,
    files,
    json_fields,
    run_data,
    run_records,
)
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import dataset as dataset_lib

FORMAT_VERSION = run_records.FORMAT_VERSION
SYNTHETIC_DATA = "data"  # the directory in a run of the data that --data=synthetic made for it
LOGS = "logs"
METRICS_HEADER = ("round", "scenario", "split", "task", "metric", "value")

# Of summary.json: by scenario, the fingerprint of the model that its client finished.
FINISHED = "finished"
# Of a round's meta: by scenario, the fingerprint of the client's state that belongs to it.
_STATES = "states"
# What a run of an earlier pfrec calls a part of the server's state.
_FORMER_PARTS = {
    "template/": "consensus/",
    "extra/trained/template/": "extra/trained/consensus/",
}

MetricRow = tuple[int, str, str, str, str, float]


@dataclasses.dataclass(frozen=True)
class RoundState:
    """All that is kept of a round.

    Attributes:
      server: the server's tensors, named `common/NAME`, `personal/NAME`, `consensus/NAME`,
        `extra/NAME`.
      clients: for each scenario, its private tensors by name; empty where the clients write their
        own.
      meta: plain data, as how often each client took part. `versions`, by scenario, is the round
        whose private state belongs to this one.
    """

    server: Mapping[str, np.ndarray]
    clients: Mapping[str, Mapping[str, np.ndarray]]
    meta: Mapping[str, Any]


class RunDirectory:
    """Reads and writes one run directory; `create`, `resume` or `open_run` make one.

    Attributes:
      path: of the directory.
      config: the content of config.json.
    """

    def __init__(self, path: pathlib.Path, config: Mapping[str, Any]) -> None:
        self.path, self.config = path, config
        self._metas: dict[int, Mapping[str, Any]] = {}
        self._synced: set[pathlib.Path] = set()

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

    @property
    def scenarios(self) -> "tuple[str, ...]":
        """The scenarios, in client order."""
        return tuple(self.config["scenarios"])

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

    # Rounds ---------------------------------------------------------------------------------------

    def _server(self, round_number: int) -> pathlib.Path:
        return self.path / "server" / f"round_{round_number:05d}"

    def _client(self, scenario: str, version: int) -> pathlib.Path:
        return self.client_path(scenario) / client_directory.version_name(version)

    def rounds(self) -> "list[int]":
        """Rounds that are complete, ascending."""
        found = [
            re.fullmatch(r"round_(\d+)", p.name) for p in (self.path / "server").glob("round_*")
        ]
        return sorted(int(match.group(1)) for match in found if match)

    def commit(self, round_number: int, state: RoundState) -> None:
        """Writes a round: the clients' states first, the server's last,
        whose appearance makes the round complete.

        Raises:
          PfrecError: where it cannot be written; the rounds before stay usable.
        """
        for scenario, values in state.clients.items():
            place = self._client(scenario, round_number)
            checkpoint.save(place, values, checkpoint.owner(scenario, place.name))
        meta = {"versions": dict.fromkeys(self.scenarios, round_number), **state.meta}
        places = {name: self._client(name, meta["versions"][name]) for name in self.scenarios}
        # Of silos' clients nothing is here.
        meta[_STATES] = {
            name: checkpoint.fingerprint(place) for name, place in places.items() if place.is_dir()
        }
        self._sync(places[name] for name in meta[_STATES])
        checkpoint.save(self._server(round_number), state.server, meta)
        self._metas[round_number] = meta

    def _sync(self, states: "Iterable[pathlib.Path]") -> None:
        """Makes clients' states survive a power cut before a round names them: their own
        computations write them by operations of TensorFlow, which sync nothing.
        """
        with files.readable_errors(self.path):
            above = set()
            for place in set(states) - self._synced:
                files.sync_tree(place)
                above |= {place.parent, place.parent.parent, self.path}
                self._synced.add(place)
            for directory in above:
                files.sync(directory)

    def load(self, round_number: int) -> RoundState:
        """Reads a complete round; a client's part of it only when it is looked up.

        Raises:
          PfrecError: where a part of it is missing or damaged.
        """
        server, meta = checkpoint.load(self._server(round_number))
        self._check_meta(round_number, meta)
        for scenario in meta.get(_STATES, {}):
            self._require_own(scenario, meta)
        self._metas[round_number] = meta
        named = {_present_name(name): value for name, value in server.items()}
        return RoundState(named, _ClientFiles(self, meta["versions"]), meta)

    def _check_meta(self, round_number: int, meta: Any) -> None:
        """Checks what a round says of itself, as far as this class reads it.

        Raises:
          PfrecError: where it is something else.
        """
        place = self._server(round_number)
        told = json_fields.Fields(meta, str(place), f"remove {place} to use the one before")
        versions = told.fields("versions")
        for scenario in self.scenarios:
            versions.integer(scenario)
        if _STATES in told:
            states = told.fields(_STATES)
            for scenario in states.names():
                states.text(scenario)
                versions.integer(scenario)
        for name in ("best_round", "changed_rounds"):
            if name in told:
                told.integer(name)

    def _require_own(self, scenario: str, meta: "Mapping[str, Any]") -> None:
        """Checks that a client's state is the one that belongs to a round, and not that of another
        run of the same scenario and version.

        Raises:
          PfrecError: where it is another, or missing.
        """
        place = self._client(scenario, meta["versions"][scenario])
        known = meta.get(_STATES, {}).get(scenario)
        if known is not None and checkpoint.fingerprint(place) != known:
            raise errors.PfrecError(
                f"{place}: is not the state that belongs to this run's round; put the run's own "
                "back, or remove it to use the one before"
            )

    def finished(self, round_number: int) -> "dict[str, str]":
        """Fingerprints of the models that clients finished from their values of a round, by
        scenario; safe on the disk from then on.
        """
        name = client_directory.finished_name(round_number)
        places = {scenario: self.client_path(scenario) / name for scenario in self.scenarios}
        found = {key: place for key, place in places.items() if place.is_dir()}
        self._sync(found.values())
        return {key: checkpoint.fingerprint(place) for key, place in found.items()}

    def remove_finished(self) -> None:
        """Removes what clients finished, before they do so anew."""
        # First: a run must not be taken for finished by models that may be gone.
        (self.path / run_records.SUMMARY).unlink(missing_ok=True)
        for scenario in self.scenarios:
            _remove_others(self.client_path(scenario), client_directory.FINISHED, set())

    def remove_leftovers(self) -> None:
        """Removes what a kill left half-written;
        only for the one process that trains into the directory.
        """
        for parent in (
            self.path,
            self.path / "server",
            self.path / "diagnostics",
            *(self.client_path(s) for s in self.scenarios),
        ):
            for path in parent.glob(f"{files.TEMPORARY_PREFIX}*"):
                _remove(path)

    def client_path(self, scenario: str) -> pathlib.Path:
        """The client directory of a scenario in a simulation."""
        return self.path / "clients" / scenario

    def meta(self, round_number: int) -> Mapping[str, Any]:
        """The plain data of a complete round.

        Raises:
          PfrecError: where it is missing or damaged.
        """
        if round_number not in self._metas:
            meta = checkpoint.load_meta(self._server(round_number))
            self._check_meta(round_number, meta)
            self._metas[round_number] = meta
        return self._metas[round_number]

    def keep_only(self, rounds: Iterable[int]) -> None:
        """Removes all rounds but these; the server's part of a round goes first, so that no round
        is left incomplete but visible.
        """
        kept = set(rounds)
        versions = [self.meta(number)["versions"] for number in kept]
        _remove_others(self.path / "server", "round_", {f"round_{number:05d}" for number in kept})
        for scenario in self.scenarios:
            names = {client_directory.version_name(version[scenario]) for version in versions}
            _remove_others(self.client_path(scenario), "version_", names)
        self._metas = {number: meta for number, meta in self._metas.items() if number in kept}

    # Results --------------------------------------------------------------------------------------

    def begin_metrics(self, last_round: int) -> None:
        """Starts metrics.csv, or takes from it what belongs to a later round or to the test."""
        path = self.path / "metrics.csv"
        lines = path.read_text(encoding="utf-8").splitlines()[1:] if path.exists() else []
        rows = [next(csv.reader([line])) for line in lines if line]
        # A line that a kill cut short belongs to a round that was not complete.
        files.write_csv(
            path,
            METRICS_HEADER,
            [
                row
                for row in rows
                if len(row) == 6 and int(row[0]) <= last_round and row[2] != "test"
            ],
        )

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
        if checkpoint.fingerprint(place) != known:
            raise errors.PfrecError(
                f"{place}: is not the model that this run's client finished; put the run's own back"
            )
        values, _ = checkpoint.load(place)
        return values

    def private_state(self, scenario: str, versions: Mapping[str, int]) -> "dict[str, np.ndarray]":
        """A client's private state of a round, which must be its own and of that version.

        Args:
          scenario: the client's.
          versions: by scenario, the version that belongs to the round.

        Raises:
          PfrecError: where it is missing, damaged, or another's.
        """
        if scenario not in versions:
            raise errors.PfrecError(
                f"{self.path}: the round names no state of scenario {scenario}; train again"
            )
        place = self._client(scenario, versions[scenario])
        values, meta = checkpoint.load(place)
        # None: of a pfrec that did not say whose it is.
        if meta not in (None, checkpoint.owner(scenario, place.name)):
            raise errors.PfrecError(
                f"{place}: is the state of another client or version ({meta}); remove it to use "
                "the one before"
            )
        return values

    def client_schema(self, scenario: str) -> schema_lib.Schema:
        """The schema as the scenario's own client knew it when it was trained.

        Raises:
          PfrecError: where the client's directory lacks it, or it is damaged.
        """
        return run_data.read_client_schema(self.client_path(scenario), self.schema)


class _ClientFiles(Mapping[str, Mapping[str, np.ndarray]]):
    """The private states of a round, each read when it is looked up:
    a runtime whose clients read their own never looks.
    """

    def __init__(self, run: RunDirectory, versions: Mapping[str, int]) -> None:
        self._run, self._versions = run, versions

    def __getitem__(self, scenario: str) -> Mapping[str, np.ndarray]:
        return self._run.private_state(scenario, self._versions)

    def __iter__(self) -> Iterator[str]:
        return iter(self._versions)

    def __len__(self) -> int:
        return len(self._versions)


def _present_name(name: str) -> str:
    """What a tensor of the server is called now."""
    for former, present in _FORMER_PARTS.items():
        if name.startswith(former):
            return present + name[len(former) :]
    return name


def _remove_others(parent: pathlib.Path, prefix: str, kept: "set[str]") -> None:
    for path in sorted(parent.glob(f"*{prefix}*")):
        if path.name not in kept:
            _remove(path)


def _remove(path: pathlib.Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


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
            f"{path}: was trained over silos, which keep their data and private states; run "
            "pfrec-export --client_dir on each silo's machine"
        )
    run.summary  # noqa: B018  (raises where the run is not finished)
    return run
